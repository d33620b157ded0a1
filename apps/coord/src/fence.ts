/**
 * The MetaStore as one lead writes it: whatever a deposed coordinator still does, it changes nothing.
 *
 * Every value bears the epoch of the lead that wrote it: decimal, a line break, then the value. Writes are
 * bound to the revision that was seen last, and a new lead writes all that there is anew under its own
 * epoch before it looks at it. So a write of an earlier lead to an existing key either came before, and
 * counts, or fails. A key that it creates later bears an epoch below those that count, and is as good as
 * absent; and it asks whether it still leads before it acts on a key that it has created.
 *
 * @module
 */

import type { ExpectOptions, MetaEntry, MetaEvent, MetaStore } from "@millrace/storage";
import { MillraceError } from "@millrace/types";

/** Options of {@linkcode fenceMeta}. */
export interface FenceOptions {
  /** Of this lead; those of later leads are higher. */
  epoch: number;
  /** Values of lower epochs do not count: they were written after their lead was over. */
  since: number;
  /** `true` if no later lead has begun, as the store says. */
  isCurrent(): Promise<boolean>;
  /** Called whenever it is seen that a later lead has begun. Must not throw. */
  onDeposed(error: MillraceError): void;
  /** Prefixes of keys that are fenced otherwise, and pass as they are. */
  except?: readonly string[];
}

/** How many keys are written anew at once. */
const atOnce = 16;

/**
 * A view of a MetaStore for one lead. Once a later one has begun, writes fail, and so do reads that see
 * something of that one: with `UNAVAILABLE`, `maybeApplied` if the write may be found by its successor.
 */
export function fenceMeta(meta: MetaStore, options: FenceOptions): MetaStore {
  const { epoch, since, isCurrent, onDeposed, except = [] } = options;
  let deposed: MillraceError | undefined;

  const depose = (maybeApplied: boolean): MillraceError => {
    deposed = deposedError(maybeApplied);
    onDeposed(deposed);
    return deposed;
  };

  /** What an entry is to this lead; `undefined`: it does not count. */
  const open = (entry: MetaEntry | undefined): MetaEntry | undefined => {
    if (entry === undefined || isExcept(entry.key, except)) return entry;
    const { writtenBy, value } = decodeValue(entry);
    if (writtenBy > epoch) throw depose(false);
    return writtenBy < since ? undefined : { ...entry, value };
  };

  /** Writes a key where nothing stands that counts. */
  const place = async (key: string, bytes: Uint8Array, signal: SignalOption): Promise<string> => {
    for (;;) {
      const found = await meta.get(key, signal);
      if (open(found) !== undefined) {
        throw new MillraceError("PRECONDITION_FAILED", `${meta.name}: ${key} exists already`, {
          ...(found && { expected: found.revision }),
        });
      }
      try {
        return await meta.put(key, bytes, { expected: found?.revision ?? null, ...signal });
      } catch (error) {
        // A deposed coordinator may have created it just now.
        if (!MillraceError.is(error, "PRECONDITION_FAILED")) throw error;
      }
    }
  };

  const create = async (key: string, bytes: Uint8Array, signal: SignalOption): Promise<string> => {
    const revision = await place(key, bytes, signal);
    if (!(await isCurrent())) throw depose(true);
    return revision;
  };

  /** A condition that does not hold is mostly the first that a deposed coordinator hears of it. */
  const conditional = async <T>(write: () => Promise<T>): Promise<T> => {
    try {
      return await write();
    } catch (error) {
      if (!MillraceError.is(error, "PRECONDITION_FAILED") || (await isCurrent())) throw error;
      throw depose(error.maybeApplied);
    }
  };

  return {
    name: meta.name,
    async get(key, signal) {
      return open(await meta.get(key, signal));
    },
    async list(prefix, signal) {
      const entries = await meta.list(prefix, signal);
      return entries.map(open).filter((entry) => entry !== undefined);
    },
    async put(key, value, { expected, ...signal } = {}) {
      if (deposed) throw deposed;
      if (isExcept(key, except)) {
        return await meta.put(key, value, {
          ...(expected !== undefined && { expected }),
          ...signal,
        });
      }
      const bytes = encodeValue(epoch, value);
      const base = expected === undefined ? await revisionOf(meta, key, signal) : expected;
      if (base === null) return await create(key, bytes, signal);
      return await conditional(() => meta.put(key, bytes, { expected: base, ...signal }));
    },
    async delete(key, { expected, ...signal }: ExpectOptions = {}) {
      if (deposed) throw deposed;
      const base = expected === undefined ? await revisionOf(meta, key, signal) : expected;
      if (base === null && expected === undefined) return;
      await conditional(() => meta.delete(key, { expected: base, ...signal }));
    },
    watch: (prefix, signal) => openEvents(meta.watch(prefix, signal), open),
    lease: (key, options) => meta.lease(key, options),
    // The store is whose it was.
    close: () => Promise.resolve(),
  };
}

interface SignalOption {
  signal?: AbortSignal;
}

async function revisionOf(
  meta: MetaStore,
  key: string,
  signal: SignalOption,
): Promise<string | null> {
  return (await meta.get(key, signal))?.revision ?? null;
}

async function* openEvents(
  events: AsyncIterable<MetaEvent>,
  open: (entry: MetaEntry) => MetaEntry | undefined,
): AsyncIterable<MetaEvent> {
  for await (const event of events) {
    const entry = event.type === "put" ? open(event.entry) : undefined;
    if (entry) yield { type: "put", entry };
    else yield { type: "delete", key: event.type === "put" ? event.entry.key : event.key };
  }
}

/**
 * Writes all that counts under a prefix anew for the lead of `epoch`, so that no earlier lead can write
 * it any more, and removes what does not count. `except` has prefixes of keys to leave alone.
 * `UNAVAILABLE` if a later lead is seen to have begun.
 */
export async function adoptAll(
  meta: MetaStore,
  options: { prefix: string; except: readonly string[]; epoch: number; since: number },
): Promise<void> {
  const { prefix, except, epoch, since } = options;
  const entries = (await meta.list(prefix)).filter(({ key }) => !isExcept(key, except));

  const adopt = async (first: MetaEntry): Promise<void> => {
    for (let entry: MetaEntry | undefined = first; entry; entry = await meta.get(first.key)) {
      const { writtenBy, value } = decodeValue(entry);
      const { key, revision: expected } = entry;
      if (writtenBy > epoch) throw deposedError(false);
      try {
        if (writtenBy < since) await meta.delete(key, { expected });
        else await meta.put(key, encodeValue(epoch, value), { expected });
        return;
      } catch (error) {
        // Its former lead was faster: that counts.
        if (!MillraceError.is(error, "PRECONDITION_FAILED")) throw error;
      }
    }
  };
  const adoptSome = async (): Promise<void> => {
    for (let entry = entries.pop(); entry; entry = entries.pop()) await adopt(entry);
  };
  await Promise.all(Array.from({ length: atOnce }, adoptSome));
}

function isExcept(key: string, except: readonly string[]): boolean {
  return except.some((prefix) => key.startsWith(prefix));
}

function deposedError(maybeApplied: boolean): MillraceError {
  const message = "another coordinator leads now; ask that one";
  return new MillraceError("UNAVAILABLE", message, { maybeApplied });
}

/** A value as it stands in the store. */
export function encodeValue(epoch: number, value: Uint8Array): Uint8Array {
  const head = new TextEncoder().encode(`${epoch}\n`);
  const bytes = new Uint8Array(head.length + value.length);
  bytes.set(head);
  bytes.set(value, head.length);
  return bytes;
}

function decodeValue({ key, value }: MetaEntry): { writtenBy: number; value: Uint8Array } {
  const end = value.subarray(0, 17).indexOf(lineBreak);
  const head = end < 1 ? "" : new TextDecoder().decode(value.subarray(0, end));
  if (!/^\d+$/.test(head)) {
    throw new MillraceError(
      "DATA_LOSS",
      `the metadata at ${key} does not say which coordinator wrote it; restore it from a backup`,
    );
  }
  return { writtenBy: Number(head), value: value.subarray(end + 1) };
}

const lineBreak = 10;
