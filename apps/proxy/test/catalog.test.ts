import { DataType, MessageType } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { startCluster } from "./cluster.ts";

const schema = { fields: [{ name: "id", type: DataType.INT64, primaryKey: true }] };
const rows = [{ id: 1 }];

test("collections and partitions are checked and forwarded", async () => {
  const { client } = await startCluster();
  const { collection } = await client.createCollection({ name: "c", schema });
  expect(collection).toMatchObject({ name: "c", schema: { version: 1 } });
  expect(collection?.vchannels).toHaveLength(1);
  expect(collection?.schema?.fields[0]?.id).toBe(100n);
  await client.createPartition({ collection: "c", partition: "p" });
  const described = await client.describeCollection({ name: "c" });
  expect(described.collection?.partitions.map(({ name }) => name)).toEqual(["_default", "p"]);
  expect((await client.listCollections({})).collections.map(({ name }) => name)).toEqual(["c"]);
  await client.dropCollection({ name: "c" });
  await expect(client.describeCollection({ name: "c" })).rejects.toMatchObject({
    code: "COLLECTION_NOT_FOUND",
  });
});

test("what cannot be a collection is refused before the coordinator hears of it", async () => {
  const { client } = await startCluster();
  const fields = [{ name: "id", type: DataType.INT64 }];
  const invalid = { code: "INVALID_ARGUMENT" };
  await expect(client.createCollection({ name: "a/b", schema })).rejects.toMatchObject({
    ...invalid,
    field: "name",
  });
  await expect(client.createCollection({ name: "c" })).rejects.toMatchObject({
    ...invalid,
    field: "schema",
  });
  await expect(client.createCollection({ name: "c", schema: { fields } })).rejects.toMatchObject(
    invalid,
  );
  await expect(client.createPartition({ collection: "c", partition: "" })).rejects.toMatchObject({
    ...invalid,
    field: "partition",
  });
});

test("what is not served yet says so", async () => {
  const { client } = await startCluster();
  await expect(client.upsert({})).rejects.toMatchObject({ code: "UNIMPLEMENTED" });
});

test("rows may carry an added field at once; inserts while it is added wait for the catalog", async () => {
  const cluster = await startCluster();
  const { client } = cluster;
  await client.createCollection({ name: "c", schema, shards: 2 });
  await client.insert({ collection: "c", rows });
  let open = (): void => undefined;
  cluster.beforeAltered = () =>
    new Promise((resolve) => {
      open = resolve;
    });
  const field = { name: "gate", type: DataType.VARCHAR, nullable: true };
  const altered = client.alterCollection({ name: "c", addFields: [field] });
  await cluster.until(() => cluster.nodes.length > 0);
  let inserted = false;
  const insert = client.insert({ collection: "c", rows }).then((answer) => {
    inserted = true;
    return answer;
  });
  await cluster.clock.advance(3000);
  expect(inserted).toBe(false);
  open();
  expect((await altered).collection?.schema?.version).toBe(2);
  await cluster.until(() => inserted);
  expect((await insert).rows).toBe(rows.length);
  const more = rows.map((row) => ({ ...row, gate: "B12" }));
  expect((await client.insert({ collection: "c", rows: more })).rows).toBe(rows.length);
  await expect(client.alterCollection({ name: "" })).rejects.toMatchObject({ field: "name" });
});

test("a collection is asked for once, and anew when the catalog changes", async () => {
  const cluster = await startCluster();
  await cluster.client.createCollection({ name: "c", schema });
  for (let i = 0; i < 5; i++) await cluster.client.insert({ collection: "c", rows });
  expect(cluster.describes()).toBe(1);
  await cluster.client.createCollection({ name: "d", schema });
  await cluster.clock.advance(1);
  await cluster.client.insert({ collection: "c", rows });
  expect(cluster.describes()).toBe(2);
});

test("a collection that was dropped meanwhile is COLLECTION_NOT_FOUND", async () => {
  const cluster = await startCluster();
  await cluster.client.createCollection({ name: "c", schema });
  await cluster.client.insert({ collection: "c", rows });
  await cluster.dropCollection("c");
  await expect(cluster.client.insert({ collection: "c", rows })).rejects.toMatchObject({
    code: "COLLECTION_NOT_FOUND",
  });
});

test("a collection that was dropped and created again meanwhile is found", async () => {
  const cluster = await startCluster();
  await cluster.client.createCollection({ name: "c", schema });
  await cluster.client.insert({ collection: "c", rows });
  await cluster.dropCollection("c");
  const { collection } = await cluster.client.createCollection({ name: "c", schema });
  expect((await cluster.client.insert({ collection: "c", rows })).rows).toBe(1);
  const log = await cluster.log(collection?.vchannels[0] ?? "");
  expect(log.map(({ type }) => type)).toEqual([MessageType.CREATE_COLLECTION, MessageType.INSERT]);
});

test("flush puts a message behind all that was acknowledged; its state follows the owners", async () => {
  const cluster = await startCluster();
  const { collection } = await cluster.client.createCollection({ name: "c", schema, shards: 2 });
  const inserted = await cluster.client.insert({ collection: "c", rows: [{ id: 1 }, { id: 2 }] });
  const { positions } = await cluster.client.flush({ collection: "c" });
  expect(positions.map(({ vchannel }) => vchannel)).toEqual(collection?.vchannels);
  for (const { vchannel, tick } of positions) {
    expect(tick).toBeGreaterThan(inserted.tick);
    expect((await cluster.log(vchannel)).at(-1)).toMatchObject({
      type: MessageType.MANUAL_FLUSH,
      tick,
    });
  }

  const state = () => cluster.client.getFlushState({ collection: "c", positions });
  for (const node of cluster.nodes) {
    for (const { vchannel } of positions) node.flushed.set(vchannel, 1n);
  }
  cluster.nodes[1].problem = "the store is away";
  expect(await state()).toMatchObject({ flushed: false, problem: "the store is away" });
  cluster.nodes[1].problem = "";
  for (const node of cluster.nodes) {
    for (const { vchannel, tick } of positions) node.flushed.set(vchannel, tick);
  }
  expect(await state()).toMatchObject({ flushed: true, problem: "", checkpoints: positions });
  await expect(
    cluster.client.getFlushState({ collection: "c", positions: [{ vchannel: "x_1v0" }] }),
  ).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "positions[0].vchannel" });
});

test("delete takes numbers and strings, and refuses what is no key", async () => {
  const cluster = await startCluster();
  const { collection } = await cluster.client.createCollection({ name: "c", schema, shards: 4 });
  const number = (value: number) => ({ kind: { case: "numberValue" as const, value } });
  const string = (value: string) => ({ kind: { case: "stringValue" as const, value } });
  const keys = [number(1), number(2), string(String(2n ** 60n))];
  expect((await cluster.client.delete({ collection: "c", keys })).keys).toBe(3);
  const logs = await Promise.all((collection?.vchannels ?? []).map((each) => cluster.log(each)));
  expect(logs.flat().some(({ type }) => type === MessageType.DELETE)).toBe(true);

  const remove = (bad: (typeof keys)[number]) =>
    expect(cluster.client.delete({ collection: "c", keys: [number(1), bad] })).rejects;
  await remove(number(1.5)).toMatchObject({ code: "INVALID_ARGUMENT" });
  await remove({ kind: { case: "boolValue", value: true } } as never).toMatchObject({
    code: "INVALID_ARGUMENT",
    field: "keys[1]",
  });
  await expect(cluster.client.delete({ collection: "c" })).rejects.toMatchObject({ field: "keys" });
});
