import { expect, test } from "vitest";
import { isShared, parseLogSpec, parseMetaSpec, parseStoreSpec } from "../src/config/locations.ts";
import {
  parseBaseUrl,
  parseBaseUrls,
  parseDuration,
  parseInteger,
  parseListenAddress,
} from "../src/options.ts";
import { allCommands, createProgram } from "../src/program.ts";
import { openObjectStore } from "../src/wiring/object-store.ts";
import { systemClock, systemRandom } from "@millrace/types/node";

const program = createProgram({
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  clock: systemClock,
  random: systemRandom,
  onHangup: () => () => undefined,
  signal: new AbortController().signal,
});

test("every flag has an environment variable and a line of help", () => {
  const commands = allCommands(program);
  const names = commands.map((command) => command.name());
  for (const name of [
    "standalone",
    "coord",
    "node",
    "proxy",
    "config",
    "insert",
    "flush",
    "tail",
    "status",
  ]) {
    expect(names).toContain(name);
  }
  for (const command of commands) {
    expect(command.description(), command.name()).not.toBe("");
    const help = command.helpInformation().replace(/\s+/g, " ");
    for (const option of command.options) {
      // Every setting that --set may give has a variable of its own.
      if (option.long === "--version" || option.long === "--set") continue;
      const variable = `MILLRACE_${option.long?.slice(2).replaceAll("-", "_").toUpperCase()}`;
      expect(option.envVar).toBe(variable);
      expect(help).toContain(`env: ${variable}`);
      expect(option.description, option.flags).not.toBe("");
    }
  }
});

test.each([
  ["127.0.0.1:8530", "127.0.0.1", 8530],
  ["localhost:0", "localhost", 0],
  [":80", "127.0.0.1", 80],
  ["8530", "127.0.0.1", 8530],
  ["[::1]:8530", "::1", 8530],
])("%s is where to listen", (text, host, port) => {
  expect(parseListenAddress(text)).toEqual({ host, port });
});

test.each(["", "nonsense", "host", "host:", "host:99999", "::1:80", "http://host:1"])(
  "%j is not where to listen",
  (text) => {
    expect(() => parseListenAddress(text)).toThrow("HOST:PORT");
  },
);

test("URLs, numbers and durations", () => {
  expect(parseBaseUrl("http://a:1/")).toBe("http://a:1");
  expect(() => parseBaseUrl("a:1")).toThrow("URL");
  expect(parseInteger(1, 9)("9")).toBe(9);
  expect(() => parseInteger(1, 9)("10")).toThrow("from 1 to 9");
  expect(() => parseInteger(1, 9)("1.5")).toThrow();
  expect(["500ms", "1.5s", "2m", "1h"].map(parseDuration)).toEqual([500, 1500, 120_000, 3_600_000]);
  expect(() => parseDuration("5")).toThrow("duration");
});

test("where tables and logs are", () => {
  expect(parseStoreSpec("file:/data/x")).toEqual({ type: "file", dir: "/data/x" });
  expect(parseStoreSpec("file:///data/x")).toEqual({ type: "file", dir: "/data/x" });
  expect(parseStoreSpec("s3://bucket/a/b/")).toEqual({
    type: "s3",
    bucket: "bucket",
    prefix: "a/b",
  });
  expect(parseStoreSpec("s3://bucket")).toEqual({ type: "s3", bucket: "bucket", prefix: "" });
  expect(() => parseStoreSpec("gs://x")).toThrow("s3://bucket/prefix");
  expect(parseLogSpec("memory")).toEqual({ type: "memory" });
  expect(parseLogSpec("file")).toEqual({ type: "file", dir: undefined });
  expect(() => parseLogSpec("kafka")).toThrow("memory");
});

test("a store in S3 needs a key", async () => {
  await expect(openObjectStore("s3://bucket")).rejects.toThrow("AWS_SECRET_ACCESS_KEY");
});

test("coordinators are one URL or several", () => {
  expect(parseBaseUrls("http://a:1/, http://b:2,http://a:1")).toEqual(["http://a:1", "http://b:2"]);
  expect(() => parseBaseUrls("http://a:1,")).toThrow("Give a URL");
});

test("metadata is in a folder, in objects, in etcd or in memory", () => {
  expect(parseMetaSpec("memory")).toEqual({ type: "memory" });
  const folder = parseMetaSpec("shared:/data/meta");
  expect(folder).toEqual({ type: "objects", store: "file:/data/meta" });
  const bucket = parseMetaSpec("s3://bucket/prefix");
  expect(bucket).toEqual({ type: "objects", store: "s3://bucket/prefix" });
  expect([folder, bucket].map(isShared)).toEqual([true, true]);
  expect(parseMetaSpec("file:/data/meta")).toEqual({ type: "file", dir: "/data/meta" });
  expect(parseMetaSpec("etcd://a")).toEqual({
    type: "etcd",
    endpoints: ["http://a:2379"],
    prefix: "millrace",
  });
  const several = parseMetaSpec("etcds://a:2379,[::1]:2379/clusters/one/");
  expect(several).toEqual({
    type: "etcd",
    endpoints: ["https://a:2379", "https://[::1]:2379"],
    prefix: "clusters/one",
  });
  expect([parseMetaSpec("memory"), several].map(isShared)).toEqual([false, true]);
});

test.each([
  "",
  "file:",
  "shared:",
  "s3://",
  "etcd:",
  "etcd://",
  "etcd:///prefix",
  "etcd://user:secret@host",
  "etcd://a,,b",
])("%j is not where metadata is", (text) => {
  expect(() => parseMetaSpec(text)).toThrow("etcd://HOST:PORT/PREFIX");
});
