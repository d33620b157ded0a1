/**
 * Settings of the streaming node.
 *
 * @module
 */

import { defaultSealLimits } from "@millrace/flusher";
import { defaultRetention } from "@millrace/node";
import { defaultPressureLimits } from "@millrace/wal";
import {
  count,
  duration,
  fraction,
  listenAddress,
  size,
  sizeOrUnlimited,
  text,
  url,
} from "../kinds.ts";
import { parseLogSpec } from "../locations.ts";
import { optional, type ServiceName, setting } from "../setting.ts";
import { day, gib, hour, kib, mib, minute, second, tib } from "../units.ts";

const node: readonly ServiceName[] = ["node"];
const all: readonly ServiceName[] = ["standalone", "node"];

/** Settings of the streaming node. */
export const nodeSettings = {
  "node.listen": setting(
    node,
    listenAddress(),
    "127.0.0.1:8532",
    "Where to serve, HOST:PORT. Port 0 picks a free one.",
    { flag: "--listen <address>" },
  ),
  "node.advertise": optional(node, url(), "How others reach the node: a URL.", {
    flag: "--advertise <url>",
    unset: "by node.listen",
  }),
  "node.data": setting(
    node,
    text("a folder"),
    "./millrace-node",
    "Folder of the node's own, with its id.",
    { flag: "--data <dir>" },
  ),
  "node.drainFor": setting(
    node,
    duration(0, hour),
    10 * second,
    "At the end, how long its logs may take to move to other nodes.",
    { flag: "--drain-for <duration>" },
  ),
  "node.snapshotInterval": setting(
    all,
    duration(100, hour),
    10 * second,
    "How often the state of a log is saved at most. After a crash the log is read from there.",
    { hot: true },
  ),
  "node.wal.backend": setting(
    all,
    text("file, file:DIR or memory", parseLogSpec),
    "file",
    "Where logs are: file:DIR, which nodes share that take over from one another; file, which is file:DATA/wal; or memory, which keeps nothing.",
    { flag: "--wal <spec>" },
  ),
  "node.wal.fileBytes": setting(
    all,
    size(4 * kib, 4 * gib),
    64 * mib,
    "How large a file of a log grows before the next one begins.",
  ),
  "node.wal.maxBatchBytes": setting(
    all,
    size(64 * kib, 64 * mib),
    4 * mib,
    "Appends are gathered into one durable write of up to so many bytes.",
  ),
  "node.wal.maxWaitingBytes": setting(
    all,
    size(mib, 4 * gib),
    64 * mib,
    "How many bytes of appends may wait at each log. More are refused.",
  ),
  "node.wal.maxKeys": setting(
    all,
    count(0, 10_000_000),
    262_144,
    "How many idempotency keys each log remembers.",
  ),
  "node.wal.tickInterval": setting(
    all,
    duration(10, 10 * second),
    200,
    "How often the time of a log goes on while nothing is appended.",
  ),
  "node.wal.slowBatch": setting(
    all,
    duration(1, hour),
    second,
    "A batch that takes longer to become durable is logged.",
    { hot: true },
  ),
  "node.wal.segmentRows": setting(
    all,
    count(1, 1_000_000_000),
    4_000_000,
    "Rows after which a segment is full and the next one begins.",
  ),
  "node.wal.segmentBytes": setting(
    all,
    size(64 * kib, 64 * gib),
    Math.floor(0.12 * gib),
    "Bytes after which a segment is full, less up to a tenth, by chance.",
  ),
  "node.txn.lease": setting(
    all,
    duration(1, 10 * minute),
    10 * second,
    "How long a transaction that asks for no lease may be silent before it is rolled back.",
    { hot: true },
  ),
  "node.txn.maxOpen": setting(
    all,
    count(1, 1_000_000),
    1024,
    "How many transactions may be open on each log.",
  ),
  "node.txn.maxOpenBytes": setting(
    all,
    size(mib, 4 * gib),
    64 * mib,
    "How many bytes of open transactions each log may have. Readers hold them in memory.",
  ),
  "node.tail.bytes": setting(
    all,
    size(0, 4 * gib),
    8 * mib,
    "Bytes of its newest batches that each log keeps in memory for readers.",
  ),
  "node.tail.age": setting(
    all,
    duration(0, hour),
    30 * second,
    "How long each log keeps them in memory.",
  ),
  "node.throttle.rate": setting(
    all,
    sizeOrUnlimited(kib, tib),
    Number.POSITIVE_INFINITY,
    "How many bytes of inserts and deletes a second are let into each log.",
    { hot: true },
  ),
  "node.throttle.burst": setting(
    all,
    size(kib, 4 * gib),
    20 * mib,
    "How many bytes may come at once to a log whose rate is limited.",
    { hot: true },
  ),
  "node.throttle.memory.slowAt": setting(
    all,
    fraction(0, 1),
    defaultPressureLimits.slowAt,
    "The share of the memory that the process may have, from which on inserts and deletes are slowed down.",
    { hot: true },
  ),
  "node.throttle.memory.rejectAt": setting(
    all,
    fraction(0, 1),
    defaultPressureLimits.rejectAt,
    "The share of memory from which on they are refused.",
    { hot: true },
  ),
  "node.throttle.memory.recoverBelow": setting(
    all,
    fraction(0, 1),
    defaultPressureLimits.recoverBelow,
    "The share of memory below which they become faster again.",
    { hot: true },
  ),
  "node.flush.bytes": setting(
    all,
    size(kib, 4 * gib),
    defaultSealLimits.bytes,
    "Bytes of a shard's rows after which they are written to the table.",
    { hot: true },
  ),
  "node.flush.rows": setting(
    all,
    count(1, 1_000_000_000),
    defaultSealLimits.rows,
    "Rows of a shard after which they are written to the table.",
    { hot: true },
  ),
  "node.flush.age": setting(
    all,
    duration(10, 7 * day),
    defaultSealLimits.ageMs,
    "Age of a shard's oldest row at which they are written to the table, less up to a tenth, by chance.",
    { hot: true },
  ),
  "node.flush.idle": setting(
    all,
    duration(10, 7 * day),
    defaultSealLimits.idleMs,
    "How long a shard gets no rows before those it has are written to the table.",
    { hot: true },
  ),
  "node.flush.memoryBytes": setting(
    all,
    size(mib, 64 * gib),
    192 * mib,
    "Bytes of rows that may wait in memory to be written to tables, over all logs.",
  ),
  "node.flush.memoryBytesPerLog": setting(
    all,
    size(mib, 64 * gib),
    128 * mib,
    "Of these, how many may be of one log.",
  ),
  "node.retention.age": setting(
    all,
    duration(0, 3650 * day),
    defaultRetention.ageMs,
    "How long logs are kept for readers after their rows are in tables. Whichever limit is reached first lets them go.",
    { hot: true },
  ),
  "node.retention.bytes": setting(
    all,
    size(0, 1024 * tib),
    defaultRetention.bytes,
    "How many bytes of each log are kept for readers.",
    { hot: true },
  ),
};
