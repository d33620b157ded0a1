import { once } from "node:events";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { call } from "../harness/client.ts";
import { type Cluster, startStandalone } from "../harness/cluster.ts";
import { run } from "../harness/process.ts";
import { tailRows } from "../harness/tail.ts";
import { createTempFolder, type TempFolder } from "../harness/temp.ts";

let temp: TempFolder;
let cluster: Cluster;

const fields = [
  { name: "id", type: "DATA_TYPE_INT64", primaryKey: true },
  { name: "price", type: "DATA_TYPE_DOUBLE" },
  { name: "label", type: "DATA_TYPE_VARCHAR", maxLength: 8, nullable: true },
  { name: "embedding", type: "DATA_TYPE_FLOAT_VECTOR", dimension: 3 },
];
const good = { id: 1, price: 9.5, label: "a", embedding: [1, 2, 3] };

beforeAll(async () => {
  temp = await createTempFolder();
  cluster = await startStandalone({ folder: temp.path });
  await call(cluster.url, "CreateCollection", { name: "goods", schema: { fields } });
});

afterAll(async () => {
  await cluster.stop();
  await temp[Symbol.asyncDispose]();
});

const insert = (...rows: unknown[]) => call(cluster.url, "Insert", { collection: "goods", rows });
const create = (name: string, fields: unknown[]) =>
  call(cluster.url, "CreateCollection", { name, schema: { fields } });

describe("rows that do not fit are refused with the path of the field", () => {
  test.each([
    ["a missing field", { ...good, price: undefined }, /rows\[0\]\.price/],
    ["an extra field", { ...good, colour: "red" }, /rows\[0\]\.colour/],
    ["a wrong type", { ...good, price: "cheap" }, /rows\[0\]\.price/],
    ["a vector of the wrong dimension", { ...good, embedding: [1, 2] }, /embedding.*\b3\b/],
    ["NaN in a vector", { ...good, embedding: [1, "NaN", 3] }, /rows\[0\]\.embedding\[1\]/],
    ["a varchar that is too long", { ...good, label: "123456789" }, /rows\[0\]\.label.*\b8\b/],
    ["null where it is not allowed", { ...good, price: null }, /rows\[0\]\.price.*null/],
    ["an integer that a double cannot hold", { ...good, id: 2 ** 60 }, /rows\[0\]\.id.*string/],
    ["a fraction for an integer", { ...good, id: 1.5 }, /rows\[0\]\.id/],
  ])("%s", async (_name, row, message) => {
    await expect(insert(good, row)).rejects.toMatchObject({ code: "invalid_argument" });
    const path = new RegExp(message.source.replace("rows\\[0\\]", "rows\\[1\\]"));
    await expect(insert(good, row)).rejects.toThrow(path);
  });

  test("a row above the size limit", async () => {
    await create("texts", [
      { name: "id", type: "DATA_TYPE_INT64", primaryKey: true },
      { name: "a", type: "DATA_TYPE_BYTES" },
    ]);
    const a = Buffer.alloc(5 * 1024 * 1024).toString("base64");
    const rows = [{ id: 1, a }];
    const inserted = call(cluster.url, "Insert", { collection: "texts", rows });
    await expect(inserted).rejects.toMatchObject({ code: "invalid_argument" });
    await expect(call(cluster.url, "Insert", { collection: "texts", rows })).rejects.toThrow(
      /rows\[0\].*bytes/,
    );
  });

  test("nothing of a refused call is written", async () => {
    await expect(insert({ ...good, id: 77 }, { ...good, price: "x" })).rejects.toThrow();
    await insert({ ...good, id: 78 });
    expect(await tailRows(cluster.url, "goods", 1)).toMatchObject([{ id: 78 }]);
  });
});

describe("collections that cannot be are refused", () => {
  const id = { name: "id", type: "DATA_TYPE_INT64", primaryKey: true };

  test("an unknown collection", async () => {
    const body = { collection: "nowhere", rows: [{ id: 1 }] };
    await expect(call(cluster.url, "Insert", body)).rejects.toMatchObject({
      code: "not_found",
      message: expect.stringContaining("nowhere"),
    });
  });

  test("a duplicate field", async () => {
    await expect(create("twice", [id, { ...id, primaryKey: false }])).rejects.toThrow(
      /schema\.fields\[1\].*id/,
    );
  });

  test("a schema without a primary key", async () => {
    await expect(create("keyless", [{ ...id, primaryKey: false }])).rejects.toThrow(/primary key/);
  });

  test.each([
    ["a slash", "a/b"],
    ["dots", ".."],
    ["a control character", "a\u0000b"],
    ["nothing", ""],
    ["10 000 characters", "a".repeat(10_000)],
  ])("a name with %s", async (_name, name) => {
    await expect(create(name, [id])).rejects.toMatchObject({ code: "invalid_argument" });
    await expect(create(name, [id])).rejects.toThrow(/name/);
  });

  test("more shards than there are pchannels", async () => {
    const body = { name: "wide", shards: 100_000, schema: { fields: [id] } };
    await expect(call(cluster.url, "CreateCollection", body)).rejects.toThrow(/shards/);
  });

  test("a name that another schema has", async () => {
    await expect(create("goods", [id])).rejects.toMatchObject({ code: "already_exists" });
  });
});

describe("requests that are broken are refused, and the server goes on", () => {
  const post = (body: Uint8Array | string, headers: Record<string, string> = {}) =>
    fetch(`${cluster.url}/millrace.v1.ProxyService/Insert`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: body as BodyInit,
    });

  test("a body above 64 MiB", async () => {
    const response = await post(new Uint8Array(65 * 1024 * 1024));
    expect([413, 429]).toContain(response.status);
    expect(await response.text()).toMatch(/64 MiB|67108864/);
  });

  test("broken JSON", async () => {
    const response = await post('{"collection": "goods", ');
    expect(response.status).toBe(400);
  });

  test("broken gzip", async () => {
    const body = gzipSync(JSON.stringify({ collection: "goods", rows: [good] }));
    body.fill(0, 12);
    const response = await post(body, { "content-encoding": "gzip" });
    expect(response.status).toBe(400);
  });

  test("bytes that are not HTTP", async () => {
    const { hostname, port } = new URL(cluster.url);
    const socket = connect(Number(port), hostname);
    socket.write(new Uint8Array(4096).fill(0xa5));
    await once(socket.resume(), "close");
    expect((await fetch(`${cluster.url}/healthz`)).status).toBe(200);
  });
});

describe("the command says what is wrong in one line", () => {
  const server = (): string[] => ["--server", cluster.url];

  test("broken JSON names the line", async () => {
    const file = join(temp.path, "broken.ndjson");
    await writeFile(file, `${JSON.stringify(good)}\n{"id": 2,\n${JSON.stringify(good)}\n`);
    const result = await run(["insert", "goods", file, ...server()]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/line 2/);
  });

  test("broken gzip", async () => {
    const file = join(temp.path, "broken.ndjson.gz");
    const bytes = gzipSync(`${JSON.stringify(good)}\n`.repeat(100));
    await writeFile(file, bytes.subarray(0, bytes.length - 20));
    const result = await run(["insert", "goods", file, ...server()]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/gzip/);
  });

  test("an unknown collection", async () => {
    const result = await run(["flush", "nowhere", ...server()]);
    expect(result.code).toBe(1);
    expect(result.stderr.trim().split("\n")).toHaveLength(1);
    expect(result.stderr).toMatch(/nowhere/);
  });

  test("wrong usage", async () => {
    expect((await run(["insert"])).code).toBe(2);
    expect((await run(["no-such-command"])).code).toBe(2);
    expect((await run(["standalone", "--listen", "nonsense"])).code).toBe(2);
  });

  test("a server that is not there", async () => {
    const result = await run(["status", "--server", "http://127.0.0.1:1"]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/127\.0\.0\.1:1/);
  });

  test("a port in use", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as { port: number };
    const result = await run([
      "standalone",
      "--listen",
      `127.0.0.1:${port}`,
      "--data",
      join(temp.path, "other"),
    ]);
    taken.close();
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(new RegExp(`${port}.*in use`));
  });

  test("a data folder in use by another process", async () => {
    const data = join(temp.path, "data");
    const result = await run(["standalone", "--listen", "127.0.0.1:0", "--data", data]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/in use.*\b\d+\b/);
  });

  test("a data folder that cannot be written", async () => {
    // A file where the folder's parent should be: root may write anywhere else.
    const file = join(temp.path, "a-file");
    await writeFile(file, "");
    const data = join(file, "data");
    const result = await run(["standalone", "--listen", "127.0.0.1:0", "--data", data]);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(data);

    if (process.getuid?.() === 0) return;
    const closed = join(temp.path, "closed");
    await mkdir(closed);
    await chmod(closed, 0o500);
    const refused = await run(["standalone", "--listen", "127.0.0.1:0", "--data", closed]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(closed);
  });
});
