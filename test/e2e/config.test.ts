import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { call } from "../harness/client.ts";
import { freePort, startStandalone } from "../harness/cluster.ts";
import { run, type Service, startService } from "../harness/process.ts";
import { createTempFolder } from "../harness/temp.ts";

/** Settings under which rows are flushed when they are `idle`, and rows of up to `row` are taken. */
const settings = (row: string, idle: string): string =>
  `proxy:\n  maxRowBytes: ${row}\nnode:\n  flush:\n    idle: ${idle}\n    age: 7d\n`;

test("a running server takes new settings on SIGHUP, and refuses wrong ones", {
  timeout: 120_000,
}, async () => {
  await using temp = await createTempFolder();
  const file = join(temp.path, "millrace.yaml");
  await writeFile(file, settings("64KiB", "7d"));
  const lines: Record<string, unknown>[] = [];
  let onLine = (): void => undefined;
  const cluster = await startStandalone({
    folder: temp.path,
    flags: ["--config", file],
    env: { MILLRACE_PROXY_MAX_INSERT_BYTES: "1MiB" },
    onStderr(line) {
      lines.push(JSON.parse(line));
      onLine();
    },
  });
  const until = async <T>(found: () => T | undefined): Promise<T> => {
    for (;;) {
      const value = found();
      if (value !== undefined) return value;
      await new Promise<void>((resolve) => {
        onLine = resolve;
      });
    }
  };
  /** Writes the file and sends SIGHUP; resolves with what the server says of it. */
  const reload = async (text: string): Promise<Record<string, unknown>> => {
    await writeFile(file, text);
    const from = lines.length;
    cluster.services[0]?.child.kill("SIGHUP");
    const isAnswer = ({ message }: Record<string, unknown>): boolean =>
      /^(the )?configuration/.test(String(message));
    return await until(() => lines.slice(from).find(isAnswer));
  };
  const flushed = (): number =>
    lines.reduce(
      (rows, line) => rows + (line.message === "rows flushed" ? Number(line.rows) : 0),
      0,
    );
  const insert = (id: number, bytes: number) =>
    call(cluster.url, "Insert", { collection: "c", rows: [{ id, text: "x".repeat(bytes) }] });
  try {
    await call(cluster.url, "CreateCollection", {
      name: "c",
      schema: {
        fields: [
          { name: "id", type: "DATA_TYPE_INT64", primaryKey: true },
          { name: "text", type: "DATA_TYPE_VARCHAR", maxLength: 65535 },
        ],
      },
    });
    await insert(1, 10_000);

    const wrong = await reload(settings("1KiB", "soon"));
    expect(wrong).toMatchObject({
      level: "error",
      message: "the configuration is wrong, what was in force stays",
      reason: 'millrace.yaml:5: node.flush.idle: must be 10ms to 7d, got "soon"',
    });
    await insert(2, 10_000);

    const right = await reload(settings("1KiB", "100ms"));
    expect(right).toMatchObject({
      message: "configuration read anew",
      changed: ["node.flush.idle", "proxy.maxRowBytes"],
    });
    await expect(insert(3, 10_000)).rejects.toMatchObject({ code: "invalid_argument" });
    // The rows of before are idle for long enough now.
    await until(() => (flushed() === 2 ? true : undefined));

    const shown = await run(["config", "--config", file, "--json"]);
    expect(JSON.parse(shown.stdout)["node.flush.idle"]).toEqual({
      ...{ value: 100, from: "file", place: "millrace.yaml:5", hot: true },
    });
    expect(await cluster.stop()).toEqual([0]);
  } finally {
    for (const service of cluster.services) await service.kill();
  }
});

test("a server with a wrong file does not start, and says where it is wrong", async () => {
  await using temp = await createTempFolder();
  const file = join(temp.path, "millrace.yaml");
  await writeFile(file, "node:\n  flush:\n    byts: 1MiB\n");
  expect(await run(["standalone", "--config", file])).toEqual({
    code: 2,
    stdout: "",
    stderr:
      "millrace: millrace.yaml:3: node.flush.byts: there is no such setting; did you mean node.flush.bytes?",
  });
});

test("one file is enough for a coordinator, a node and a proxy", { timeout: 120_000 }, async () => {
  await using temp = await createTempFolder();
  const [coord, node, proxy] = [await freePort(), await freePort(), await freePort()];
  const file = join(temp.path, "millrace.yaml");
  const settings = `
coordinators: [http://127.0.0.1:${coord}]
store: file:${temp.path}/store
coord:
  listen: 127.0.0.1:${coord}
  meta: file:${temp.path}/meta
  pchannels: 3
node:
  listen: 127.0.0.1:${node}
  data: ${temp.path}/node
  drainFor: 0s
  wal.backend: file:${temp.path}/wal
proxy.listen: 127.0.0.1:${proxy}
`;
  await writeFile(file, settings);
  const services: Service[] = [];
  try {
    for (const name of ["coord", "node", "proxy"]) {
      services.push(await startService([name], { env: { MILLRACE_CONFIG: file } }));
    }
    const { url = "" } = services[2] ?? {};
    expect(url).toBe(`http://127.0.0.1:${proxy}`);
    const fields = [{ name: "id", type: "DATA_TYPE_INT64", primaryKey: true }];
    await call(url, "CreateCollection", { name: "c", schema: { fields } });
    await call(url, "Insert", { collection: "c", rows: [{ id: 1 }] });
    const channels = await run(["admin", "channels", "--json", "--server", url]);
    expect(JSON.parse(channels.stdout)).toHaveLength(3);
  } finally {
    for (const service of services.toReversed()) expect(await service.stop()).toBe(0);
  }
});
