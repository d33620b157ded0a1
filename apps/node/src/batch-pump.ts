/**
 * Many small batches into few large pieces, no sooner than they are wanted.
 *
 * @module
 */

import type { Clock, Tick } from "@millrace/types";
import { MessageType } from "@millrace/types/gen";
import type { RecordBatch } from "@millrace/wal";

/** How far a stream is. */
export interface StreamPlace {
  /** All that counts up to this tick has been sent, or was not asked for. */
  tick: Tick;
  /** The same of all batches before this sequence. */
  next: number;
}

/** Options of {@linkcode pumpBatches}. */
export interface PumpOptions {
  /** Only batches with messages of this vchannel, or of all; empty: all batches. */
  vchannel: string;
  /** Where the source begins. */
  start: StreamPlace;
  /** Where the log ends: up to the tick, all is in batches before `next`. */
  end: () => StreamPlace;
  /** A piece is closed when it has so many bytes; a single batch may be larger. */
  pieceBytes: number;
  /** An empty piece is made when nothing came for so long and the place has moved, in milliseconds. */
  idleMs: number;
  /** An empty piece is made when none was for so long, in milliseconds. */
  silenceMs: number;
  clock: Clock;
  /** Ends the pump. */
  signal: AbortSignal;
}

/** Whole batches, one after the other, and where the stream is behind them. */
export interface Piece extends StreamPlace {
  /** Empty: nothing came. */
  bytes: Uint8Array;
}

/**
 * Joins batches that have come while the last piece was being taken. Reads ahead of the taker by at
 * most two pieces. Ends with its source; throws what the source throws, after what came before.
 */
export async function* pumpBatches(
  source: AsyncIterable<RecordBatch>,
  options: PumpOptions,
): AsyncGenerator<Piece> {
  const { vchannel, start, pieceBytes, idleMs, silenceMs, clock, signal } = options;
  const queue: RecordBatch[] = [];
  let queued = 0;
  let ended = false;
  let stopped = signal.aborted;
  let failure: unknown;
  let readTo = start;
  let sentTo = start;
  let onData: () => void = () => undefined;
  let onRoom: () => void = () => undefined;

  const fill = async (): Promise<void> => {
    for await (const batch of source) {
      readTo = placeBehind(batch, start);
      if (!isWanted(batch, vchannel)) continue;
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
    const last = batches.at(-1);
    queued -= size;
    sentTo = queue.length === 0 || !last ? readTo : placeBehind(last, start);
    onRoom();
    return { bytes: join(batches, size), ...sentTo };
  };

  /** An empty piece, if there is something to tell. */
  const rest = (quietMs: number): Piece | undefined => {
    const end = options.end();
    // At the end of the log its time goes on, although nothing comes.
    if (end.next === readTo.next && end.tick > readTo.tick) readTo = end;
    const moved = readTo.tick > sentTo.tick || readTo.next > sentTo.next;
    if (!moved && quietMs < silenceMs) return undefined;
    sentTo = readTo;
    return { bytes: new Uint8Array(), ...sentTo };
  };

  try {
    let quietMs = 0;
    while (!stopped) {
      if (queue.length > 0) {
        quietMs = 0;
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
      if (queue.length > 0 || ended || stopped) continue;
      quietMs += idleMs;
      const piece = rest(quietMs);
      if (!piece) continue;
      quietMs = 0;
      yield piece;
    }
    if (failure !== undefined && !stopped) throw failure;
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
  await filling;
}

function placeBehind({ sequence, lastTick }: RecordBatch, start: StreamPlace): StreamPlace {
  return { tick: lastTick > start.tick ? lastTick : start.tick, next: sequence + 1 };
}

function isWanted(batch: RecordBatch, vchannel: string): boolean {
  if (vchannel === "" || batch.vchannels.includes(vchannel)) return true;
  return batch.vchannels.includes("") && !isTimeTick(batch);
}

/** `true` if nothing but a time tick stands in a batch: a piece's place says as much. */
function isTimeTick(batch: RecordBatch): boolean {
  if (batch.count > 1) return false;
  for (const { type } of batch.messages()) return type === MessageType.TIME_TICK;
  return false;
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
