import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { parseSchema } from "../src/schema-file.ts";
import { addCollection, startFakeServer } from "./fake-server.ts";
import { millrace, type Ran } from "./support.ts";

const entry = fileURLToPath(new URL("../src/main.node.ts", import.meta.url));

function start(args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  const child = spawn(process.execPath, ["--conditions=source", entry, ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  return child;
}

async function run(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const child = start(args, env);
  const texts = { stdout: "", stderr: "" };
  child.stdout?.on("data", (chunk) => {
    texts.stdout += String(chunk);
  });
  child.stderr?.on("data", (chunk) => {
    texts.stderr += String(chunk);
  });
  const [code] = (await once(child, "close")) as [number];
  return { code, ...texts };
}

test.each([
  [[], 2, /Usage: millrace/],
  [["no-such-command"], 2, /^millrace: unknown command 'no-such-command'\n$/],
  [["insert"], 2, /^millrace: missing required argument 'name'\n$/],
  [["insert", "a", "b", "c"], 2, /^millrace: too many arguments.*\n$/],
  [["insert", "a", "b", "--no-such-flag"], 2, /^millrace: unknown option '--no-such-flag'\n$/],
  [["insert", "a", "b", "--format", "xml"], 2, /^millrace: option '--format.*xml.*\n$/],
  [["insert", "a", "b", "--key", "k"], 2, /^millrace: --key is used with --create\n$/],
  [["tail", "a", "--from", "middle"], 2, /^millrace: option '--from.*middle.*\n$/],
  [
    ["coord", "--listen", "nonsense"],
    2,
    /^millrace: --listen: coord.listen: must be HOST:PORT.*, got "nonsense"\n$/,
  ],
  [
    ["proxy"],
    2,
    /^millrace: coordinators: must be given, by --coord, MILLRACE_COORD or a file: .*\n$/,
  ],
  [["admin"], 2, /Usage: millrace admin/],
  [["admin", "transfer", "p"], 2, /^millrace: missing required argument 'node'\n$/],
  [["admin", "policy", "--rebalance", "maybe"], 2, /^millrace: option '--rebal.*on or off.*\n$/],
  [["collection", "create", "a"], 2, /^millrace: required option '--schema <file>'.*\n$/],
  [
    ["status", "--server", "http://127.0.0.1:1"],
    1,
    /^millrace: cannot reach http:\/\/127.0.0.1:1: connection refused\n$/,
  ],
  [
    ["insert", "a", "no/such/file.csv"],
    1,
    /^millrace: cannot read no\/such\/file.csv: no such file or folder\n$/,
  ],
] as const)("millrace %j ends with %i", async (args, code, stderr) => {
  const ran = await millrace(args);
  expect(ran.stderr).toMatch(stderr);
  expect(ran.code).toBe(code);
  expect(ran.stdout).toBe("");
});

test("the process ends with the exit code of its command", async () => {
  expect((await run(["no-such-command"])).code).toBe(2);
  expect((await run(["insert", "a", "no/such/file.csv"])).code).toBe(1);
});

test("help and the version go to standard output", async () => {
  expect(await run(["--version"])).toEqual({ code: 0, stdout: "0.1.0\n", stderr: "" });
  const help = await run(["insert", "--help"]);
  expect(help.code).toBe(0);
  expect(help.stdout).toContain("MILLRACE_IDEMPOTENCY_PREFIX");
});

test("flags come from the environment, and 0 is off", async () => {
  const { url } = await startFakeServer();
  const env = { MILLRACE_SERVER: url };
  expect((await run(["collection", "list"], { ...env, MILLRACE_JSON: "1" })).stdout).toBe("[]\n");
  expect((await run(["collection", "list"], { ...env, MILLRACE_JSON: "0" })).stdout).toMatch(
    /^NAME/,
  );
  const bad = await run(["collection", "list"], { MILLRACE_SERVER: "nonsense" });
  expect(bad.code).toBe(2);
  expect(bad.stderr).toMatch(/^millrace: .*MILLRACE_SERVER.*\n$/);
});

test("a reader that leaves ends a tail quietly", async () => {
  const { url } = await startFakeServer();
  const child = start(["tail", "goods", "--from", "earliest", "--server", url]);
  let stderr = "";
  child.stderr?.on("data", (chunk) => {
    stderr += String(chunk);
  });
  child.stdout?.destroy();
  expect((await once(child, "close"))[0]).toBe(0);
  expect(stderr).toBe("");
});

test("a signal ends what waits, with the exit code of the signal", async () => {
  const fake = await startFakeServer();
  const fields = [{ name: "id", type: "int64", primaryKey: true }];
  addCollection(fake, "goods", parseSchema(JSON.stringify({ fields })));
  const polled = new Promise<void>((resolve) => {
    fake.onFlushState = () => {
      resolve();
      return "the store is away";
    };
  });
  const child = start(["flush", "goods", "--server", fake.url]);
  await polled;
  child.kill("SIGINT");
  expect((await once(child, "close"))[0]).toBe(130);
});
