/**
 * Many small batches into few large pieces, no sooner than they are wanted.
 *
 * @module
 */

import type { Clock, Tick } from "@millrace/types";
import type { RecordBatch } from "@millrace/wal";

/** Options of {@linkcode pumpBatches}. */
export interface PumpOptions {
  /** A piece is closed when it has so many bytes; a single batch may be larger. */
  pieceBytes: number;
  /** An empty piece is made when nothing came for so long, in milliseconds. */
  idleMs: number;
  clock: Clock;
  /** Ends the pump. */
  signal: AbortSignal;
}

/** Whole batches, one after the other. */
export interface Piece {
  /** Empty: nothing came. */
  bytes: Uint8Array;
  /** Of the last batch so far; 0: none came yet. */
  lastTick: Tick;
}

/**
 * Joins batches that have come while the last piece was being taken. Reads ahead of the taker by at
 * most two pieces. Ends with its source; throws what the source throws, after what came before.
 */
export async function* pumpBatches(
  source: AsyncIterable<RecordBatch>,
  options: PumpOptions,
): AsyncGenerator<Piece> {
  const { pieceBytes, idleMs, clock, signal } = options;
  const queue: RecordBatch[] = [];
  let queued = 0;
  let ended = false;
  let stopped = signal.aborted;
  let failure: unknown;
  let lastTick: Tick = 0n;
  let onData: () => void = () => undefined;
  let onRoom: () => void = () => undefined;

  const fill = async (): Promise<void> => {
    for await (const batch of source) {
      queue.push(batch);
      queued += batch.bytes.byteLength;
      onData();
      if (queued < 2 * pieceBytes) continue;
      await new Promise<void>((resolve) => {
        onRoom = resolve;
      });
      if (stopped) return;
    }
  };
  const stop = (): void => {
    stopped = true;
    onData();
    onRoom();
  };
  signal.addEventListener("abort", stop, { once: true });
  const filling = fill()
    .catch((error: unknown) => {
      failure = error;
    })
    .finally(() => {
      ended = true;
      onData();
    });

  const take = (): Piece => {
    let size = 0;
    let count = 0;
    for (const { bytes } of queue) {
      if (count > 0 && size + bytes.byteLength > pieceBytes) break;
      size += bytes.byteLength;
      count++;
    }
    const batches = queue.splice(0, count);
    queued -= size;
    lastTick = batches.at(-1)?.lastTick ?? lastTick;
    onRoom();
    return { bytes: join(batches, size), lastTick };
  };

  try {
    while (!stopped) {
      if (queue.length > 0) {
        yield take();
        continue;
      }
      if (ended) break;
      await new Promise<void>((resolve) => {
        const cancel = clock.schedule(idleMs, resolve);
        onData = () => {
          cancel();
          resolve();
        };
      });
      onData = () => undefined;
      if (queue.length === 0 && !ended && !stopped) {
        yield { bytes: new Uint8Array(), lastTick };
      }
    }
    if (failure !== undefined && !stopped) throw failure;
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
  await filling;
}

function join(batches: readonly RecordBatch[], size: number): Uint8Array {
  const [only] = batches;
  if (only && batches.length === 1) return only.bytes;
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const batch of batches) {
    bytes.set(batch.bytes, at);
    at += batch.bytes.byteLength;
  }
  return bytes;
}
