/**
 * The reading half of a flusher: from the log's messages to ranges of rows that are ready to flush.
 *
 * @module
 */

import type { Clock, Tick } from "@millrace/types";
import { createAssembler, type Delivery, type RecordBatch } from "@millrace/wal";
import type { BudgetShare, FlushBudget } from "./budget.ts";
import { type LogEvent, type PartitionPiece, readEvents } from "./events.ts";
import { type SealLimits, sealReason } from "./seal.ts";
import { addPiece, openRange, pieceBytes, pieceOverhead, type RowRange } from "./segment.ts";
import type { FlushJob, VchannelState } from "./vchannel.ts";
import type { VchannelRegistry } from "./vchannel-registry.ts";

/** Options of {@linkcode createConsumer}. */
export interface ConsumerOptions {
  registry: VchannelRegistry;
  /** The first batch to take. */
  sequence: number;
  /** All that counts up to this tick is in tables. */
  lastTick: Tick;
  limits: () => SealLimits;
  budget: FlushBudget;
  /** The most bytes of rows in memory. */
  bufferBytes: number;
  clock: Clock;
  /** Told when there is a new job. */
  onSealed: () => void;
}

/** Takes batches in and seals what they bring. */
export interface Consumer {
  /** The memory that rows take. */
  readonly share: BudgetShare;
  /** Takes the next batch in; waits while there is no room for its rows. */
  take(batch: RecordBatch, signal: AbortSignal): Promise<void>;
  /** The batch that is to be taken next. */
  nextSequence(): number;
  /** Where the log is to be read from to have what is open: its oldest transaction began there. */
  openFrom(): number;
  /** The last tick that was taken in, or is known to be in tables. */
  lastTick(): Tick;
  /** Keys of deletions that were read. */
  deletes(): number;
  /** Forgets a job whose rows are in the table, or are not wanted any more. */
  finish(job: FlushJob): void;
  close(): void;
}

/** Takes batches in and seals what they bring. */
export function createConsumer(options: ConsumerOptions): Consumer {
  const { registry, limits, budget, clock, onSealed } = options;
  const { vchannels } = registry;
  const assembler = createAssembler();
  let next = options.sequence;
  let openFrom = next;
  let readTick: Tick = 0n;
  let deletes = 0;
  // What counts with the batch at hand, and where it must be read from.
  let taken: { sequence: number; readFrom: number; deliveries: Delivery[] } | undefined;
  // Bytes of transactions that were open after the batch before.
  let held = 0;
  // Bytes of rows that the batch at hand has brought.
  let added = 0;
  let cancelCheck: (() => void) | undefined;

  const lastTick = (): Tick => {
    // Batches that are read again, for the sake of transactions, may be older than what is in tables.
    if (readTick > options.lastTick) return readTick;
    return options.lastTick;
  };

  const seal = (vchannel: VchannelState): void => {
    const { growing: range } = vchannel;
    if (!range) return;
    vchannel.growing = undefined;
    range.lastSequence = next - 1;
    range.lastTick = readTick;
    queue(vchannel, range, false);
  };

  const queue = (vchannel: VchannelState, range: RowRange, truncates: boolean): void => {
    const job: FlushJob = {
      vchannel,
      range,
      truncates,
      uploaded: undefined,
      failures: 0,
      retryAt: 0,
      problem: "",
      running: false,
    };
    vchannel.jobs.push(job);
    onSealed();
  };

  const sealLargest = (): void => {
    let largest: VchannelState | undefined;
    for (const vchannel of vchannels.values()) {
      if ((vchannel.growing?.bytes ?? 0) > (largest?.growing?.bytes ?? 0)) largest = vchannel;
    }
    if (largest) seal(largest);
  };

  const growingBytes = (): number => {
    let bytes = 0;
    for (const { growing } of vchannels.values()) bytes += growing?.bytes ?? 0;
    return bytes;
  };

  const sealIfDue = (vchannel: VchannelState): void => {
    const { growing, since, touched } = vchannel;
    if (!growing) return;
    const stats = { bytes: growing.bytes, rows: growing.rows, since, touched };
    if (sealReason(stats, vchannel.limits(), clock.monotonic())) seal(vchannel);
  };

  const check = (): void => {
    cancelCheck = undefined;
    for (const vchannel of vchannels.values()) sealIfDue(vchannel);
    if (growingBytes() > 0) armCheck();
  };

  /** Looks at the limits of time again later. */
  const armCheck = (): void => {
    if (cancelCheck) return;
    const { idleMs, ageMs } = limits();
    cancelCheck = clock.schedule(Math.max(1, Math.min(1000, idleMs / 2, ageMs / 2)), check);
  };

  const share = budget.join(
    { relievable: growingBytes, relieve: sealLargest },
    options.bufferBytes,
  );

  const insert = (
    name: string,
    piece: PartitionPiece,
    batch: RecordBatch,
    readFrom: number,
  ): void => {
    const vchannel = vchannels.get(name);
    // Rows of a dropped collection, or rows that the table is known to have.
    if (!vchannel || batch.sequence <= vchannel.table.known(name)) return;
    if (piece.rows === 0) return;
    const now = clock.monotonic();
    if (!vchannel.growing) {
      vchannel.growing = openRange(batch.sequence, batch.firstTick, readFrom);
      vchannel.since = now;
    }
    vchannel.touched = now;
    added += pieceBytes(piece.payload);
    armCheck();
    addPiece(vchannel.growing, piece.partitionId, piece);
  };

  const truncate = (vchannel: VchannelState, batch: RecordBatch, readFrom: number): void => {
    const { sequence, firstTick, lastTick } = batch;
    if (sequence <= vchannel.table.known(vchannel.name)) return;
    share.release(vchannel.growing?.bytes ?? 0);
    vchannel.growing = undefined;
    // Ranges that are sealed go first: an attempt at one may have got through.
    queue(vchannel, { ...openRange(sequence, firstTick, readFrom), lastTick }, true);
  };

  const drop = (name: string): void => {
    const vchannel = registry.drop(name);
    if (!vchannel) return;
    share.release(vchannel.growing?.bytes ?? 0);
    vchannel.growing = undefined;
    // A job that is under way ends by itself, and is finished then.
    const waiting = vchannel.jobs.splice(vchannel.jobs[0]?.running ? 1 : 0);
    for (const { range } of waiting) share.release(range.bytes);
  };

  const apply = (batch: RecordBatch, events: readonly LogEvent[], readFrom: number): void => {
    const touched = new Set<VchannelState>();
    const manual = new Set<VchannelState>();
    for (const event of events) {
      switch (event.kind) {
        case "insert":
          insert(event.vchannel, event.piece, batch, readFrom);
          for (const vchannel of registry.named(event.vchannel)) touched.add(vchannel);
          break;
        case "delete":
          deletes += event.rows;
          break;
        case "create":
          registry.create(event.vchannel, event.collection);
          break;
        case "partition":
          registry.addPartition(event.vchannel, event.partition);
          break;
        case "alter":
          // Rows from before need no files of their own: they lack the new columns.
          registry.alter(event.vchannel, event.schema);
          break;
        case "truncate":
          // Exclusive, so that nothing of the vchannel comes behind it in its batch.
          for (const vchannel of registry.named(event.vchannel)) {
            truncate(vchannel, batch, readFrom);
          }
          break;
        case "drop":
          drop(event.vchannel);
          break;
        case "flush":
          for (const vchannel of registry.named(event.vchannel)) manual.add(vchannel);
          break;
      }
    }
    // After the whole batch, so that ranges begin and end between batches.
    next = batch.sequence + 1;
    openFrom = assembler.oldestOpen() ?? next;
    readTick = batch.lastTick;
    for (const vchannel of manual) seal(vchannel);
    for (const vchannel of touched) sealIfDue(vchannel);
  };

  /** What counts with a batch, once: a batch that could not be taken in comes again. */
  const assemble = (batch: RecordBatch) => {
    const { sequence } = batch;
    if (taken?.sequence !== sequence) {
      const readFrom = Math.min(assembler.oldestOpen() ?? sequence, sequence);
      taken = { sequence, readFrom, deliveries: assembler.take(batch) };
    }
    return taken;
  };

  return {
    share,
    async take(batch, signal) {
      const { deliveries, readFrom } = assemble(batch);
      // All of it before anything is done, so that a batch which cannot be read is not half taken in.
      const events = readEvents(deliveries);
      // An upper bound of what the batch's rows take; the rest is given back.
      const reserved = batch.bytes.byteLength + batch.count * pieceOverhead;
      await share.reserve(reserved, signal);
      added = 0;
      apply(batch, events, readFrom);
      taken = undefined;
      const open = assembler.heldBytes();
      share.pin(open);
      share.release(reserved - added - (open - held));
      held = open;
    },
    nextSequence: () => next,
    openFrom: () => openFrom,
    lastTick,
    deletes: () => deletes,
    finish({ vchannel, range }) {
      vchannel.jobs.shift();
      share.release(range.bytes);
    },
    close() {
      cancelCheck?.();
      share.leave();
    },
  };
}
