import { expect, test } from "vitest";
import { CallError, call, callUntilDone } from "../harness/client.ts";
import { type Cluster, startProcesses } from "../harness/cluster.ts";
import { createTempFolder } from "../harness/temp.ts";

const id = { name: "id", type: "DATA_TYPE_INT64", primaryKey: true };
const gate = { name: "gate", type: "DATA_TYPE_VARCHAR", nullable: true };
const count = 25;
const names = (prefix: string): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}_${index}`);

const creation = (name: string): object => ({ name, shards: 2, schema: { fields: [id] } });

/** Makes a change until it is done; that it is done already tells the same, after a kill. */
async function change(cluster: Cluster, method: string, body: object, done: string): Promise<void> {
  try {
    await callUntilDone(cluster.url, method, body);
  } catch (error) {
    if (!(error instanceof CallError) || error.code !== done) throw error;
  }
}

/** The changes that are under way, as the proxy tells. */
async function underWay(cluster: Cluster): Promise<unknown[]> {
  const response = await fetch(`${cluster.url}/millrace.v1.AdminService/GetClusterStatus`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  const { broadcasts = [] } = (await response.json()) as { broadcasts?: unknown[] };
  return broadcasts;
}

test("the leading coordinator is killed among 100 changes: each is done once, on every shard", {
  timeout: 240_000,
}, async () => {
  await using temp = await createTempFolder();
  const cluster = await startProcesses({ folder: temp.path, coordinators: 2 });
  try {
    const old = [...names("dropped"), ...names("altered"), ...names("parted")];
    await Promise.all(old.map((name) => call(cluster.url, "CreateCollection", creation(name))));

    let answered = 0;
    const changes = [
      ...names("created").map((name) => ["CreateCollection", creation(name), ""] as const),
      ...names("dropped").map((name) => ["DropCollection", { name }, "not_found"] as const),
      ...names("altered").map(
        (name) => ["AlterCollection", { name, addFields: [gate] }, ""] as const,
      ),
      ...names("parted").map(
        (collection) =>
          ["CreatePartition", { collection, partition: "p" }, "already_exists"] as const,
      ),
    ].map(async ([method, body, done]) => {
      await change(cluster, method, body, done);
      answered++;
    });
    const all = Promise.all(changes);
    while (answered === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await cluster.services[0]?.kill();
    const before = answered;
    await all;
    expect(before).toBeLessThan(4 * count);
    expect(await underWay(cluster)).toEqual([]);

    const { collections } = await call(cluster.url, "ListCollections", {});
    const listed = (collections as { name: string }[]).map(({ name }) => name).sort();
    const expected = [...names("altered"), ...names("created"), ...names("parted")].sort();
    expect(listed).toEqual(expected);
    // Every shard takes rows as its collection is now: enough rows that both get some.
    const rowsOf = (row: object): object[] =>
      Array.from({ length: 20 }, (_, i) => ({ id: i, ...row }));
    const inserts = [
      ...names("created").map((collection) => ({ collection, rows: rowsOf({}) })),
      ...names("altered").map((collection) => ({ collection, rows: rowsOf({ gate: "B1" }) })),
      ...names("parted").map((collection) => ({ collection, partition: "p", rows: rowsOf({}) })),
    ];
    for (const insert of inserts) {
      expect(await call(cluster.url, "Insert", insert)).toMatchObject({ rows: 20 });
    }
    await cluster.restart(0);
  } finally {
    const codes = await cluster.stop();
    expect(codes).toEqual(codes.map(() => 0));
  }
});
