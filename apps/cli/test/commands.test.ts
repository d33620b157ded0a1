import { expect, test } from "vitest";
import { Interrupted } from "../src/io.ts";
import { addCollection, startFakeServer } from "./fake-server.ts";
import { parseSchema } from "../src/schema-file.ts";
import { millrace, tempFile } from "./support.ts";

const schemaText = JSON.stringify({
  fields: [
    { name: "id", type: "int64", primaryKey: true },
    { name: "label", type: "VARCHAR", maxLength: 10, nullable: true },
    { name: "v", type: "DATA_TYPE_FLOAT_VECTOR", dimension: 2, nullable: true },
  ],
});

test("a collection is created from a schema file, listed, described and dropped", async () => {
  const { url, collections } = await startFakeServer();
  const server = ["--server", url];
  const schema = await tempFile("schema.json", schemaText);
  const created = await millrace([
    ...["collection", "create", "goods", "--schema", schema, "--shards", "2"],
    ...server,
  ]);
  expect(created).toEqual({ code: 0, stdout: "created goods with 2 shards\n", stderr: "" });
  expect(collections.get("goods")?.schema?.fields.map((field) => field.name)).toEqual([
    "id",
    "label",
    "v",
  ]);

  const listed = await millrace(["collection", "list", ...server]);
  expect(listed.stdout).toMatch(/NAME +FIELDS +SHARDS +CREATED\ngoods +3 +2 +2025-06-15T/);

  const described = await millrace(["collection", "describe", "goods", ...server]);
  expect(described.stdout).toContain("tables/goods-1");
  expect(described.stdout).toMatch(/label +VARCHAR\(10\) +nullable/);
  expect(described.stdout).toMatch(/v +FLOAT_VECTOR\(2\)/);
  const json = await millrace(["collection", "describe", "goods", "--json", ...server]);
  expect(JSON.parse(json.stdout)).toMatchObject({ name: "goods", tablePath: "tables/goods-1" });

  expect((await millrace(["collection", "drop", "goods", ...server])).code).toBe(0);
  const again = await millrace(["collection", "drop", "goods", ...server]);
  expect(again).toEqual({
    code: 1,
    stdout: "",
    stderr: 'millrace: there is no collection "goods"\n',
  });
});

test("fields are added from a file, and a collection is truncated", async () => {
  const { url, collections, truncated } = await startFakeServer();
  const server = ["--server", url];
  const schema = await tempFile("schema.json", schemaText);
  await millrace(["collection", "create", "goods", "--schema", schema, ...server]);
  const text = '{"fields":[{"name":"price","type":"double","nullable":true}]}';
  const alter = ["collection", "alter", "goods", "--add", await tempFile("fields.json", text)];
  expect(await millrace([...alter, ...server])).toEqual({
    code: 0,
    stdout: "altered goods: its schema is of version 2\n",
    stderr: "",
  });
  expect(collections.get("goods")?.schema?.fields.at(-1)?.name).toBe("price");
  const bad = await tempFile("fields.json", text.replace("double", "decimal"));
  const refused = await millrace(["collection", "alter", "goods", "--add", bad, ...server]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/fields\.json: fields\[0\]\.type "decimal" is not known/);

  const truncate = ["collection", "truncate", "goods", "--idempotency-key", "mine"];
  expect((await millrace([...truncate, ...server])).stdout).toBe("truncated goods\n");
  expect(truncated).toEqual([["goods", "mine"]]);
});

test.each([
  ["{", /schema\.json: .*JSON/],
  ["[]", /schema\.json: a schema is an object/],
  ['{"fields":[{"name":"id","type":"integer"}]}', /fields\[0\]\.type "integer" is not known/],
  ['{"fields":[{"name":"id","type":"int64"}]}', /schema\.json: .*no primary key/],
  ['{"felds":[]}', /felds/],
])("the schema file %s is refused", async (text, message) => {
  const schema = await tempFile("schema.json", text);
  const { code, stderr } = await millrace(["collection", "create", "x", "--schema", schema]);
  expect(code).toBe(1);
  expect(stderr).toMatch(message);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
});

test("a default value may be a JSON value or its text", () => {
  const field = (type: string, defaultValue: unknown) =>
    parseSchema(
      JSON.stringify({
        fields: [
          { name: "id", type: "int64", primaryKey: true },
          { name: "a", type, defaultValue },
        ],
      }),
    ).fields[1]?.defaultValue;
  expect(field("int64", 5)).toBe("5");
  expect(field("int64", "5")).toBe("5");
  expect(field("varchar", "none")).toBe('"none"');
  expect(field("varchar", '"none"')).toBe('"none"');
  expect(field("json", { a: 1 })).toBe('{"a":1}');
});

test("status shows nodes and pchannels", async () => {
  const { url } = await startFakeServer();
  const shown = await millrace(["status", "--server", url]);
  expect(shown.stdout).toMatch(/n1 +local:n1 +alive +1\n/);
  expect(shown.stdout).toMatch(/millrace-dml_0 +3 +assigned +n1/);
  const json = await millrace(["status", "--json", "--server", url]);
  expect(JSON.parse(json.stdout)).toMatchObject({
    collections: 0,
    pchannels: [{ name: "millrace-dml_0", state: "assigned" }],
  });
});

test("a flush waits, says what it waits for, and ends", async () => {
  const fake = await startFakeServer();
  addCollection(fake, "goods", parseSchema(schemaText));
  let polls = 0;
  fake.onFlushState = () => (++polls < 3 ? "the store is away" : undefined);
  const flushed = await millrace(["flush", "goods", "--server", fake.url]);
  expect(flushed.code).toBe(0);
  expect(flushed.stderr).toBe("the store is away\n");
  expect(flushed.stdout).toMatch(/^flushed goods in /);
});

test("an interrupted flush ends with the exit code of the signal", async () => {
  const fake = await startFakeServer();
  addCollection(fake, "goods", parseSchema(schemaText));
  const interruption = new AbortController();
  fake.onFlushState = () => {
    interruption.abort(new Interrupted("SIGINT"));
    return "the store is away";
  };
  const { code } = await millrace(["flush", "goods", "--server", fake.url], {
    signal: interruption.signal,
  });
  expect(code).toBe(130);
});

test("a tail prints each row once although its stream breaks again and again", async () => {
  const fake = await startFakeServer();
  fake.breakTailAfter = 2;
  const { code, stdout, stderr } = await millrace([
    ...["tail", "goods", "--from", "earliest", "--server", fake.url],
  ]);
  const rows = Array.from({ length: 10 }, (_, n) => `{"n":${n}}`);
  const deleted = ['{"$delete":{"n":10}}', '{"$delete":{"n":11}}'];
  expect(stdout.trim().split("\n")).toEqual([...rows, ...deleted]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/connecting again[\s\S]*millrace: the collection was dropped\n$/);
});

test("a tail from the latest place misses nothing that comes while it is cut off", async () => {
  const fake = await startFakeServer();
  fake.breakTailAfter = 0;
  fake.onTail = (positions) => {
    // What the heartbeat said is where the second stream begins.
    if (positions.some(({ tick }) => tick === 2n)) fake.breakTailAfter = 10;
  };
  const { stdout } = await millrace(["tail", "goods", "--server", fake.url]);
  expect(stdout.split("\n").slice(0, 2)).toEqual(['{"n":6}', '{"n":7}']);
});

test("an interrupted tail ends without an error", async () => {
  const fake = await startFakeServer();
  const interruption = new AbortController();
  const { code } = await millrace(["tail", "goods", "--from", "earliest", "--server", fake.url], {
    signal: interruption.signal,
    onStdout: () => interruption.abort(new Interrupted("SIGTERM")),
  });
  expect(code).toBe(0);
});
