/**
 * Where the fields of an encoded RecordBatch stand. FORMAT.md explains them.
 *
 * @module
 */

/** The first four bytes, "MLRB", as a little-endian number. */
export const magic = 0x42524c4d;
/** The only format version so far. */
export const formatVersion = 1;
/** Bytes before the message table. */
export const headerBytes = 64;
/** Bytes of one entry of the message table. */
export const entryBytes = 40;

/** Offsets of the batch header's fields from the start of the batch. */
export const headerField = {
  magic: 0,
  checksum: 4,
  version: 8,
  headerLength: 10,
  totalLength: 12,
  term: 16,
  sequence: 24,
  firstTick: 32,
  count: 40,
  previousChecksum: 44,
  vchannelCount: 48,
  dictionaryLength: 52,
  reserved: 56,
} as const;

/** Offsets of a message table entry's fields from the start of the entry. */
export const entryField = {
  type: 0,
  vchannel: 4,
  appendCount: 8,
  keyLength: 12,
  headerLength: 16,
  payloadLength: 20,
  dataOffset: 24,
  reserved: 28,
  txn: 32,
} as const;

/** From here to its end the checksum covers a batch: all but the magic, which has one value only. */
export const checksumFrom = 8;
/** The largest idempotency key, in bytes of UTF-8. */
export const maxKeyBytes = 512;
/** The most messages one batch may have. */
export const maxBatchMessages = 65_536;
/** The largest encoded batch, in bytes. */
export const maxBatchLength = 0x4000_0000;

/** The next multiple of 8. */
export function align8(length: number): number {
  // Not `(length + 7) & ~7`: lengths may exceed 2^31.
  return length + (-length & 7);
}
