import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/types";
import {
  AlterCollectionHeaderSchema,
  BroadcastHeaderSchema,
  DataType,
  FieldSchemaSchema,
  ManualFlushHeaderSchema,
  MessageType,
} from "@millrace/types/gen";
import { expect, test } from "vitest";
import { createCluster, schemaOf, underWay } from "./cluster.ts";

const { CREATE_COLLECTION, ALTER_COLLECTION, DROP_COLLECTION, MANUAL_FLUSH } = MessageType;

async function setUp() {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const node = cluster.startNode("a");
  await cluster.assigned();
  const createCollection = async (name: string, shards = 2) => {
    const request = { name, schema: schemaOf(), shards };
    const { collection } = await cluster.settle(coord.catalog.catalogCreateCollection(request));
    if (!collection) throw new Error("no collection");
    return collection;
  };
  const types = (vchannel = "") => cluster.logs.get(vchannel)?.map((m) => m.type);
  return { cluster, coord, node, createCollection, types };
}

const field = (name: string, more: object = {}) =>
  create(FieldSchemaSchema, { name, type: DataType.VARCHAR, nullable: true, ...more });

test("fields are added: the next schema version, in every vchannel and the catalog, once", async () => {
  const { cluster, coord, createCollection, types } = await setUp();
  const before = await createCollection("flights");
  const alter = (addFields: ReturnType<typeof field>[]) =>
    cluster.settle(coord.catalog.catalogAlterCollection({ name: "flights", addFields }));
  const { collection } = await alter([field("gate"), field("note", { maxLength: 9 })]);
  expect(collection?.schema?.version).toBe(2);
  expect(collection?.schema?.fields.map((f) => [f.name, f.id])).toEqual([
    ["id", 100n],
    ["price", 101n],
    ["gate", 102n],
    ["note", 103n],
  ]);
  const described = await coord.catalog.catalogDescribeCollection({ name: "flights" });
  expect(described.collection).toEqual(collection);
  expect((await alter([field("gate")])).collection).toEqual(collection);
  for (const vchannel of before.vchannels) {
    expect(types(vchannel)).toEqual([CREATE_COLLECTION, ALTER_COLLECTION]);
    const header = cluster.logs.get(vchannel)?.[1]?.header ?? new Uint8Array();
    expect(fromBinary(AlterCollectionHeaderSchema, header).collection).toEqual(collection);
  }
  for (const [wrong, path] of [
    [[], "addFields"],
    [[field("gate", { type: DataType.INT64 })], "addFields[0].name"],
    [[field("x"), field("Gate")], "addFields[1].name"],
    [[field("x"), field("x")], "addFields[1].name"],
    [[field("x", { nullable: false })], "addFields[0].nullable"],
    [[field("a"), field("b c")], "addFields[1].name"],
    [[field("x", { primaryKey: true })], "addFields[0].nullable"],
  ] as const) {
    await expect(alter([...wrong])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field: path,
    });
  }
  await coord.close();
});

test("a truncation waits until the tables have it, over a restart, and is one for its key", async () => {
  const { cluster, coord, node, createCollection, types } = await setUp();
  const { vchannels } = await createCollection("flights");
  const request = { name: "flights", idempotencyKey: "mine" };
  const lost = coord.catalog.catalogTruncateCollection(request).catch((error: unknown) => error);
  await cluster.advance(1000);
  const [task] = await underWay(coord);
  expect(task).toMatchObject({ type: MessageType.TRUNCATE_COLLECTION, state: "acking" });
  await coord.crash();
  expect(await lost).toMatchObject({ code: "UNAVAILABLE" });

  const next = await cluster.startCoord();
  let ended = false;
  const again = next.catalog.catalogTruncateCollection(request).then(() => {
    ended = true;
  });
  await cluster.advance(3000);
  expect(ended).toBe(false);
  node.flushed = 1000n;
  await cluster.settle(again);
  await cluster.settle(next.catalog.catalogTruncateCollection(request));
  const once = [CREATE_COLLECTION, MessageType.TRUNCATE_COLLECTION];
  expect(vchannels.map(types)).toEqual([once, once]);
  await cluster.settle(next.catalog.catalogTruncateCollection({ name: "flights" }));
  expect(types(vchannels[0])).toEqual([...once, MessageType.TRUNCATE_COLLECTION]);
  await expect(
    next.catalog.catalogTruncateCollection({ name: "flights", idempotencyKey: "x".repeat(257) }),
  ).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "idempotency_key" });
  await next.close();
});

test("the control channel shows all changes in one order, over coordinators", async () => {
  const { cluster, coord, createCollection } = await setUp();
  await createCollection("a");
  await createCollection("b", 1);
  await cluster.settle(coord.catalog.catalogDropCollection({ name: "a" }));
  await coord.crash();
  const next = await cluster.startCoord();
  await cluster.settle(
    next.catalog.catalogAlterCollection({ name: "b", addFields: [field("gate")] }),
  );
  const shown = cluster.control.map(({ type, vchannel, header }) => {
    expect([type, vchannel]).toEqual([MessageType.BROADCAST, "millrace-dml_0_vcchan"]);
    return fromBinary(BroadcastHeaderSchema, header);
  });
  expect(shown.map(({ type }) => type)).toEqual([
    CREATE_COLLECTION,
    CREATE_COLLECTION,
    DROP_COLLECTION,
    ALTER_COLLECTION,
  ]);
  const ids = shown.map(({ broadcastId }) => broadcastId);
  expect(ids).toEqual([...ids].sort((a, b) => (a < b ? -1 : 1)));
  await next.close();
});

test("a stuck change is shown with where and why, and one that reached nothing can be aborted", async () => {
  const { cluster, coord, node } = await setUp();
  node.beforeAppend = () => {
    throw new MillraceError("RESOURCE_EXHAUSTED", "the disk is full");
  };
  const call = coord.catalog.catalogCreateCollection({
    name: "flights",
    schema: schemaOf(),
    shards: 2,
  });
  const failed = expect(call).rejects.toMatchObject({ code: "CANCELLED" });
  await cluster.advance(5000);
  const [task] = await underWay(coord);
  expect(task).toMatchObject({ type: CREATE_COLLECTION, state: "appending" });
  expect(task?.sinceMs).toBeLessThan(BigInt(cluster.clock.now()) - 4000n);
  expect(task?.copies).toHaveLength(3);
  for (const copy of task?.copies ?? []) {
    expect(copy).toMatchObject({ state: "waiting", problem: "the disk is full" });
  }
  const broadcastId = task?.id ?? 0n;
  const abort = (force: string) =>
    cluster.settle(coord.admin.abortBroadcast({ broadcastId, force }));
  await expect(abort("please")).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "force" });
  await abort("");
  await failed;
  expect(await underWay(coord)).toEqual([]);
  await expect(coord.admin.abortBroadcast({ broadcastId: 12_345_678n })).rejects.toMatchObject({
    code: "NOT_FOUND",
  });
  node.beforeAppend = () => undefined;
  await cluster.settle(
    coord.catalog.catalogCreateCollection({ name: "flights", schema: schemaOf(), shards: 2 }),
  );
  await coord.close();
});

test("a change that half of the vchannels have is finished as soon as the rest is served again", async () => {
  const { cluster, coord, node, createCollection, types } = await setUp();
  const { vchannels } = await createCollection("flights");
  node.beforeAppend = (vchannel) => {
    if (vchannel === vchannels[1]) throw new MillraceError("UNAVAILABLE", "no route");
  };
  const drop = coord.catalog.catalogDropCollection({ name: "flights" });
  await cluster.advance(20_000);
  const [task] = await underWay(coord);
  const abort = coord.admin.abortBroadcast({ broadcastId: task?.id ?? 0n });
  await expect(cluster.settle(abort)).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
  // The node is replaced: nobody waits for the end of a backoff.
  node.dead = true;
  await cluster.advance(4000);
  cluster.startNode("b");
  await cluster.assigned();
  await cluster.advance(200);
  await drop;
  expect(vchannels.map(types)).toEqual([
    [CREATE_COLLECTION, DROP_COLLECTION],
    [CREATE_COLLECTION, DROP_COLLECTION],
  ]);
  expect(await underWay(coord)).toEqual([]);
  await coord.close();
});

test("a client broadcasts a flush to vchannels of several collections, once for its key", async () => {
  const { cluster, coord, createCollection, types } = await setUp();
  const a = await createCollection("a");
  const b = await createCollection("b", 1);
  const message = {
    type: MANUAL_FLUSH,
    header: toBinary(ManualFlushHeaderSchema, create(ManualFlushHeaderSchema, {})),
  };
  const vchannels = [...a.vchannels, ...b.vchannels];
  const request = { message, vchannels, idempotencyKey: "mine" };
  const first = await cluster.settle(coord.broadcast.broadcast(request));
  expect(first.copies.map(({ vchannel }) => vchannel).sort()).toEqual([...vchannels].sort());
  const again = await cluster.settle(coord.broadcast.broadcast(request));
  expect(again).toEqual({ ...first, duplicate: true });
  for (const vchannel of vchannels)
    expect(types(vchannel)).toEqual([CREATE_COLLECTION, MANUAL_FLUSH]);
  await coord.broadcast.ack({ broadcastId: first.broadcastId, vchannel: vchannels[0] ?? "" });

  const wrong: [object, object][] = [
    [{ message: { type: DROP_COLLECTION } }, { code: "INVALID_ARGUMENT", field: "message.type" }],
    [{ vchannels: [] }, { code: "INVALID_ARGUMENT", field: "vchannels" }],
    [{ vchannels: ["x_1v0"] }, { code: "VCHANNEL_NOT_EXIST", field: "vchannels[0]" }],
    [{ idempotencyKey: "x".repeat(257) }, { code: "INVALID_ARGUMENT", field: "idempotency_key" }],
    [
      { resourceKeys: [{ domain: "", key: "x" }] },
      { code: "INVALID_ARGUMENT", field: "keys[2].domain" },
    ],
  ];
  for (const [more, error] of wrong) {
    const call = coord.broadcast.broadcast({ ...request, idempotencyKey: "other", ...more });
    await expect(cluster.settle(call)).rejects.toMatchObject(error);
  }
  await expect(
    coord.broadcast.ack({ broadcastId: 12_345_678n, vchannel: "x_1v0" }),
  ).rejects.toMatchObject({ code: "NOT_FOUND" });
  await coord.close();
});

test("a coordinator whose broadcasts were taken over stops serving", async () => {
  const cluster = createCluster();
  let failed: unknown;
  const coord = await cluster.startCoord({
    onFailed: (error) => {
      failed = error;
    },
  });
  cluster.startNode("a");
  await cluster.assigned();
  const next = await cluster.startCoord();
  const call = coord.catalog.catalogCreateCollection({
    name: "flights",
    schema: schemaOf(),
    shards: 1,
  });
  await expect(cluster.settle(call)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await cluster.until("it has ended", () => failed !== undefined);
  expect(failed).toMatchObject({ code: "PRECONDITION_FAILED" });
  await expect(coord.catalog.catalogListCollections({})).rejects.toMatchObject({
    code: "UNAVAILABLE",
  });
  expect(cluster.logs.size).toBe(0);
  await next.close();
});

test("a control channel on a pchannel that is gone is refused", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  await coord.close();
  await expect(cluster.startCoord({ prefix: "other" })).rejects.toMatchObject({
    code: "PRECONDITION_FAILED",
  });
});
