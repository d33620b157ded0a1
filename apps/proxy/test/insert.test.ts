import { fromBinary } from "@bufbuild/protobuf";
import { columnsToRows, int64Column } from "@millrace/types";
import { ColumnBatchSchema, DataType, InsertHeaderSchema, MessageType } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { type Cluster, startCluster } from "./cluster.ts";

const plain = {
  fields: [
    { name: "id", type: DataType.INT64, primaryKey: true },
    { name: "text", type: DataType.VARCHAR, maxLength: 60_000, nullable: true },
  ],
};
const auto = {
  fields: [
    { name: "text", type: DataType.VARCHAR, maxLength: 100 },
    { name: "id", type: DataType.INT64, primaryKey: true, autoId: true },
  ],
};

async function create(cluster: Cluster, schema: typeof plain | typeof auto, shards = 1) {
  const { collection } = await cluster.client.createCollection({ name: "c", schema, shards });
  return collection?.vchannels ?? [];
}

/** The rows of a vchannel's inserts. */
async function rowsIn(cluster: Cluster, vchannel: string) {
  const messages = (await cluster.log(vchannel)).filter(({ type }) => type === MessageType.INSERT);
  return messages.flatMap(({ payload }) => columnsToRows(fromBinary(ColumnBatchSchema, payload)));
}

async function allRows(cluster: Cluster, vchannels: string[]) {
  return (await Promise.all(vchannels.map((each) => rowsIn(cluster, each)))).flat();
}

const numbers = (count: number) =>
  Array.from({ length: count }, (_, id) => ({ id, text: `t${id}` }));

test("rows go to the shard of their key, and the answer has the largest tick", async () => {
  const cluster = await startCluster();
  const vchannels = await create(cluster, plain, 4);
  const answer = await cluster.client.insert({ collection: "c", rows: numbers(100) });
  expect(answer).toMatchObject({ rows: 100, ids: [], duplicate: false });

  const found = await Promise.all(vchannels.map((each) => rowsIn(cluster, each)));
  expect(found.every((rows) => rows.length > 10)).toBe(true);
  expect(
    found
      .flat()
      .map(({ id }) => Number(id))
      .sort((a, b) => a - b),
  ).toEqual(numbers(100).map(({ id }) => id));
  const logs = await Promise.all(vchannels.map((each) => cluster.log(each)));
  const ticks = logs.flat().map(({ tick }) => tick);
  expect(ticks).toContain(answer.tick);
  expect(ticks.every((tick) => tick <= answer.tick)).toBe(true);
});

test("columns are taken as they are", async () => {
  const cluster = await startCluster();
  const [vchannel = ""] = await create(cluster, {
    fields: [{ name: "id", type: DataType.INT64, primaryKey: true }],
  } as typeof plain);
  const columns = { rows: 2, columns: [int64Column("id", BigInt64Array.of(5n, 2n ** 60n))] };
  expect((await cluster.client.insert({ collection: "c", columns })).rows).toBe(2);
  expect(await rowsIn(cluster, vchannel)).toEqual([{ id: 5 }, { id: String(2n ** 60n) }]);
});

test("a message has one vchannel and one partition, and its header says which", async () => {
  const cluster = await startCluster();
  const [vchannel = ""] = await create(cluster, plain);
  const { partition } = await cluster.client.createPartition({ collection: "c", partition: "p" });
  await cluster.client.insert({ collection: "c", partition: "p", rows: numbers(3) });
  const [message] = (await cluster.log(vchannel)).filter(({ type }) => type === MessageType.INSERT);
  if (!message) expect.fail("no insert");
  expect(fromBinary(InsertHeaderSchema, message.header)).toMatchObject({
    partitionId: partition?.id,
    rows: 3,
    schemaVersion: 1,
  });
});

test("large inserts are cut into messages of one append, which is all or nothing", async () => {
  const cluster = await startCluster({ limits: { messageBytes: 100_000 } });
  const [vchannel = ""] = await create(cluster, plain);
  const rows = Array.from({ length: 20 }, (_, id) => ({ id, text: "x".repeat(40_000) }));
  await cluster.client.insert({ collection: "c", rows });
  const appends = cluster.nodes.flatMap((node) => node.appends);
  expect(appends).toHaveLength(1);
  expect(appends[0]?.messages.map(({ payload }) => payload.length)).toEqual(
    Array.from({ length: 10 }, () => expect.closeTo(80_000, -3)),
  );
  expect((await rowsIn(cluster, vchannel)).map(({ id }) => id)).toEqual(rows.map(({ id }) => id));
});

test("what cannot be written is refused with the path of the field, and nothing is written", async () => {
  const cluster = await startCluster({ limits: { maxRowBytes: 1000, maxInsertBytes: 5000 } });
  await create(cluster, plain);
  const insert = (request: Parameters<typeof cluster.client.insert>[0]) =>
    expect(cluster.client.insert({ collection: "c", ...request })).rejects;
  const big = "x".repeat(1100);

  await insert({}).toMatchObject({ code: "INVALID_ARGUMENT", field: "rows" });
  await insert({ rows: [{ id: 1 }, { id: "x" }] }).toMatchObject({ field: "rows[1].id" });
  await insert({ rows: [{ id: 1 }, { id: 2, text: big }] }).toMatchObject({
    code: "INVALID_ARGUMENT",
    field: "rows[1]",
    message: expect.stringContaining("bytes"),
  });
  await insert({
    rows: Array.from({ length: 9 }, (_, id) => ({ id, text: "x".repeat(700) })),
  }).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining("at most 5000") });
  await insert({ rows: [{ id: 1 }], columns: { rows: 0 } }).toMatchObject({ field: "columns" });
  await insert({ rows: [{ id: 1 }], partition: "none" }).toMatchObject({
    code: "PARTITION_NOT_FOUND",
  });
  await insert({ rows: [{ id: 1 }], collection: "none" }).toMatchObject({
    code: "COLLECTION_NOT_FOUND",
  });
  await insert({ rows: [{ id: 1 }], collection: "../x" }).toMatchObject({ field: "collection" });
  await insert({ rows: [{ id: 1 }], idempotencyKey: "k".repeat(257) }).toMatchObject({
    field: "idempotency_key",
  });
  expect(cluster.nodes.flatMap((node) => node.appends)).toEqual([]);
});

test("autoId keys are given, answered in row order, and lie in the schema's order", async () => {
  const cluster = await startCluster();
  const vchannels = await create(cluster, auto, 4);
  const rows = Array.from({ length: 50 }, (_, i) => ({ text: `t${i}` }));
  const { ids } = await cluster.client.insert({ collection: "c", rows });
  expect(new Set(ids).size).toBe(50);
  const written = await allRows(cluster, vchannels);
  const textOf = new Map(written.map((row) => [String(row.id), row.text]));
  expect(ids.map((id) => textOf.get(String(id)))).toEqual(rows.map(({ text }) => text));
  expect(Object.keys(written[0] ?? {})).toEqual(["text", "id"]);
});

test("calls of one row spread over the shards where keys are given by Millrace", async () => {
  const cluster = await startCluster();
  const vchannels = await create(cluster, auto, 4);
  for (let i = 0; i < 40; i++) {
    await cluster.client.insert({ collection: "c", rows: [{ text: "t" }] });
  }
  const counts = await Promise.all(
    vchannels.map(async (each) => (await rowsIn(cluster, each)).length),
  );
  expect(Math.min(...counts)).toBeGreaterThan(2);
});

test.each([plain, auto])("a repeated call with its key writes nothing again", async (schema) => {
  const cluster = await startCluster();
  const vchannels = await create(cluster, schema, 4);
  const rows = schema === plain ? numbers(40) : numbers(40).map(({ text }) => ({ text }));
  const request = { collection: "c", rows, idempotencyKey: "once" };
  const first = await cluster.client.insert(request);
  expect(first.duplicate).toBe(false);
  expect(first.ids).toHaveLength(schema === auto ? 40 : 0);
  const again = await cluster.client.insert(request);
  expect(again).toMatchObject({ rows: 40, tick: first.tick, duplicate: true, ids: [] });
  expect(await allRows(cluster, vchannels)).toHaveLength(40);
});

test("a repeated call writes what is missing, also where keys are given by Millrace", async () => {
  const cluster = await startCluster();
  const vchannels = await create(cluster, auto, 4);
  const rows = Array.from({ length: 40 }, (_, i) => ({ text: `t${i}` }));
  const request = { collection: "c", rows, idempotencyKey: "once" };
  cluster.nodes[1].before = () => {
    throw new TypeError("broken");
  };
  await expect(cluster.client.insert(request)).rejects.toMatchObject({
    code: "INNER",
    maybeApplied: true,
  });
  cluster.nodes[1].before = () => undefined;
  const again = await cluster.client.insert(request);
  expect(again).toMatchObject({ rows: 40, duplicate: false, ids: [] });
  const texts = (await allRows(cluster, vchannels)).map(({ text }) => text);
  expect(texts.sort()).toEqual(rows.map(({ text }) => text).sort());
});

test("the same key for an insert and a delete are two writes", async () => {
  const cluster = await startCluster();
  const [vchannel = ""] = await create(cluster, plain);
  await cluster.client.insert({ collection: "c", rows: numbers(1), idempotencyKey: "k" });
  const keys = [{ kind: { case: "numberValue" as const, value: 0 } }];
  const deleted = await cluster.client.delete({ collection: "c", keys, idempotencyKey: "k" });
  expect(deleted).toMatchObject({ keys: 1, duplicate: false });
  expect((await cluster.log(vchannel)).map(({ type }) => type)).toEqual([
    MessageType.CREATE_COLLECTION,
    MessageType.INSERT,
    MessageType.DELETE,
  ]);
});

test("more rows than may be on their way at once are refused with a delay", async () => {
  const cluster = await startCluster({ limits: { maxInFlightBytes: 1000 } });
  await create(cluster, plain);
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  for (const node of cluster.nodes) node.before = () => gate;
  const first = cluster.client.insert({ collection: "c", rows: numbers(50) });
  await cluster.clock.advance(0);
  await expect(cluster.client.insert({ collection: "c", rows: numbers(50) })).rejects.toMatchObject(
    { code: "RESOURCE_EXHAUSTED", retryable: true, retryAfterMs: 100 },
  );
  release();
  await first;
  expect((await cluster.client.insert({ collection: "c", rows: numbers(1) })).rows).toBe(1);
});
