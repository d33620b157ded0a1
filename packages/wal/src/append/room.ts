/**
 * Room: how many bytes of appends may be on their way at once.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";

/** Bytes that appends take while they are on their way. */
export interface Room {
  /** Takes bytes if they are free and nobody waits for some. An append that is alone always fits. */
  tryTake(bytes: number): boolean;
  /**
   * Takes bytes when they are free, first come, first served. Rejects with the signal's reason, with the
   * reason of {@linkcode Room.close}, or with `RESOURCE_EXHAUSTED` if too many bytes wait already.
   */
  take(bytes: number, signal: AbortSignal | undefined): Promise<void>;
  give(bytes: number): void;
  taken(): number;
  /** The error for an append that finds no room. */
  refusal(): MillraceError;
  /** Refuses those who wait, and those who come. */
  close(reason: MillraceError): void;
}

interface Waiter {
  bytes: number;
  resolve: () => void;
  reject: (reason: unknown) => void;
}

/** How long a caller that was refused should wait: about as long as some full batches take. */
const retryAfterMs = 50;

/** Creates room for `maxBytes`; as many bytes again may wait for it. */
export function createRoom(maxBytes: number): Room {
  const line: Waiter[] = [];
  let taken = 0;
  let waiting = 0;
  let closed: MillraceError | undefined;

  const fits = (bytes: number): boolean => taken === 0 || taken + bytes <= maxBytes;

  const leave = (waiter: Waiter): void => {
    line.splice(line.indexOf(waiter), 1);
    waiting -= waiter.bytes;
  };

  const serve = (): void => {
    for (let waiter = line[0]; waiter && fits(waiter.bytes); waiter = line[0]) {
      leave(waiter);
      taken += waiter.bytes;
      waiter.resolve();
    }
  };

  const room: Room = {
    tryTake(bytes) {
      if (line.length > 0 || !fits(bytes)) return false;
      taken += bytes;
      return true;
    },
    take(bytes, signal) {
      if (room.tryTake(bytes)) return Promise.resolve();
      if (closed) return Promise.reject(closed);
      if (signal?.aborted) return Promise.reject(signal.reason);
      if (waiting > 0 && waiting + bytes > maxBytes) return Promise.reject(room.refusal());
      return new Promise((resolve, reject) => {
        const onAbort = (): void => {
          leave(waiter);
          reject(signal?.reason);
          serve();
        };
        const settled = (): void => signal?.removeEventListener("abort", onAbort);
        const waiter: Waiter = {
          bytes,
          resolve: () => {
            settled();
            resolve();
          },
          reject: (reason) => {
            settled();
            reject(reason);
          },
        };
        signal?.addEventListener("abort", onAbort, { once: true });
        line.push(waiter);
        waiting += bytes;
      });
    },
    give(bytes) {
      taken -= bytes;
      if (line.length > 0) serve();
    },
    taken: () => taken,
    refusal: () =>
      new MillraceError(
        "RESOURCE_EXHAUSTED",
        `${taken} bytes wait to be written; retry in ${retryAfterMs} ms`,
        { retryAfterMs },
      ),
    close(reason) {
      closed = reason;
      for (const waiter of line.splice(0)) waiter.reject(reason);
      waiting = 0;
    },
  };
  return room;
}
