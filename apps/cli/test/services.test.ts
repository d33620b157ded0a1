import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemRandom } from "@millrace/types/node";
import { expect, test } from "vitest";
import { Interrupted } from "../src/io.ts";
import { createClosers } from "../src/wiring/closers.ts";
import { readNodeId } from "../src/wiring/data-folder.ts";
import { urlOf, withPort } from "../src/wiring/own-address.ts";
import { millrace, type Ran, tempFile, tempFolder } from "./support.ts";

/** Runs a service, calls `use` with its URL when it is ready, then interrupts it. */
async function withService(
  args: readonly string[],
  use: (url: string) => Promise<void>,
): Promise<Ran> {
  const interruption = new AbortController();
  let used: Promise<void> | undefined;
  const ran = await millrace([...args, "--listen", "127.0.0.1:0", "--log-level", "error"], {
    signal: interruption.signal,
    onStdout(text) {
      const url = /ready on (\S+)\n/.exec(text)?.[1];
      if (!url) return;
      used ??= use(url).finally(() => interruption.abort(new Interrupted("SIGTERM")));
    },
  });
  await used;
  return ran;
}

test("a standalone serves, drains, and has everything again when it is started anew", async () => {
  const data = join(await tempFolder(), "data");
  const rows = await tempFile("rows.csv", "zip,n\n00501,1\n10115,2\n");
  const first = await withService(["standalone", "--data", data], async (url) => {
    const args = ["insert", "zips", rows, "--create", "--key", "zip", "--server", url];
    const { code, stderr } = await millrace(args);
    expect(code, stderr).toBe(0);
  });
  expect(first.code, first.stderr).toBe(0);
  expect(first.stdout).toMatch(/^millrace: ready on http:\/\/127\.0\.0\.1:\d+\n$/);

  await withService(["standalone", "--data", data], async (url) => {
    const interruption = new AbortController();
    const tailed = await millrace(["tail", "zips", "--from", "earliest", "--server", url], {
      signal: interruption.signal,
      onStdout(text) {
        if (text.split("\n").length > 2) interruption.abort(new Interrupted("SIGINT"));
      },
    });
    expect(tailed.stdout).toBe('{"zip":"00501","n":1}\n{"zip":"10115","n":2}\n');
    expect(tailed.code).toBe(0);
    expect((await millrace(["flush", "zips", "--server", url])).code).toBe(0);
  });
});

test("a log in memory does not mix its tables with those of an earlier run", async () => {
  const folder = await tempFolder();
  await mkdir(join(folder, "store", "tables"), { recursive: true });
  await writeFile(join(folder, "store", "tables", "old"), "");
  const args = ["standalone", "--data", join(folder, "data"), "--wal", "memory"];
  const refused = await withService([...args, "--store", `file:${folder}/store`], async () => {
    throw new Error("it serves");
  });
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/holds tables of an earlier run.*another folder or prefix\n$/);
  expect((await withService(args, async () => undefined)).code).toBe(0);
});

test("coordinator, node and proxy as services of their own make a cluster", async () => {
  const folder = await tempFolder();
  const rows = await tempFile("rows.ndjson", '{"n":1}\n{"n":2}\n');
  const store = `file:${join(folder, "store")}`;
  await withService(["coord", "--meta", "memory"], async (coord) => {
    const node = ["node", "--coord", coord, "--data", join(folder, "node"), "--store", store];
    await withService([...node, "--drain-for", "0s"], async () => {
      await withService(["proxy", "--coord", coord], async (url) => {
        const { code, stderr } = await millrace([
          ...["insert", "rows", rows, "--create", "--server", url],
        ]);
        expect(code, stderr).toBe(0);
        const status = await millrace(["status", "--json", "--server", url]);
        expect(JSON.parse(status.stdout)).toMatchObject({
          collections: 1,
          nodes: [{ alive: true }],
        });
      });
    });
  });
});

test("pages of the origins that are set may call", async () => {
  const origins = ["--set", "http.origins=https://app.example"];
  await withService(["standalone", "--wal", "memory", ...origins], async (url) => {
    const allowedFor = async (origin: string): Promise<string | null> => {
      const answer = await fetch(`${url}/millrace.v1.ProxyService/ListCollections`, {
        method: "POST",
        headers: { origin, "content-type": "application/json" },
        body: "{}",
      });
      return answer.headers.get("access-control-allow-origin");
    };
    expect(await allowedFor("https://app.example")).toBe("https://app.example");
    expect(await allowedFor("https://other.example")).toBeNull();
  });
});

test("a node keeps its id", async () => {
  const folder = await tempFolder();
  const id = await readNodeId(folder, systemRandom);
  expect(id).toMatch(/^node-[0-9a-f]{12}$/);
  expect(await readNodeId(folder, systemRandom)).toBe(id);
  expect(await readFile(join(folder, "node-id"), "utf8")).toBe(`${id}\n`);
  await writeFile(join(folder, "node-id"), "not an id");
  await expect(readNodeId(folder, systemRandom)).rejects.toThrow(/does not hold the id of a node/);
});

test("an address of its own is one that others can use", async () => {
  expect(urlOf({ host: "::1", port: 1 })).toBe("http://[::1]:1");
  expect(() => urlOf({ host: "0.0.0.0", port: 1 })).toThrow("--advertise");
  expect((await withPort({ host: "127.0.0.1", port: 0 })).port).toBeGreaterThan(0);
});

test("what was opened is closed in reverse, whatever fails", async () => {
  const closed: string[] = [];
  const closers = createClosers();
  closers.defer(() => closed.push("a"));
  closers.defer(() => Promise.reject(new Error("b is broken")));
  closers.add({ close: () => closed.push("c") });
  await expect(closers.close()).rejects.toThrow("b is broken");
  expect(closed).toEqual(["c", "a"]);
});

test("a cluster is started with more pchannels, not with fewer; its last node is not frozen", async () => {
  const data = join(await tempFolder(), "data");
  const standalone = (pchannels: number) => [
    ...["standalone", "--data", data, "--pchannels", String(pchannels)],
  ];
  const channels = async (url: string): Promise<unknown[]> => {
    const { stdout } = await millrace(["admin", "channels", "--json", "--server", url]);
    return JSON.parse(stdout) as unknown[];
  };
  const first = await withService(standalone(2), async (url) => {
    expect((await channels(url)).length).toBe(2);
    const frozen = await millrace(["admin", "freeze", "standalone", "--server", url]);
    expect([frozen.code, frozen.stderr]).toEqual([
      1,
      "millrace: node standalone is the last that can take pchannels; start or unfreeze another one first\n",
    ]);
  });
  expect(first.code, first.stderr).toBe(0);
  await withService(standalone(3), async (url) => {
    expect((await channels(url)).length).toBe(3);
  });
  const fewer = await withService(standalone(1), async () => {
    throw new Error("it serves");
  });
  expect(fewer.code).toBe(1);
  expect(fewer.stderr).toMatch(
    /^millrace: the metadata has 3 pchannels.*added but not removed.*\n$/,
  );
});
