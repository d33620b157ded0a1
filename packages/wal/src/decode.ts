/**
 * From bytes to messages: verified once, then views.
 *
 * @module
 */

import { MillraceError, type Tick } from "@millrace/types";
import { type Crc32, crc32 as portableCrc32 } from "./crc32.ts";
import {
  align8,
  checksumFrom,
  entryBytes,
  entryField,
  formatVersion,
  headerBytes,
  headerField,
  magic,
  maxBatchLength,
  maxBatchMessages,
  maxKeyBytes,
} from "./format.ts";
import type { RecordBatch, StoredMessage } from "./record-batch.ts";

const noBytes: Uint8Array = new Uint8Array(0);
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Verifies the batch that begins at `offset` and answers a view of it. Nothing in it is trusted before
 * its checksum and all its bounds are verified. Throws `DATA_LOSS` with the position if it is cut off
 * or damaged.
 */
export function decodeBatch(
  bytes: Uint8Array,
  offset = 0,
  options: { crc32?: Crc32 | undefined } = {},
): RecordBatch {
  const result = tryDecodeBatch(bytes, offset, options.crc32);
  if (typeof result === "string") {
    throw new MillraceError("DATA_LOSS", `the batch at byte ${offset} is damaged: ${result}`, {
      expected: "a whole, undamaged batch",
    });
  }
  return result;
}

/** Decodes batches that stand one after the other, to the last byte. Throws `DATA_LOSS` as above. */
export function decodeBatches(
  bytes: Uint8Array,
  options: { crc32?: Crc32 | undefined } = {},
): RecordBatch[] {
  const batches: RecordBatch[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const batch = decodeBatch(bytes, offset, options);
    batches.push(batch);
    offset += batch.bytes.length;
  }
  return batches;
}

/** What a batch's first bytes claim about its length; nothing else of it is verified. */
export type BatchStart =
  /** Where a batch would begin stands something else, or too few bytes to tell. */
  | { kind: "none" }
  /** A batch of `length` bytes, if it is one, of a format that this version does not know. */
  | { kind: "unknown-version"; version: number; length: number }
  /** A batch of `length` bytes, if it is one. */
  | { kind: "batch"; length: number };

/** Looks at the first 16 bytes at `offset`, so that a reader knows how many it needs. */
export function peekBatch(bytes: Uint8Array, offset: number): BatchStart {
  if (offset + headerField.term > bytes.length) return { kind: "none" };
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, headerField.term);
  if (view.getUint32(headerField.magic, true) !== magic) return { kind: "none" };
  const version = view.getUint16(headerField.version, true);
  const length = view.getUint32(headerField.totalLength, true);
  if (length < headerBytes || length > maxBatchLength || length % 8 !== 0) return { kind: "none" };
  return version === formatVersion
    ? { kind: "batch", length }
    : { kind: "unknown-version", version, length };
}

/** Whether the checksum of `length` bytes at `offset` is right, which holds for every version. */
export function isSound(bytes: Uint8Array, offset: number, length: number, crc32: Crc32): boolean {
  if (offset + length > bytes.length) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, length);
  const checksum = view.getUint32(headerField.checksum, true);
  return crc32(bytes.subarray(offset + checksumFrom, offset + length)) === checksum;
}

/** As {@linkcode decodeBatch}, but answers what is wrong instead of throwing. */
export function tryDecodeBatch(
  bytes: Uint8Array,
  offset: number,
  crc32: Crc32 = portableCrc32,
): RecordBatch | string {
  const start = peekBatch(bytes, offset);
  if (start.kind === "none") return "it does not begin like a batch";
  if (start.kind === "unknown-version") {
    return `its format version ${start.version} is not known to this version of Millrace`;
  }
  if (start.length > bytes.length - offset) {
    return `it has ${start.length} bytes, of which ${bytes.length - offset} are there`;
  }
  const own = bytes.subarray(offset, offset + start.length);
  const batch = createView(own);
  if (crc32(own.subarray(checksumFrom)) !== batch.checksum) return "its checksum does not match";
  return checkHeader(batch) ?? checkTable(batch) ?? batch;
}

/** A view of a batch that is known to be sound. */
export function createView(bytes: Uint8Array): BatchView {
  return new BatchView(bytes);
}

class BatchView implements RecordBatch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly term: number;
  readonly sequence: number;
  readonly firstTick: Tick;
  readonly count: number;
  readonly checksum: number;
  readonly previousChecksum: number;
  #vchannels: readonly string[] | undefined;

  constructor(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.bytes = bytes;
    this.view = view;
    this.term = readUint64(view, headerField.term);
    this.sequence = readUint64(view, headerField.sequence);
    this.firstTick = view.getBigUint64(headerField.firstTick, true);
    this.count = view.getUint32(headerField.count, true);
    this.checksum = view.getUint32(headerField.checksum, true);
    this.previousChecksum = view.getUint32(headerField.previousChecksum, true);
  }

  get lastTick(): Tick {
    return this.firstTick + BigInt(this.count - 1);
  }

  get vchannels(): readonly string[] {
    this.#vchannels ??= readDictionary(this);
    return this.#vchannels;
  }

  *messages(): Iterable<StoredMessage> {
    const { view, count, sequence, firstTick, vchannels } = this;
    for (let index = 0; index < count; index++) {
      const entry = headerBytes + index * entryBytes;
      const keyLength = view.getUint32(entry + entryField.keyLength, true);
      const headerLength = view.getUint32(entry + entryField.headerLength, true);
      const payloadLength = view.getUint32(entry + entryField.payloadLength, true);
      const payload = view.getUint32(entry + entryField.dataOffset, true);
      const header = payload + payloadLength;
      yield {
        type: view.getUint32(entry + entryField.type, true),
        vchannel: vchannels[view.getUint32(entry + entryField.vchannel, true)] ?? "",
        header: this.#slice(header, headerLength),
        payload: this.#slice(payload, payloadLength),
        id: { sequence, index },
        tick: index === 0 ? firstTick : firstTick + BigInt(index),
        idempotencyKey: keyLength === 0 ? "" : decodeText(this, header + headerLength, keyLength),
        appendCount: view.getUint32(entry + entryField.appendCount, true),
        txn: readTxn(view, entry + entryField.txn),
      };
    }
  }

  // Half the cost of `subarray`, of which a message needs two.
  #slice(offset: number, length: number): Uint8Array {
    const { buffer, byteOffset } = this.bytes;
    return length === 0 ? noBytes : new Uint8Array(buffer, byteOffset + offset, length);
  }
}

/** Most messages have none: those cost no bigint. */
function readTxn(view: DataView, offset: number): Tick {
  const none = view.getUint32(offset, true) === 0 && view.getUint32(offset + 4, true) === 0;
  return none ? 0n : view.getBigUint64(offset, true);
}

/** A number of 64 bits; above 2^53 it is not exact, but above 2^53 all the same. */
function readUint64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 0x1_0000_0000;
}

function checkHeader(batch: BatchView): string | undefined {
  const { view, count } = batch;
  if (view.getUint16(headerField.headerLength, true) !== headerBytes) {
    return "its header has another length than its format version";
  }
  if (!Number.isSafeInteger(batch.term) || batch.term < 1) return "its term is out of range";
  if (!Number.isSafeInteger(batch.sequence)) return "its sequence is out of range";
  if (readUint64(view, headerField.reserved) !== 0) return "a reserved field is set";
  if (count < 1 || count > maxBatchMessages) return `it cannot have ${count} messages`;
  const vchannels = view.getUint32(headerField.vchannelCount, true);
  const dictionaryLength = view.getUint32(headerField.dictionaryLength, true);
  if (vchannels < 1 || vchannels > count) return `it cannot have ${vchannels} vchannels`;
  const dictionary = headerBytes + count * entryBytes;
  const end = dictionary + dictionaryLength;
  if (dictionaryLength % 8 !== 0 || end > view.byteLength) {
    return "its vchannels do not fit into it";
  }
  let at = dictionary;
  for (let i = 0; i < vchannels; i++) {
    if (at + 4 > end) return `vchannel ${i} does not fit into it`;
    at += 4 + view.getUint32(at, true);
    if (at > end) return `vchannel ${i} does not fit into it`;
  }
  if (align8(at - dictionary) !== dictionaryLength) return "its vchannels have another length";
  return undefined;
}

function checkTable(batch: BatchView): string | undefined {
  const { view, count } = batch;
  const vchannels = view.getUint32(headerField.vchannelCount, true);
  const dictionaryLength = view.getUint32(headerField.dictionaryLength, true);
  let data = headerBytes + count * entryBytes + dictionaryLength;
  let restOfAppend = 0;
  for (let index = 0; index < count; index++) {
    const entry = headerBytes + index * entryBytes;
    const appendCount = view.getUint32(entry + entryField.appendCount, true);
    const keyLength = view.getUint32(entry + entryField.keyLength, true);
    if (view.getUint32(entry + entryField.vchannel, true) >= vchannels) {
      return `message ${index} names a vchannel that is not there`;
    }
    if (view.getUint32(entry + entryField.reserved, true) !== 0) return "a reserved field is set";
    if (restOfAppend > 0) {
      if (appendCount !== 0 || keyLength !== 0)
        return `message ${index} begins an append too early`;
      restOfAppend--;
    } else {
      if (appendCount < 1 || appendCount > count - index || keyLength > maxKeyBytes) {
        return `message ${index} does not begin an append`;
      }
      restOfAppend = appendCount - 1;
    }
    if (view.getUint32(entry + entryField.dataOffset, true) !== data) {
      return `message ${index} does not stand where it should`;
    }
    data += align8(
      keyLength +
        view.getUint32(entry + entryField.headerLength, true) +
        view.getUint32(entry + entryField.payloadLength, true),
    );
    if (data > view.byteLength) return `message ${index} does not fit into it`;
  }
  return data === view.byteLength ? undefined : "it is longer than its messages";
}

function readDictionary(batch: BatchView): string[] {
  const { view } = batch;
  const names: string[] = [];
  let at = headerBytes + batch.count * entryBytes;
  for (let i = view.getUint32(headerField.vchannelCount, true); i > 0; i--) {
    const length = view.getUint32(at, true);
    names.push(decodeText(batch, at + 4, length));
    at += 4 + length;
  }
  return names;
}

function decodeText(batch: BatchView, offset: number, length: number): string {
  try {
    return decoder.decode(batch.bytes.subarray(offset, offset + length));
  } catch (cause) {
    throw new MillraceError(
      "DATA_LOSS",
      `batch ${batch.sequence} has text that is not UTF-8 at byte ${offset}`,
      { cause },
    );
  }
}
