/**
 * From messages to bytes: one allocation and one copy per batch.
 *
 * @module
 */

import { MillraceError, type Tick } from "@millrace/types";
import { type Crc32, crc32 as portableCrc32 } from "./crc32.ts";
import { createView } from "./decode.ts";
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
import type { RecordBatch, WalMessage } from "./record-batch.ts";
import { utf8Length, writeUtf8 } from "./utf8.ts";

/** Messages that were appended together. */
export interface BatchAppend {
  /** At least one. */
  messages: readonly WalMessage[];
  /** At most 512 bytes of UTF-8; empty or absent: none. */
  idempotencyKey?: string | undefined;
  /** The transaction they belong to; 0 or absent: none. */
  txn?: Tick | undefined;
}

/** What {@linkcode encodeBatch} makes a batch of. */
export interface BatchInput {
  /** Of the owner that writes it, from 1. */
  term: number;
  /** Its place in the log, from 0. */
  sequence: number;
  /** The tick of the first message; the others follow it without gaps. */
  firstTick: Tick;
  /** The checksum of the batch before it; 0 for the first of a log. */
  previousChecksum: number;
  /** At least one, with at most 65 536 messages altogether. */
  appends: readonly BatchAppend[];
}

/** Options of {@linkcode encodeBatch}. */
export interface CodecOptions {
  /** The CRC-32 to use. Default: a portable one; `node:zlib`'s `crc32` is several times faster. */
  crc32?: Crc32 | undefined;
  /**
   * Answers memory for the batch: at least so many bytes, from a multiple of 8 on, that nobody else
   * reads or writes. All that the batch has of it is overwritten. Default: new memory.
   */
  allocate?: ((bytes: number) => Uint8Array) | undefined;
}

/**
 * Encodes a batch and answers a view of it. Throws `INVALID_ARGUMENT` if it has no messages, too many,
 * or is larger than 1 GiB.
 */
export function encodeBatch(input: BatchInput, options: CodecOptions = {}): RecordBatch {
  const { crc32 = portableCrc32, allocate = newMemory } = options;
  const layout = measure(input.appends);
  const { count, dictionary, dictionaryLength, totalLength } = layout;
  const bytes = allocate(totalLength).subarray(0, totalLength);
  const view = new DataView(bytes.buffer, bytes.byteOffset, totalLength);

  view.setUint32(headerField.magic, magic, true);
  view.setUint16(headerField.version, formatVersion, true);
  view.setUint16(headerField.headerLength, headerBytes, true);
  view.setUint32(headerField.totalLength, totalLength, true);
  view.setBigUint64(headerField.term, BigInt(input.term), true);
  view.setBigUint64(headerField.sequence, BigInt(input.sequence), true);
  view.setBigUint64(headerField.firstTick, input.firstTick, true);
  view.setUint32(headerField.count, count, true);
  view.setUint32(headerField.previousChecksum, input.previousChecksum, true);
  view.setUint32(headerField.vchannelCount, dictionary.size, true);
  view.setUint32(headerField.dictionaryLength, dictionaryLength, true);
  view.setBigUint64(headerField.reserved, 0n, true);

  const dictionaryOffset = headerBytes + count * entryBytes;
  writeDictionary(dictionary, bytes, view, dictionaryOffset);
  writeMessages(input.appends, dictionary, bytes, view, dictionaryOffset + dictionaryLength);

  view.setUint32(headerField.checksum, crc32(bytes.subarray(checksumFrom)), true);
  return createView(bytes);
}

function newMemory(bytes: number): Uint8Array {
  return new Uint8Array(bytes);
}

/** How many bytes an append adds to a batch, its vchannel's name apart. */
export function encodedAppendBytes(append: BatchAppend): number {
  let bytes = 0;
  let keyBytes = append.idempotencyKey ? utf8Length(append.idempotencyKey) : 0;
  for (const message of append.messages) {
    const data = message.payload.length + message.header.length + keyBytes;
    bytes += entryBytes + align8(data);
    keyBytes = 0;
  }
  return bytes;
}

interface Layout {
  count: number;
  /** From a vchannel's name to its index. */
  dictionary: Map<string, number>;
  dictionaryLength: number;
  totalLength: number;
}

function measure(appends: readonly BatchAppend[]): Layout {
  const dictionary = new Map<string, number>();
  let lastName: string | undefined;
  let count = 0;
  let names = 0;
  let body = 0;
  for (const { messages, idempotencyKey } of appends) {
    if (messages.length === 0) {
      throw new MillraceError("INVALID_ARGUMENT", "an append needs at least one message", {
        field: "messages",
      });
    }
    let keyBytes = idempotencyKey ? utf8Length(idempotencyKey) : 0;
    if (keyBytes > maxKeyBytes) {
      throw new MillraceError(
        "INVALID_ARGUMENT",
        `the idempotency key has more than ${maxKeyBytes} bytes; shorten it`,
        { field: "idempotency_key" },
      );
    }
    count += messages.length;
    for (const { vchannel, header, payload } of messages) {
      body += entryBytes + align8(payload.length + header.length + keyBytes);
      keyBytes = 0;
      // Most messages have the vchannel of the one before: no look-up for those.
      if (vchannel === lastName) continue;
      lastName = vchannel;
      if (dictionary.has(vchannel)) continue;
      dictionary.set(vchannel, dictionary.size);
      names += 4 + utf8Length(vchannel);
    }
  }
  const dictionaryLength = align8(names);
  const totalLength = headerBytes + body + dictionaryLength;
  if (count === 0 || count > maxBatchMessages) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `a batch has 1 to ${maxBatchMessages} messages, not ${count}`,
      { field: "messages" },
    );
  }
  if (totalLength > maxBatchLength) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `a batch of ${totalLength} bytes is too large; at most ${maxBatchLength} are allowed`,
      { field: "messages" },
    );
  }
  return { count, dictionary, dictionaryLength, totalLength };
}

function writeDictionary(
  dictionary: ReadonlyMap<string, number>,
  bytes: Uint8Array,
  view: DataView,
  offset: number,
): void {
  let at = offset;
  for (const name of dictionary.keys()) {
    const length = utf8Length(name);
    view.setUint32(at, length, true);
    writeUtf8(name, bytes, at + 4, length);
    at += 4 + length;
  }
  pad(bytes, at, offset + align8(at - offset));
}

function writeMessages(
  appends: readonly BatchAppend[],
  dictionary: ReadonlyMap<string, number>,
  bytes: Uint8Array,
  view: DataView,
  dataOffset: number,
): void {
  let lastName: string | undefined;
  let vchannelIndex = 0;
  let entry = headerBytes;
  let data = dataOffset;
  for (const { messages, idempotencyKey = "", txn = 0n } of appends) {
    let keyLength = idempotencyKey === "" ? 0 : utf8Length(idempotencyKey);
    let appendCount = messages.length;
    for (const { type, vchannel, header, payload } of messages) {
      if (vchannel !== lastName) {
        lastName = vchannel;
        vchannelIndex = dictionary.get(vchannel) ?? 0;
      }
      view.setUint32(entry + entryField.type, type, true);
      view.setUint32(entry + entryField.vchannel, vchannelIndex, true);
      view.setUint32(entry + entryField.appendCount, appendCount, true);
      view.setUint32(entry + entryField.keyLength, keyLength, true);
      view.setUint32(entry + entryField.headerLength, header.length, true);
      view.setUint32(entry + entryField.payloadLength, payload.length, true);
      view.setUint32(entry + entryField.dataOffset, data, true);
      view.setUint32(entry + entryField.reserved, 0, true);
      view.setBigUint64(entry + entryField.txn, txn, true);
      entry += entryBytes;
      // The payload first, so that it is aligned to 8 bytes for whoever reads columns from it.
      if (payload.length > 0) bytes.set(payload, data);
      let end = data + payload.length;
      if (header.length > 0) bytes.set(header, end);
      end += header.length;
      if (keyLength > 0) writeUtf8(idempotencyKey, bytes, end, keyLength);
      end += keyLength;
      data += align8(end - data);
      pad(bytes, end, data);
      keyLength = 0;
      appendCount = 0;
    }
  }
}

/** Zeros up to the next multiple of 8. */
function pad(bytes: Uint8Array, from: number, to: number): void {
  for (let at = from; at < to; at++) bytes[at] = 0;
}
