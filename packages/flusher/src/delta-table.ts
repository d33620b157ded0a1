/**
 * A Delta table as the target of commits. Each commit is an object that is created if there is none
 * of its number, so that of two writers one has to look at what the other wrote. One call at a time.
 *
 * @module
 */

import type { ObjectStore } from "@millrace/storage";
import { type Clock, MillraceError, type Random } from "@millrace/types";
import { isDataFileOf } from "./data-files.ts";
import {
  decodeCommit,
  encodeCommit,
  parseVersionName,
  type ReadCommit,
  versionName,
} from "./delta-log.ts";
import type { RowCommit, Table, TableDescription, TableSnapshot } from "./table.ts";

/** Options of {@linkcode createDeltaTable}. */
export interface DeltaTableOptions {
  store: ObjectStore;
  /** Where the table lies, relative to the store's root, without a slash at the end. */
  path: string;
  /** How far an earlier owner has read the log. Default: it is read from its beginning. */
  from?: TableSnapshot | undefined;
  clock: Clock;
  random: Random;
}

/** How many commits are read at the same time. */
const readers = 8;

/** The last commit of a vchannel. */
interface LastCommit {
  sequence: number;
  /** Of its owner; 0 if it is not known. */
  term: number;
  /** Of the files that it added; empty if they are not known. */
  paths: ReadonlySet<string>;
}

/** A Delta table at a path of an object store; created by its first commit. */
export function createDeltaTable(options: DeltaTableOptions): Table {
  const { store, path, clock, random } = options;
  // Whoever kept it did not look at what the table says of itself: that is to be read.
  const from = options.from?.description && options.from;
  const log = `${path}/_delta_log/`;
  const tableId = uuid(random.bytes(16));
  const last = new Map<string, LastCommit>();
  for (const [vchannel, sequence] of Object.entries(from?.committed ?? {})) {
    last.set(vchannel, { sequence, term: 0, paths: new Set() });
  }
  let version = from?.version ?? -1;
  let description = from?.description;
  let loaded = false;

  const committed = (vchannel: string): number => last.get(vchannel)?.sequence ?? -1;

  const apply = ({ transactions, paths, writer, description: described }: ReadCommit): void => {
    description = described ?? description;
    for (const [vchannel, sequence] of transactions) {
      const term = writer?.vchannel === vchannel ? writer.term : 0;
      last.set(vchannel, { sequence, term, paths });
    }
  };

  /** Reads the commits behind the last one known: all of them, or none if one cannot be read. */
  const refresh = async (signal: AbortSignal): Promise<void> => {
    const known = version;
    const keys: string[] = [];
    const after = known < 0 ? {} : { after: log + versionName(known) };
    for await (const { key } of store.list({ prefix: log, signal, ...after })) {
      const found = parseVersionName(key.slice(log.length));
      if (found === undefined) continue;
      if (found !== known + keys.length + 1) throw gap(path, known + keys.length + 1);
      keys.push(key);
    }
    const commits: ReadCommit[] = [];
    for (let start = 0; start < keys.length; start += readers) {
      const part = keys.slice(start, start + readers);
      commits.push(...(await Promise.all(part.map((key) => read(store, key, signal)))));
    }
    commits.forEach(apply);
    version = known + commits.length;
    loaded = true;
  };

  /** What the table must say of itself with a commit; `undefined`: what it says already. */
  const describe = ({ schema }: RowCommit, now: number): TableDescription | undefined => {
    const { version: schemaVersion } = schema;
    if (!description) return { id: tableId, createdMs: now, schemaVersion };
    return description.schemaVersion < schemaVersion
      ? { ...description, schemaVersion }
      : undefined;
  };

  /** The files that the table has of a vchannel, at the last version that is known. */
  const liveFiles = async (vchannel: string, signal: AbortSignal): Promise<string[]> => {
    const live = new Set<string>();
    for (let start = 0; start <= version; start += readers) {
      const count = Math.min(readers, version + 1 - start);
      const keys = Array.from({ length: count }, (_, index) => log + versionName(start + index));
      for (const commit of await Promise.all(keys.map((key) => read(store, key, signal)))) {
        for (const path of commit.paths) if (isDataFileOf(vchannel, path)) live.add(path);
        for (const path of commit.removed) live.delete(path);
      }
    }
    return [...live];
  };

  const tryCommit = async (commit: RowCommit, signal: AbortSignal): Promise<boolean> => {
    const next = version + 1;
    const now = clock.now();
    const described = describe(commit, now);
    const removed = commit.truncates ? await liveFiles(commit.vchannel, signal) : [];
    const first = next === 0;
    const context = { now, first, removed, ...(described && { description: described }) };
    const body = encodeCommit(commit, context);
    try {
      const contentType = "application/json";
      await store.put(log + versionName(next), body, { ifAbsent: true, contentType, signal });
    } catch (error) {
      if (MillraceError.is(error, "PRECONDITION_FAILED")) return false;
      throw error;
    }
    version = next;
    description = described ?? description;
    const { vchannel, term, lastSequence: sequence, files } = commit;
    last.set(vchannel, { sequence, term, paths: new Set(files.map((file) => file.path)) });
    return true;
  };

  return {
    known: committed,
    async committed(vchannel, signal) {
      if (!loaded) await refresh(signal);
      return committed(vchannel);
    },
    async commit(commit, signal) {
      const { vchannel, term, after, files } = commit;
      if (!loaded) await refresh(signal);
      while (committed(vchannel) === after) {
        if (await tryCommit(commit, signal)) return true;
        await refresh(signal);
      }
      const other = last.get(vchannel);
      if (other && other.term > term) throw fenced(vchannel, other.term);
      // An answer was lost: the commit that stands there is this one.
      return files.some((file) => other?.paths.has(file.path));
    },
    snapshot: () => ({
      version,
      committed: Object.fromEntries([...last].map(([name, { sequence }]) => [name, sequence])),
      ...(description && { description }),
    }),
  };
}

async function read(store: ObjectStore, key: string, signal: AbortSignal): Promise<ReadCommit> {
  const object = await store.get(key, { signal });
  if (!object) throw new MillraceError("DATA_LOSS", `${key} is listed in the table's log but gone`);
  return decodeCommit(key, object.body);
}

function gap(path: string, version: number): MillraceError {
  return new MillraceError(
    "DATA_LOSS",
    `the log of the table ${path} lacks version ${version}; restore _delta_log/${versionName(version)}`,
  );
}

function fenced(vchannel: string, term: number): MillraceError {
  return new MillraceError(
    "CHANNEL_FENCED",
    `an owner of term ${term} commits the rows of ${vchannel}`,
    { expected: String(term) },
  );
}

function uuid(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte, index) => {
    // The bits that say: version 4, variant 1.
    const value = index === 6 ? (byte & 0x0f) | 0x40 : index === 8 ? (byte & 0x3f) | 0x80 : byte;
    return value.toString(16).padStart(2, "0");
  }).join("");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}
