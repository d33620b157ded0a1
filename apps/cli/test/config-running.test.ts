import { rename, writeFile } from "node:fs/promises";
import type { Clock, Logger } from "@millrace/types";
import { systemClock } from "@millrace/types/node";
import { expect, onTestFinished, test } from "vitest";
import { loadConfig } from "../src/config/load.ts";
import { type RunningConfig, runConfig } from "../src/config/running.ts";
import { tempFile } from "./support.ts";

/** A clock that runs a hundred times as fast. */
const fastClock: Clock = {
  ...systemClock,
  schedule: (ms, callback) => systemClock.schedule(ms / 100, callback),
};

interface Line {
  level: string;
  message: string;
  fields: Record<string, unknown>;
}

/** A configuration of standalone that runs on a file. */
async function run(text: string, clock: Clock = systemClock) {
  const file = await tempFile("millrace.yaml", text);
  const env = { MILLRACE_NODE_RETENTION_AGE: "1h" };
  const sources = { file, env, flags: new Map() };
  const lines: Line[] = [];
  let onLine = (): void => undefined;
  const log =
    (level: string) =>
    (message: string, fields: Record<string, unknown> = {}) => {
      lines.push({ level, message, fields });
      onLine();
    };
  const logger: Logger = {
    ...{ debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") },
  };
  const { config } = await loadConfig("standalone", sources);
  let hangup = (): void => undefined;
  const running: RunningConfig = runConfig({
    ...{ service: "standalone", sources, config, clock, logger },
    onHangup(listener) {
      hangup = listener;
      return () => {
        hangup = () => undefined;
      };
    },
  });
  onTestFinished(() => running.close());
  /** Resolves when as many lines were logged. */
  const logged = async (count: number): Promise<void> => {
    while (lines.length < count) {
      await new Promise<void>((resolve) => {
        onLine = resolve;
      });
    }
  };
  return { file, running, lines, logged, hangup: () => hangup() };
}

test("SIGHUP brings what is hot into force, and tells what needs a restart", async () => {
  const { file, running, lines, logged, hangup } = await run("node.flush.rows: 10\n");
  const { current } = running;
  expect(current()["node.flush.rows"]).toBe(10);
  await writeFile(
    file,
    "node: {flush: {rows: 20}, retention: {age: 2h}, wal: {maxKeys: 5}}\nproxy: {listen: :1}\n",
  );
  hangup();
  await logged(2);
  expect(lines).toEqual([
    {
      level: "info",
      message: "configuration read anew",
      fields: { file, changed: ["node.flush.rows"] },
    },
    {
      level: "warn",
      message: "these settings need a restart",
      fields: { file, settings: ["node.wal.maxKeys"] },
    },
  ]);
  expect(current()["node.flush.rows"]).toBe(20);
  // The environment wins over the file, and what is not hot stays.
  expect(current()["node.retention.age"]).toBe(3_600_000);
  expect(current()["node.wal.maxKeys"]).toBe(262_144);
});

test("a wrong file changes nothing and is told with its path; the next good one counts", async () => {
  const { file, running, lines } = await run("node.flush.rows: 10\n");
  await writeFile(file, "node:\n  flush:\n    rows: 20\n    bytes: none\n");
  await running.reload();
  expect(lines).toEqual([
    {
      level: "error",
      message: "the configuration is wrong, what was in force stays",
      fields: {
        file,
        reason: 'millrace.yaml:4: node.flush.bytes: must be 1 KiB to 4 GiB, got "none"',
      },
    },
  ]);
  expect(running.current()["node.flush.rows"]).toBe(10);
  await writeFile(file, "node.flush.rows: 30\n");
  await running.reload();
  expect(running.current()["node.flush.rows"]).toBe(30);
  // What is not there any more is the default again.
  await writeFile(file, "");
  await running.reload();
  expect(running.current()["node.flush.rows"]).toBe(1_000_000);
});

test("a file that another one has replaced is read without being told", async () => {
  const { file, running, lines, logged } = await run("node.flush.rows: 10\n", fastClock);
  await writeFile(`${file}.new`, "node.flush.rows: 40\n");
  await rename(`${file}.new`, file);
  await logged(1);
  expect(lines[0]?.message).toBe("configuration read anew");
  expect(running.current()["node.flush.rows"]).toBe(40);
  await rename(file, `${file}.old`);
  await logged(2);
  expect(lines[1]?.fields.reason).toBe(`cannot read ${file}: no such file or folder`);
  expect(running.current()["node.flush.rows"]).toBe(40);
});

test("what is closed changes no more", async () => {
  const { file, running, hangup } = await run("node.flush.rows: 10\n");
  await running.close();
  await writeFile(file, "node.flush.rows: 20\n");
  hangup();
  await running.close();
  expect(running.current()["node.flush.rows"]).toBe(10);
});
