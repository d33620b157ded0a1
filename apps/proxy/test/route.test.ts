import { create } from "@bufbuild/protobuf";
import { int64Column, rowsToColumns } from "@millrace/types";
import { CollectionSchemaSchema, type ColumnBatch, DataType } from "@millrace/types/gen";
import fc from "fast-check";
import { expect, test } from "vitest";
import { crc32, murmur3 } from "../src/hash.ts";
import { createIdSource, takeIdsByPlace } from "../src/ids.ts";
import { groupByShard, shardOfId, shardsOfKeys, splitBySize } from "../src/route.ts";

const words = (value: bigint): [number, number] => [
  Number(BigInt.asUintN(32, value)),
  Number(BigInt.asUintN(32, value >> 32n)),
];

test.each([
  // The vector of the Iceberg specification for the long 34.
  [34n, 2017239379],
  [0n, 1669671676],
  [1n, 1392991556],
  [-1n, 1651860712],
  [2n ** 53n, 2201593381],
  [-(2n ** 63n), 1366273829],
  [2n ** 63n - 1n, 2188461247],
])("murmur3 of the eight bytes of %d", (value, hash) => {
  expect(murmur3(...words(value))).toBe(hash);
});

test("crc32 is that of IEEE 802.3", () => {
  const bytes = new TextEncoder().encode("xx123456789xx");
  expect(crc32(bytes, 2, 11)).toBe(0xcbf43926);
  expect(crc32(bytes, 0, 0)).toBe(0);
});

test("INT64 keys go to the shard that Milvus gives them", () => {
  const keys = int64Column("id", BigInt64Array.of(34n, 42n, 2n ** 63n - 1n, -1n));
  expect([...shardsOfKeys(keys, 4, 4)]).toEqual([2017239379 % 4, 2, 3, 0]);
  expect(shardOfId(42n, 4)).toBe(2);
  expect(shardOfId(-1n, 4)).toBe(0);
});

test("VARCHAR keys go by their first 100 bytes", () => {
  const schema = create(CollectionSchemaSchema, {
    fields: [{ name: "id", type: DataType.VARCHAR, primaryKey: true, maxLength: 1000 }],
  });
  const long = "a".repeat(100);
  const ids = ["123456789", "grüße", long, `${long}b`, ""];
  const batch = rowsToColumns(
    schema,
    ids.map((id) => ({ id })),
    { path: "rows" },
  );
  const [keys] = batch.columns;
  if (!keys) expect.fail("no key column");
  const shards = [...shardsOfKeys(keys, ids.length, 7)];
  expect(shards).toEqual([3421780262 % 7, 879643117 % 7, 2943384164 % 7, 2943384164 % 7, 0]);
});

/** Rows whose one column is their number, so that their way can be followed. */
function numbered(count: number): ColumnBatch {
  const schema = create(CollectionSchemaSchema, {
    fields: [
      { name: "id", type: DataType.INT64, primaryKey: true },
      { name: "text", type: DataType.VARCHAR, maxLength: 1000 },
    ],
  });
  const rows = Array.from({ length: count }, (_, id) => ({ id, text: "x".repeat(id % 100) }));
  return rowsToColumns(schema, rows, { path: "rows" });
}

function numbersOf(batch: ColumnBatch): number[] {
  const values = batch.columns[0]?.values ?? new Uint8Array(0);
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
  return Array.from({ length: batch.rows }, (_, row) => Number(view.getBigInt64(row * 8, true)));
}

test("grouping and splitting lose no row, repeat none, and keep their order", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 5000 }),
      (count, shards, target) => {
        const batch = numbered(count);
        const [keys] = batch.columns;
        if (!keys) return;
        const shardOf = shardsOfKeys(keys, count, shards);
        const seen: number[] = [];
        for (const { shard, rows } of groupByShard(batch, shardOf, shards)) {
          const numbers = splitBySize(rows, target).flatMap(numbersOf);
          expect(numbers).toEqual(numbersOf(rows));
          for (const number of numbers) expect(shardOf[number]).toBe(shard);
          seen.push(...numbers);
        }
        expect(seen.sort((a, b) => a - b)).toEqual(numbersOf(batch));
      },
    ),
    { numRuns: 50 },
  );
});

test("messages stay within the target unless one row alone exceeds it", () => {
  const parts = splitBySize(numbered(200), 1000);
  expect(parts.length).toBeGreaterThan(5);
  expect(splitBySize(numbered(3), 1).map((part) => part.rows)).toEqual([1, 1, 1]);
});

test("ids never repeat, are asked for in blocks, and calls at once share a block", async () => {
  const blocks: number[] = [];
  const source = createIdSource(async (count) => {
    const first = blocks.reduce((sum, each) => sum + each, 0);
    blocks.push(count);
    return { first: BigInt(first), count };
  });
  const { signal } = new AbortController();
  const taken = await Promise.all([
    source.take(10, signal),
    source.take(10, signal),
    source.take(200_000, signal),
  ]);
  const all = taken.flatMap((ids) => Array.from(ids));
  expect(new Set(all).size).toBe(200_020);
  expect(blocks.length).toBe(2);
});

test("ids by place give each row the shard of its place, whatever ids there are", async () => {
  let first = 0n;
  const source = createIdSource(async (count) => {
    const block = { first, count };
    first += BigInt(count) * 3n;
    return block;
  });
  const { signal } = new AbortController();
  for (const firstShard of [0, 3, 6, 700_001]) {
    const options = { count: 1000, shards: 7, firstShard, signal };
    const ids = await takeIdsByPlace(source, options);
    expect(new Set(ids).size).toBe(1000);
    for (const [row, id] of ids.entries()) expect(shardOfId(id, 7)).toBe((firstShard + row) % 7);
  }
});
