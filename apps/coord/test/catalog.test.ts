import { fromBinary } from "@bufbuild/protobuf";
import { MillraceError, pchannelOf } from "@millrace/types";
import {
  CreateCollectionHeaderSchema,
  DropCollectionHeaderSchema,
  MessageType,
  PartitionHeaderSchema,
} from "@millrace/types/gen";
import { expect, test } from "vitest";
import { createCluster, schemaOf, underWay } from "./cluster.ts";

const { CREATE_COLLECTION, DROP_COLLECTION, CREATE_PARTITION, DROP_PARTITION } = MessageType;

async function setUp() {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  cluster.startNode("a");
  cluster.startNode("b");
  await cluster.assigned();
  const createCollection = (name: string, shards = 2, schema = schemaOf()) =>
    cluster.settle(coord.catalog.catalogCreateCollection({ name, schema, shards }));
  const types = (vchannel: string) => cluster.logs.get(vchannel)?.map((m) => m.type);
  return { cluster, coord, createCollection, types };
}

test("a collection is created with its shards, and each vchannel begins with it", async () => {
  const { cluster, coord, createCollection, types } = await setUp();
  const { collection } = await createCollection("flights");
  expect(collection?.vchannels).toEqual([
    `millrace-dml_0_${collection?.id}v0`,
    `millrace-dml_1_${collection?.id}v1`,
  ]);
  expect(collection?.tablePath).toBe(`tables/flights-${collection?.id}`);
  expect(collection?.partitions.map((p) => p.name)).toEqual(["_default"]);
  expect(collection?.schema?.fields.map((f) => f.id)).toEqual([100n, 101n]);
  expect(collection?.schema?.version).toBe(1);
  expect(collection?.createdTick).toBeGreaterThan(0n);
  for (const vchannel of collection?.vchannels ?? []) {
    expect(types(vchannel)).toEqual([CREATE_COLLECTION]);
    const header = cluster.logs.get(vchannel)?.[0]?.header ?? new Uint8Array();
    expect(fromBinary(CreateCollectionHeaderSchema, header).collection).toEqual(collection);
  }
  expect((await coord.catalog.catalogDescribeCollection({ name: "flights" })).collection).toEqual(
    collection,
  );
  // The next one goes where there is least.
  const next = await createCollection("trains");
  expect(next.collection?.vchannels).toEqual([
    `millrace-dml_2_${next.collection?.id}v0`,
    `millrace-dml_3_${next.collection?.id}v1`,
  ]);
  const { collections } = await coord.catalog.catalogListCollections({});
  expect(collections.map((c) => c.name)).toEqual(["flights", "trains"]);
  await coord.close();
});

test("the same schema again is a success, another schema is COLLECTION_EXISTS", async () => {
  const { coord, createCollection } = await setUp();
  const first = await createCollection("flights");
  expect(await createCollection("flights")).toEqual(first);
  await expect(createCollection("flights", 2, schemaOf("delay"))).rejects.toMatchObject({
    code: "COLLECTION_EXISTS",
  });
  await coord.close();
});

test("concurrent creates of one name give one collection", async () => {
  const { cluster, coord, createCollection } = await setUp();
  const calls = Array.from({ length: 8 }, () =>
    coord.catalog.catalogCreateCollection({ name: "flights", schema: schemaOf(), shards: 1 }),
  );
  const answers = await cluster.settle(Promise.all(calls));
  expect(new Set(answers.map((a) => a.collection?.id)).size).toBe(1);
  expect(cluster.logs.size).toBe(1);
  await createCollection("other");
  await coord.close();
});

test("collections that are created at once are spread like those created one by one", async () => {
  const { cluster, coord } = await setUp();
  const calls = ["a", "b", "c", "d"].map((name) =>
    coord.catalog.catalogCreateCollection({ name, schema: schemaOf(), shards: 1 }),
  );
  const answers = await cluster.settle(Promise.all(calls));
  const pchannels = answers.map(({ collection }) => pchannelOf(collection?.vchannels[0] ?? ""));
  expect(new Set(pchannels).size).toBe(4);
  await coord.close();
});

test("a dropped collection is hidden at once, and its name is free", async () => {
  const { cluster, coord, createCollection, types } = await setUp();
  const { collection } = await createCollection("flights");
  const drop = coord.catalog.catalogDropCollection({ name: "flights" });
  await cluster.settle(drop);
  await expect(coord.catalog.catalogDescribeCollection({ name: "flights" })).rejects.toMatchObject({
    code: "COLLECTION_NOT_FOUND",
  });
  for (const vchannel of collection?.vchannels ?? []) {
    expect(types(vchannel)).toEqual([CREATE_COLLECTION, DROP_COLLECTION]);
    const header = cluster.logs.get(vchannel)?.[1]?.header ?? new Uint8Array();
    expect(fromBinary(DropCollectionHeaderSchema, header).collectionId).toBe(collection?.id);
  }
  await expect(
    cluster.settle(coord.catalog.catalogDropCollection({ name: "flights" })),
  ).rejects.toMatchObject({ code: "COLLECTION_NOT_FOUND" });
  const again = await createCollection("flights", 1, schemaOf("delay"));
  expect(again.collection?.id).not.toBe(collection?.id);
  await coord.close();
});

test("partitions come and go", async () => {
  const { cluster, coord, createCollection, types } = await setUp();
  const { collection } = await createCollection("flights", 1);
  const vchannel = collection?.vchannels[0] ?? "";
  const request = { collection: "flights", partition: "y2024" };
  const { partition } = await cluster.settle(coord.catalog.catalogCreatePartition(request));
  const names = async () => {
    const answer = await coord.catalog.catalogDescribeCollection({ name: "flights" });
    return answer.collection?.partitions.map((p) => p.name);
  };
  expect(await names()).toEqual(["_default", "y2024"]);
  await expect(cluster.settle(coord.catalog.catalogCreatePartition(request))).rejects.toMatchObject(
    { code: "PARTITION_EXISTS" },
  );
  await cluster.settle(coord.catalog.catalogDropPartition(request));
  expect(await names()).toEqual(["_default"]);
  expect(types(vchannel)).toEqual([CREATE_COLLECTION, CREATE_PARTITION, DROP_PARTITION]);
  const header = cluster.logs.get(vchannel)?.[2]?.header ?? new Uint8Array();
  expect(fromBinary(PartitionHeaderSchema, header).partition).toEqual(partition);
  await expect(cluster.settle(coord.catalog.catalogDropPartition(request))).rejects.toMatchObject({
    code: "PARTITION_NOT_FOUND",
  });
  const fallback = { collection: "flights", partition: "_default" };
  await expect(coord.catalog.catalogDropPartition(fallback)).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    field: "partition",
  });
  await coord.close();
});

test("each change of the catalog raises its revision in Discover, over restarts too", async () => {
  const { cluster, coord, createCollection } = await setUp();
  const revision = async (of: typeof coord) => {
    const stream = of.assignment.discover({})[Symbol.asyncIterator]();
    const { value } = await cluster.settle(stream.next());
    return value.catalogRevision as bigint;
  };
  const revisions = [await revision(coord)];
  await createCollection("flights");
  revisions.push(await revision(coord));
  await cluster.settle(coord.catalog.catalogDropCollection({ name: "flights" }));
  revisions.push(await revision(coord));
  await coord.crash();
  const next = await cluster.startCoord();
  revisions.push(await revision(next));
  expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => (a < b ? -1 : 1)));
  await next.close();
});

test("a change goes on after its caller's deadline, and the same call again finds it done", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const request = { name: "flights", schema: schemaOf(), shards: 2 };
  await expect(
    cluster.settle(coord.catalog.catalogCreateCollection(request)),
  ).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED", retryable: true, maybeApplied: true });
  expect((await coord.catalog.catalogListCollections({})).collections).toEqual([]);
  cluster.startNode("a");
  const { collection } = await cluster.settle(coord.catalog.catalogCreateCollection(request));
  expect(cluster.logs.size).toBe(2);
  expect(collection?.vchannels.length).toBe(2);
  await coord.close();
});

test("appends go on over lost answers, fenced owners and a node that dies", async () => {
  const { cluster, coord, createCollection, types } = await setUp();
  const a = cluster.nodes.get("a");
  const b = cluster.nodes.get("b");
  if (!a || !b) throw new Error("no nodes");
  let lost = 2;
  b.afterAppend = () => {
    if (lost-- > 0) throw new MillraceError("UNAVAILABLE", "the answer was lost");
  };
  a.beforeAppend = () => {
    a.dead = true;
    throw new MillraceError("CHANNEL_FENCED", "fenced");
  };
  const { collection } = await createCollection("flights", 4);
  for (const vchannel of collection?.vchannels ?? []) {
    expect(types(vchannel)).toEqual([CREATE_COLLECTION]);
  }
  expect(b.held.size).toBe(4);
  await coord.close();
});

test("a crash at any step: the next coordinator ends what was begun, each message once", async () => {
  let crashes = 0;
  for (let writes = 0; ; writes++) {
    const { cluster, coord, createCollection, types } = await setUp();
    const { collection: old } = await createCollection("old");
    const { collection: kept } = await createCollection("kept");
    const partition = { collection: "kept", partition: "more" };
    const before = coord.meta.writes;
    coord.meta.severAfter(writes);
    const calls = Promise.allSettled([
      coord.catalog.catalogCreateCollection({ name: "new", schema: schemaOf(), shards: 2 }),
      coord.catalog.catalogDropCollection({ name: "old" }),
      coord.catalog.catalogCreatePartition(partition),
    ]);
    await cluster.advance(200);
    const survived = coord.meta.writes - before < writes;
    await coord.crash();
    await cluster.settle(calls);

    const next = await cluster.startCoord();
    await cluster.advance(2000);
    // Whatever was begun is over; whatever was not can be asked for again.
    expect(await underWay(next)).toEqual([]);
    const request = { name: "new", schema: schemaOf(), shards: 2 };
    await cluster.settle(next.catalog.catalogCreateCollection(request));
    const drop = cluster.settle(next.catalog.catalogDropCollection({ name: "old" }));
    await drop.catch((error: unknown) => {
      if (!MillraceError.is(error, "COLLECTION_NOT_FOUND")) throw error;
    });
    const more = cluster.settle(next.catalog.catalogCreatePartition(partition));
    await more.catch((error: unknown) => {
      if (!MillraceError.is(error, "PARTITION_EXISTS")) throw error;
    });
    const { collections } = await next.catalog.catalogListCollections({});
    expect(collections.map((c) => c.name)).toEqual(["kept", "new"]);
    expect(collections[0]?.partitions.map((p) => p.name)).toEqual(["_default", "more"]);
    for (const vchannel of kept?.vchannels ?? []) {
      expect(types(vchannel)).toEqual([CREATE_COLLECTION, CREATE_PARTITION]);
    }
    for (const vchannel of old?.vchannels ?? []) {
      expect(types(vchannel)).toEqual([CREATE_COLLECTION, DROP_COLLECTION]);
    }
    const created = collections[1]?.vchannels ?? [];
    for (const vchannel of created) expect(types(vchannel)).toEqual([CREATE_COLLECTION]);
    expect(cluster.logs.size).toBe(6);
    await next.close();
    if (survived) break;
    crashes += 1;
  }
  expect(crashes).toBeGreaterThanOrEqual(9);
});

test("bad requests are refused by field, and nothing is written", async () => {
  const { cluster, coord } = await setUp();
  const before = coord.meta.writes;
  const good = { name: "flights", schema: schemaOf(), shards: 1 };
  const bad: [object, string][] = [
    [{ ...good, name: "" }, "name"],
    [{ ...good, name: "a/b" }, "name"],
    [{ ...good, name: "x".repeat(10_000) }, "name"],
    [{ ...good, schema: undefined }, "schema"],
    [{ ...good, schema: { fields: [] } }, "schema.fields"],
    [{ ...good, shards: 0 }, "shards"],
    [{ ...good, shards: 5 }, "shards"],
  ];
  for (const [request, field] of bad) {
    await expect(coord.catalog.catalogCreateCollection(request)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field,
    });
  }
  await expect(coord.catalog.catalogDescribeCollection({ name: ".." })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  });
  await expect(
    coord.catalog.catalogCreatePartition({ collection: "nope", partition: "p" }),
  ).rejects.toMatchObject({ code: "COLLECTION_NOT_FOUND" });
  await expect(
    coord.catalog.catalogCreatePartition({ collection: "nope", partition: "p q" }),
  ).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "partition" });
  expect(coord.meta.writes).toBe(before);
  expect(cluster.logs.size).toBe(0);
  await coord.close();
});

test("damaged metadata of a collection is reported with its key", async () => {
  const { cluster, coord, createCollection } = await setUp();
  const { collection } = await createCollection("flights");
  await coord.close();
  await cluster.meta.put(`coord/collections/${collection?.id}`, Uint8Array.of(255, 255, 255));
  await expect(cluster.startCoord()).rejects.toThrow(`coord/collections/${collection?.id}`);
});
