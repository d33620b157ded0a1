import { readFile } from "node:fs/promises";
import { columnsToRows, MillraceError } from "@millrace/types";
import { expect, test } from "vitest";
import { parseSchema } from "../src/schema-file.ts";
import { addCollection, type FakeServer, startFakeServer } from "./fake-server.ts";
import { batchesOf, millrace, tempFile } from "./support.ts";

const schema = parseSchema(
  JSON.stringify({
    fields: [
      { name: "id", type: "int64", primaryKey: true },
      { name: "label", type: "varchar", maxLength: 8, nullable: true },
    ],
  }),
);

function ndjson(count: number): string {
  return Array.from(
    { length: count },
    (_, id) => `${JSON.stringify({ id, label: `l${id}` })}\n`,
  ).join("");
}

function rowsIn(fake: FakeServer): unknown[] {
  return [...fake.batches.values()].flatMap((batch) => batch.rows);
}

test("batches end by rows and by bytes, and the same file makes the same batches", async () => {
  const path = await tempFile("rows.ndjson", ndjson(1000));
  const sizes = async (options: object) =>
    (await batchesOf(path, schema, options)).map((batch) => [batch.firstRow, batch.rows]);
  expect(await sizes({ batchRows: 400 })).toEqual([
    [0, 400],
    [400, 400],
    [800, 200],
  ]);
  const byBytes = await sizes({ batchBytes: 2000 });
  expect(byBytes.length).toBeGreaterThan(5);
  expect(await sizes({ batchBytes: 2000 })).toEqual(byBytes);
});

test("batches do not depend on whether a schema was inferred first", async () => {
  const path = await tempFile("rows.ndjson", ndjson(1000));
  const fake = await startFakeServer();
  const args = ["insert", "rows", path, "--key", "id", "--batch-rows", "300"];
  const run = () =>
    millrace([...args, "--create", "--idempotency-prefix", "p", "--server", fake.url]);
  expect((await run()).stdout).toMatch(
    /^inserted 1,000 rows into rows in [\d.]+ s \([\d,]+ rows\/s\)\n$/,
  );
  expect([...fake.batches.keys()].toSorted()).toEqual([
    "p/0+300",
    "p/300+300",
    "p/600+300",
    "p/900+100",
  ]);
  expect((await run()).stdout).toMatch(/, 1,000 of them by an earlier run\n$/);
  expect(rowsIn(fake)).toHaveLength(1000);
});

test("without a prefix two runs insert twice", async () => {
  const path = await tempFile("rows.ndjson", ndjson(10));
  const fake = await startFakeServer();
  addCollection(fake, "rows", schema);
  await millrace(["insert", "rows", path, "--server", fake.url]);
  await millrace(["insert", "rows", path, "--server", fake.url]);
  expect(rowsIn(fake)).toHaveLength(20);
});

test("answers that are lost and servers that restart are waited for, without a duplicate", async () => {
  const path = await tempFile("rows.ndjson", ndjson(1000));
  const fake = await startFakeServer();
  addCollection(fake, "rows", schema);
  let inserts = 0;
  let restarted: Promise<void> | undefined;
  fake.onInsert = () => {
    inserts++;
    if (inserts === 2) throw new MillraceError("CHANNEL_FENCED", "the owner moved");
    if (inserts === 4) restarted = fake.close().then(() => fake.reopen());
  };
  const args = ["insert", "rows", path, "--batch-rows", "100", "--in-flight", "2", "--json"];
  const { code, stdout, stderr } = await millrace([...args, "--server", fake.url]);
  await restarted;
  expect(code, stderr).toBe(0);
  expect(stderr).toContain("waiting: the owner moved");
  expect(JSON.parse(stdout)).toMatchObject({ collection: "rows", rows: 1000, duplicates: 0 });
  const ids = rowsIn(fake).map((row) => (row as { id: number }).id);
  expect(ids.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, id) => id));
});

test("a server that stays away ends the insert after --retry-for", async () => {
  const path = await tempFile("rows.ndjson", ndjson(10));
  const fake = await startFakeServer();
  await fake.close();
  const args = ["insert", "rows", path, "--retry-for", "200ms", "--server", fake.url];
  const { code, stderr } = await millrace(args);
  expect(code).toBe(1);
  expect(stderr).toContain(`millrace: cannot reach ${fake.url}: connection refused\n`);
});

test("no more than --in-flight requests are under way", async () => {
  const path = await tempFile("rows.ndjson", ndjson(1000));
  const fake = await startFakeServer();
  addCollection(fake, "rows", schema);
  let now = 0;
  let most = 0;
  fake.onInsert = async () => {
    now++;
    most = Math.max(most, now);
    await new Promise((resolve) => setImmediate(resolve));
    now--;
  };
  const args = ["insert", "rows", path, "--batch-rows", "10", "--in-flight", "3"];
  expect((await millrace([...args, "--server", fake.url])).code).toBe(0);
  expect(most).toBeGreaterThan(1);
  expect(most).toBeLessThanOrEqual(3);
});

test("a row that does not fit is named by its line, and what went before is counted", async () => {
  const path = await tempFile("rows.ndjson", `${ndjson(10)}\n{"id":10,"label":"much too long"}\n`);
  const fake = await startFakeServer();
  addCollection(fake, "rows", schema);
  const args = ["insert", "rows", path, "--batch-rows", "5", "--server", fake.url];
  const { code, stderr } = await millrace(args);
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /^millrace: .*rows\.ndjson, line 12: label is 13 bytes long.*; 10 rows were inserted before\n$/,
  );
});

test("a row that the server refuses is named by its line", async () => {
  const path = await tempFile("rows.ndjson", ndjson(10));
  const fake = await startFakeServer();
  addCollection(fake, "rows", schema);
  fake.onInsert = () => {
    const field = "columns.label[3]";
    throw new MillraceError("INVALID_ARGUMENT", `${field} is not allowed`, { field });
  };
  const { code, stderr } = await millrace(["insert", "rows", path, "--server", fake.url]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/rows\.ndjson, line 4: label is not allowed\n$/);
});

test("CSV is fitted to the schema, and a cell that does not fit is named by its line", async () => {
  const fake = await startFakeServer();
  addCollection(fake, "rows", schema);
  const good = await tempFile("good.csv", 'id,label\n9223372036854775807,00501\n2,\n3,""\n');
  const args = (path: string) => ["insert", "rows", path, "--server", fake.url];
  expect((await millrace(args(good))).code).toBe(0);
  expect(rowsIn(fake)).toEqual([
    { id: "9223372036854775807", label: "00501" },
    { id: 2, label: null },
    { id: 3, label: "" },
  ]);
  const bad = await tempFile("bad.csv", "id,label\n1,a\n1.5,b\n");
  const { code, stderr } = await millrace(args(bad));
  expect(code).toBe(1);
  expect(stderr).toMatch(/bad\.csv, line 3: id must be an integer, got "1\.5"\n$/);
});

test("large integers are exact in INT64 fields and rounded within JSON", async () => {
  const fake = await startFakeServer();
  addCollection(
    fake,
    "rows",
    parseSchema(
      JSON.stringify({
        fields: [
          { name: "id", type: "int64", primaryKey: true },
          { name: "doc", type: "json" },
          { name: "ids", type: "array", elementType: "int64" },
        ],
      }),
    ),
  );
  const large = "9223372036854775807";
  const stdin = `{"id":${large},"doc":{"a":[${large}]},"ids":[${large}]}`;
  const { code, stderr } = await millrace(["insert", "rows", "-", "--server", fake.url], { stdin });
  expect(code, stderr).toBe(0);
  expect(rowsIn(fake)).toEqual([{ id: large, doc: { a: [Number(large)] }, ids: [large] }]);
});

test("an unknown collection is refused, with the way out", async () => {
  const fake = await startFakeServer();
  const path = await tempFile("rows.ndjson", ndjson(1));
  const { code, stderr } = await millrace(["insert", "rows", path, "--server", fake.url]);
  expect(code).toBe(1);
  expect(stderr).toBe('millrace: there is no collection "rows"; --create creates it\n');
});

test("rows of JSON columns come back as they were", async () => {
  const path = await tempFile("rows.ndjson", ndjson(3));
  const batches = await batchesOf(path, schema);
  const rows = batches.flatMap((batch) => columnsToRows(batch.columns));
  const text = await readFile(path, "utf8");
  expect(rows).toEqual(
    text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
  );
});
