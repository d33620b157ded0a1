import { create } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/types";
import { DataType, FieldSchemaSchema, MessageType } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { createCluster, schemaOf, underWay } from "./cluster.ts";

const gate = create(FieldSchemaSchema, { name: "gate", type: DataType.VARCHAR, nullable: true });

/** Each of 100 changes at once, and a crash after so many writes; then what has become of them. */
async function crashAmong(writes: number) {
  const cluster = createCluster(writes);
  const coord = await cluster.startCoord();
  for (const id of ["a", "b", "c"]) cluster.startNode(id);
  await cluster.assigned();
  const request = (name: string) => ({ name, schema: schemaOf(), shards: 2 });
  const old = Array.from({ length: 75 }, (_, i) => `old_${i}`);
  const creations = old.map((name) => coord.catalog.catalogCreateCollection(request(name)));
  await cluster.settle(Promise.all(creations));
  const { collections: before } = await coord.catalog.catalogListCollections({});
  coord.meta.severAfter(writes);
  const { catalog } = coord;
  const calls = Array.from({ length: 25 }, (_, i) => [
    catalog.catalogCreateCollection(request(`new_${i}`)),
    catalog.catalogDropCollection({ name: `old_${i}` }),
    catalog.catalogAlterCollection({ name: `old_${25 + i}`, addFields: [gate] }),
    catalog.catalogCreatePartition({ collection: `old_${50 + i}`, partition: "p" }),
  ]).flat();
  const answers = Promise.allSettled(calls);
  await cluster.advance(300);
  await coord.crash();
  const next = await cluster.startCoord();
  await cluster.advance(5000);
  const outcomes = await cluster.settle(answers);
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") expect(MillraceError.is(outcome.reason)).toBe(true);
  }
  const { collections } = await next.catalog.catalogListCollections({});
  const stuck = await underWay(next);
  await next.close();
  const acknowledged = outcomes.filter(({ status }) => status === "fulfilled").length;
  return { cluster, before, collections, outcomes, stuck, acknowledged };
}

test("100 changes at once and a crash among them: each is done once or not at all, none is stuck", async () => {
  const acknowledged: number[] = [];
  for (const writes of [0, 150, 350, 400, 1000]) {
    const result = await crashAmong(writes);
    const { cluster, before, collections, outcomes, stuck } = result;
    acknowledged.push(result.acknowledged);
    expect(stuck).toEqual([]);
    const typesOf = (vchannels: readonly string[]) => {
      const [first, ...others] = vchannels.map((v) => cluster.logs.get(v)?.map((m) => m.type));
      // All vchannels of a collection have the same.
      for (const other of others) expect(other).toEqual(first);
      return (first ?? []).filter((type) => type !== MessageType.CREATE_COLLECTION);
    };
    const now = new Map(collections.map((collection) => [collection.name, collection]));
    const isAnswered = (index: number) => outcomes[index]?.status === "fulfilled";
    for (let i = 0; i < 25; i++) {
      if (isAnswered(4 * i)) expect(now.has(`new_${i}`)).toBe(true);
      if (isAnswered(4 * i + 1)) expect(now.has(`old_${i}`)).toBe(false);
      if (isAnswered(4 * i + 2)) expect(now.get(`old_${25 + i}`)?.schema?.version).toBe(2);
      if (isAnswered(4 * i + 3)) expect(now.get(`old_${50 + i}`)?.partitions.length).toBe(2);
    }
    for (const { name, vchannels } of before) {
      const after = now.get(name);
      const expected = !after
        ? [MessageType.DROP_COLLECTION]
        : after.schema?.version === 2
          ? [MessageType.ALTER_COLLECTION]
          : after.partitions.length === 2
            ? [MessageType.CREATE_PARTITION]
            : [];
      expect([name, typesOf(vchannels)]).toEqual([name, expected]);
    }
    // A vchannel that exists belongs to a collection that is there or was.
    const known = new Set([...before, ...collections].flatMap(({ vchannels }) => vchannels));
    expect([...cluster.logs.keys()].filter((vchannel) => !known.has(vchannel))).toEqual([]);
  }
  // The crashes came before, among and after them.
  expect(acknowledged[0]).toBe(0);
  expect(acknowledged.at(-1)).toBe(100);
  expect(acknowledged.some((count) => count > 0 && count < 100)).toBe(true);
});
