/**
 * Watches that outlive connections, members and compactions.
 *
 * A watch lists its prefix once and then follows the store's revisions. After a broken connection it
 * goes on behind the last revision that it told in full. If etcd no longer knows that one, it lists
 * again and tells the difference.
 *
 * @module
 */

import {
  backoffDelay,
  type Clock,
  delay,
  type Logger,
  MillraceError,
  type Random,
} from "@millrace/types";
import type { MetaEvent } from "../../meta-store.ts";
import type { EtcdClient } from "./client.ts";
import type { Entries, Snapshot } from "./entries.ts";
import { cancelFailure, etcdError, wantsToken } from "./errors.ts";
import { BodyTooLargeError } from "./json-lines.ts";
import { rangeOf, type WatchResponse } from "./messages.ts";

/** What the store's watches share. */
export interface WatchContext {
  client: EtcdClient;
  entries: Entries;
  /** After how long a watch is asked for anew, in milliseconds. */
  renewMs: number;
  clock: Clock;
  random: Random;
  logger: Logger;
}

/** What a watch knows. */
interface Place {
  /** The revisions of all keys that it told of and that stand. */
  known: Map<string, string>;
  /** The revision that it is told next. */
  next: number;
  /** It must list again. */
  isStale: boolean;
  /** Attempts that failed since the last success. */
  failures: number;
  /** The last attempt was refused for its token. */
  isRefused: boolean;
}

/**
 * The events under a prefix, beginning with all that is there at the first look, until the signal is
 * aborted. Rejects if the first look does, and when etcd refuses for good.
 */
export async function* watchPrefix(
  context: WatchContext,
  prefix: string,
  firstLook: Promise<Snapshot>,
  signal: AbortSignal,
): AsyncGenerator<MetaEvent> {
  const { entries, clock, random, logger } = context;
  const place: Place = {
    known: new Map(),
    next: 0,
    isStale: false,
    failures: 0,
    isRefused: false,
  };
  try {
    yield* tellSnapshot(place, await firstLook);
  } catch (error) {
    if (signal.aborted) return;
    throw error;
  }
  while (!signal.aborted) {
    try {
      if (place.isStale) {
        yield* tellSnapshot(place, await entries.snapshot(prefix, signal));
        place.isStale = false;
      }
      yield* follow(context, prefix, place, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!MillraceError.is(error) || !error.retryable) throw error;
      // Of a listing, a page can be made smaller.
      if (error.cause instanceof BodyTooLargeError) place.isStale = true;
      logger.warn("etcd: a watch is interrupted, going on", { prefix, error });
      const waitMs = backoffDelay(place.failures, random, { initialMs: 50, maxMs: 1000 });
      place.failures += 1;
      await delay(clock, waitMs, signal).catch(() => undefined);
    }
  }
}

/** Tells how a snapshot differs from what is known. */
function* tellSnapshot(place: Place, snapshot: Snapshot): Generator<MetaEvent> {
  const { known } = place;
  const gone = new Set(known.keys());
  for (const entry of snapshot.entries) {
    gone.delete(entry.key);
    if (known.get(entry.key) === entry.revision) continue;
    known.set(entry.key, entry.revision);
    yield { type: "put", entry };
  }
  for (const key of gone) {
    known.delete(key);
    yield { type: "delete", key };
  }
  place.next = snapshot.revision + 1;
}

/** Tells what comes over one connection; returns when another is due. */
async function* follow(
  context: WatchContext,
  prefix: string,
  place: Place,
  signal: AbortSignal,
): AsyncGenerator<MetaEvent> {
  const { client, clock, entries, renewMs } = context;
  const connection = new AbortController();
  let isDue = false;
  const cancel = clock.schedule(renewMs, () => {
    isDue = true;
    connection.abort(new Error("the watch is asked for anew"));
  });
  // All ends here, not in what follows: who aborts may not ask for another event.
  const onAbort = (): void => {
    cancel();
    connection.abort(signal.reason);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  const responses = client.stream<WatchResponse>({
    doing: `watch ${prefix === "" ? "all" : prefix}`,
    path: "watch",
    body: {
      create_request: {
        ...rangeOf(client.location.root + prefix),
        ...{ start_revision: place.next, fragment: true },
      },
    },
    signal: connection.signal,
  });
  try {
    for await (const response of responses) {
      if (response.canceled) {
        heedCancel(client, prefix, place, response);
        return;
      }
      if (response.created) heedCreated(client, prefix, place, response);
      yield* tellEvents(entries, place, response);
    }
    throw interrupted(client, prefix, "the connection was closed");
  } catch (error) {
    if (!isDue || signal.aborted) throw error;
  } finally {
    cancel();
    signal.removeEventListener("abort", onAbort);
  }
}

function* tellEvents(
  entries: Entries,
  place: Place,
  response: WatchResponse,
): Generator<MetaEvent> {
  const { known } = place;
  const { events = [], fragment = false } = response;
  for (const { type, kv = {} } of events) {
    const revision = kv.mod_revision ?? "";
    if (type === "DELETE") {
      const key = entries.keyOf(kv);
      if (known.delete(key)) yield { type: "delete", key };
    } else {
      const entry = entries.entryOf(kv);
      // Told already if the connection broke within a revision.
      if (known.get(entry.key) === revision) continue;
      known.set(entry.key, revision);
      yield { type: "put", entry };
    }
  }
  const last = Number(events.at(-1)?.kv?.mod_revision ?? 0);
  if (last > 0) place.next = fragment ? last : last + 1;
}

/** The server ends the watch. */
function heedCancel(
  client: EtcdClient,
  prefix: string,
  place: Place,
  response: WatchResponse,
): void {
  if (response.compact_revision !== undefined) {
    place.isStale = true;
    return;
  }
  const reason = response.cancel_reason || "the watch was ended by the server";
  const failure = cancelFailure(reason);
  const mayHelp = wantsToken(failure) && !place.isRefused && client.renewToken();
  if (!mayHelp) throw etcdError(client.location, `watch ${prefix}`, failure, false);
  place.isRefused = true;
}

/** The watch stands. */
function heedCreated(
  client: EtcdClient,
  prefix: string,
  place: Place,
  response: WatchResponse,
): void {
  place.isRefused = false;
  const revision = Number(response.header?.revision ?? 0);
  if (revision + 1 < place.next) {
    // A member that lags behind, or a store that was set back: then revisions mean something else.
    for (const key of place.known.keys()) place.known.set(key, "");
    place.isStale = true;
    throw interrupted(client, prefix, `it is at revision ${revision}, before ${place.next}`);
  }
  place.failures = 0;
}

function interrupted(client: EtcdClient, prefix: string, message: string): MillraceError {
  const failure = { status: 0, code: -1, message };
  return etcdError(client.location, `watch ${prefix}`, failure, false);
}
