import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { call } from "../harness/client.ts";
import { type Cluster, startStandalone } from "../harness/cluster.ts";
import { createTempFolder, type TempFolder } from "../harness/temp.ts";

const buf = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url));
const exec = promisify(execFile);

let temp: TempFolder;
let cluster: Cluster;

beforeAll(async () => {
  temp = await createTempFolder();
  cluster = await startStandalone({ folder: temp.path });
});

afterAll(async () => {
  await cluster.stop();
  await temp[Symbol.asyncDispose]();
});

async function bufCurl(protocol: string, method: string, body: unknown): Promise<unknown[]> {
  const args = ["curl", "--protocol", protocol, "--http2-prior-knowledge"];
  args.push("--data", JSON.stringify(body), `${cluster.url}/millrace.v1.ProxyService/${method}`);
  // A tail has no end of its own: it is cut off, and what it printed counts.
  const { stdout } = await exec(buf, args, { timeout: method === "Tail" ? 3000 : 20_000 }).catch(
    (error: { killed?: boolean; stdout?: string }) => {
      if (error.killed && error.stdout !== undefined) return { stdout: error.stdout };
      throw error;
    },
  );
  return JSON.parse(`[${stdout.trim().replaceAll(/\}\s*\{/g, "},{")}]`) as unknown[];
}

describe.each(["connect", "grpc", "grpcweb"])("buf curl over %s, by reflection", (protocol) => {
  test("inserts rows and tails them", async () => {
    const name = `by_${protocol}`;
    await call(cluster.url, "CreateCollection", {
      name,
      schema: {
        fields: [
          { name: "id", type: "DATA_TYPE_INT64", primaryKey: true },
          { name: "text", type: "DATA_TYPE_VARCHAR" },
        ],
      },
    });
    const rows = [
      { id: "9007199254740993", text: "beyond 2^53" },
      { id: 2, text: protocol },
    ];
    const inserted = await bufCurl(protocol, "Insert", { collection: name, rows });
    expect(inserted).toMatchObject([{ rows: 2 }]);

    const tail = { collection: name, from: "TAIL_FROM_EARLIEST", json: true };
    const events = await bufCurl(protocol, "Tail", tail);
    const messages = events.filter((event) => Object.hasOwn(event as object, "message"));
    expect(messages).toMatchObject([{ message: { type: "MESSAGE_TYPE_INSERT", rows } }]);
  });
});

test("a browser's fetch and curl reach the health check over HTTP/1.1", async () => {
  const response = await fetch(`${cluster.url}/healthz`);
  expect(response.status).toBe(200);
});

test("what is not served yet answers UNIMPLEMENTED", async () => {
  const upsert = call(cluster.url, "Upsert", { collection: "by_connect", rows: [] });
  await expect(upsert).rejects.toMatchObject({ code: "unimplemented" });
});
