/**
 * Who owns which pchannel, as the coordinator's discovery stream says it.
 *
 * @module
 */

import { createClient, type Transport } from "@connectrpc/connect";
import {
  backoffDelay,
  type Clock,
  delay,
  type Logger,
  MillraceError,
  type Random,
} from "@millrace/types";
import {
  AssignmentService,
  type AssignmentVersion,
  type DiscoverResponse,
} from "@millrace/types/gen";
import { createScope } from "./scope.ts";

/** The owner of a pchannel. */
export interface Owner {
  /** The node's base URL. */
  address: string;
  term: bigint;
}

/** The assignments, as far as they are known here. */
export interface Assignments {
  ownerOf(pchannel: string): Owner | undefined;
  /** Grows with each change of the catalog. */
  catalogRevision(): bigint;
  /** Calls `listener` after each new snapshot; the returned function ends that. */
  onChange(listener: () => void): () => void;
  /**
   * Resolves when the pchannel has an owner other than `known`, or after `timeoutMs`; rejects with
   * the signal's reason.
   */
  changed(
    pchannel: string,
    known: Owner | undefined,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<void>;
  /** Resolves when the first snapshot is there; rejects with the signal's reason. */
  ready(signal: AbortSignal): Promise<void>;
  close(): void;
}

/** Options of {@linkcode discoverAssignments}. */
export interface AssignmentsOptions {
  coord: Transport;
  clock: Clock;
  random: Random;
  logger: Logger;
}

/** The coordinator says something every second; a stream silent for this long is dead. */
const silenceMs = 3000;

/** Tells the transport to try another coordinator. */
const silent = new MillraceError("DEADLINE_EXCEEDED", "the coordinator is silent");

/**
 * Follows the discovery stream until closed. What is known stays in use while the coordinator is
 * away; a snapshot older than what is known is dropped.
 */
export function discoverAssignments(options: AssignmentsOptions): Assignments {
  const { clock, random, logger } = options;
  const client = createClient(AssignmentService, options.coord);
  const closing = new AbortController();
  const listeners = new Set<() => void>();
  let version: AssignmentVersion | undefined;
  let owners = new Map<string, Owner>();
  let catalogRevision = 0n;

  const apply = (snapshot: DiscoverResponse): void => {
    if (!snapshot.version) return;
    if (version && compareVersions(snapshot.version, version) < 0) return;
    version = snapshot.version;
    owners = ownersOf(snapshot);
    catalogRevision = snapshot.catalogRevision;
    for (const listener of [...listeners]) listener();
  };

  const follow = async (onSnapshot: () => void): Promise<void> => {
    const scope = createScope(closing.signal);
    let cancel = (): void => undefined;
    const watch = (): void => {
      cancel();
      cancel = clock.schedule(silenceMs, () => scope.abort(silent));
    };
    try {
      watch();
      for await (const snapshot of client.discover({}, { signal: scope.signal })) {
        watch();
        onSnapshot();
        apply(snapshot);
      }
    } finally {
      cancel();
      scope.abort();
    }
  };

  const run = async (): Promise<void> => {
    for (let attempt = 0; !closing.signal.aborted; attempt++) {
      try {
        await follow(() => {
          attempt = 0;
        });
      } catch (error) {
        if (closing.signal.aborted) return;
        logger.warn("the coordinator is not heard", { error, attempt });
      }
      const pause = backoffDelay(attempt, random, { initialMs: 20, maxMs: 2000 });
      await delay(clock, pause, closing.signal).catch(() => undefined);
    }
  };
  void run();

  /** Resolves once `done` holds; looked at now and after each change. */
  const until = (done: () => boolean, signal: AbortSignal, timeoutMs?: number): Promise<void> =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      if (done()) return resolve();
      const stop = (): void => {
        listeners.delete(look);
        signal.removeEventListener("abort", onAbort);
        cancel?.();
      };
      const finish = (): void => {
        stop();
        resolve();
      };
      const look = (): void => {
        if (done()) finish();
      };
      const onAbort = (): void => {
        stop();
        reject(signal.reason);
      };
      const cancel = timeoutMs === undefined ? undefined : clock.schedule(timeoutMs, finish);
      listeners.add(look);
      signal.addEventListener("abort", onAbort, { once: true });
    });

  return {
    ownerOf: (pchannel) => owners.get(pchannel),
    catalogRevision: () => catalogRevision,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    changed(pchannel, known, timeoutMs, signal) {
      const differs = (): boolean => {
        const owner = owners.get(pchannel);
        return owner !== undefined && !sameOwner(owner, known);
      };
      return until(differs, signal, timeoutMs);
    },
    ready: (signal) => until(() => version !== undefined, signal),
    close: () => closing.abort(),
  };
}

function sameOwner(owner: Owner, other: Owner | undefined): boolean {
  return owner.term === other?.term && owner.address === other.address;
}

function ownersOf(snapshot: DiscoverResponse): Map<string, Owner> {
  const owners = new Map<string, Owner>();
  for (const { address, pchannels } of snapshot.nodes) {
    for (const { name, term } of pchannels) owners.set(name, { address, term });
  }
  return owners;
}

/** Coordinators first, then revisions. */
function compareVersions(a: AssignmentVersion, b: AssignmentVersion): number {
  if (a.coordinator !== b.coordinator) return a.coordinator < b.coordinator ? -1 : 1;
  if (a.revision !== b.revision) return a.revision < b.revision ? -1 : 1;
  return 0;
}
