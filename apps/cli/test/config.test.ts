import { expect, test } from "vitest";
import { schema } from "../src/config/schema/mod.ts";
import { serviceNames, variableOf } from "../src/config/setting.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "../src/config/units.ts";
import { load, refusal } from "./config-support.ts";

test("flags win over the environment, that over the file, and that over defaults", async () => {
  const file = "node:\n  flush:\n    bytes: 1MiB\n    rows: 10\n    idle: 1s\n";
  const env = { MILLRACE_NODE_FLUSH_ROWS: "20", MILLRACE_NODE_FLUSH_IDLE: "2s" };
  const { config, origins } = await load({ file, env, flags: { "node.flush.idle": "3s" } });
  const paths = [
    "node.flush.age",
    "node.flush.bytes",
    "node.flush.rows",
    "node.flush.idle",
  ] as const;
  expect(paths.map((path) => [config[path], origins.get(path)])).toEqual([
    [600_000, { from: "default", place: "" }],
    [1024 * 1024, { from: "file", place: "millrace.yaml:3" }],
    [20, { from: "environment", place: "MILLRACE_NODE_FLUSH_ROWS" }],
    [3000, { from: "flag", place: "--set" }],
  ]);
});

test("an empty variable gives nothing", async () => {
  const { origins } = await load({ env: { MILLRACE_LISTEN: "" } });
  expect(origins.get("standalone.listen")?.from).toBe("default");
});

test("sizes and durations have units of people, or are plain numbers", () => {
  expect(["64MiB", "64 MiB", "1.5kib", "2MB", "7", "7B", "1TiB"].map(parseSize)).toEqual([
    ...[64 * 1024 ** 2, 64 * 1024 ** 2, 1536, 2_000_000, 7, 7, 1024 ** 4],
  ]);
  expect(["10s", "500ms", "1.5h", "1h30m", "1d", "250", "2 m", "1.1s"].map(parseDuration)).toEqual([
    ...[10_000, 500, 5_400_000, 5_400_000, 86_400_000, 250, 120_000, 1100],
  ]);
  for (const text of ["", "MiB", "64MiBs", "-1", "1e3", "1.MiB", "64M", "1 2"]) {
    expect([text, parseSize(text)]).toEqual([text, undefined]);
  }
  for (const text of ["", "s", "10 years", "-1s", "1s2", "1.5", "1e3s"]) {
    expect([text, parseDuration(text)]).toEqual([text, undefined]);
  }
});

test("what is shown may be given", () => {
  for (const bytes of [0, 1, 1000, 1024, 1536, 128_849_018, 64 * 1024 ** 2, 5_000_000]) {
    expect(parseSize(formatSize(bytes))).toBe(bytes);
  }
  for (const ms of [0, 1, 1500, 60_000, 90_000, 86_400_000]) {
    expect(parseDuration(formatDuration(ms))).toBe(ms);
  }
  expect([formatSize(64 * 1024 ** 2), formatDuration(10_000)]).toEqual(["64 MiB", "10s"]);
});

test.each([
  ["node.wal.maxBatchBytes", "abc", 'must be 64 KiB to 64 MiB, got "abc"'],
  ["node.wal.maxBatchBytes", 1024, "must be 64 KiB to 64 MiB, got 1024"],
  ["node.wal.maxBatchBytes", "65MiB", 'must be 64 KiB to 64 MiB, got "65MiB"'],
  ["node.wal.maxBatchBytes", true, "must be 64 KiB to 64 MiB, got true"],
  ["node.wal.maxBatchBytes", 65536.5, "must be 64 KiB to 64 MiB, got 65536.5"],
  ["node.wal.maxBatchBytes", ["64KiB"], 'must be 64 KiB to 64 MiB, got ["64KiB"]'],
  ["node.throttle.rate", "infinite", 'must be 1 KiB to 1 TiB, or unlimited, got "infinite"'],
  ["node.txn.lease", "11m", 'must be 1ms to 10m, got "11m"'],
  ["coord.lease", "soon", 'must be 500ms to 5m, got "soon"'],
  ["coord.pchannels", 0, "must be 1 to 1024, got 0"],
  ["coord.pchannels", "1.5", 'must be 1 to 1024, got "1.5"'],
  ["node.throttle.memory.slowAt", 1.1, "must be 0 to 1, got 1.1"],
  ["node.throttle.memory.slowAt", Number.NaN, "must be 0 to 1, got null"],
  ["coord.balancer.allowRebalance", "maybe", 'must be true or false, got "maybe"'],
  ["coord.balancer.policy", "fair", 'must be vchannel-fair or pchannel-fair, got "fair"'],
  ["log.level", "loud", 'must be debug, info, warn or error, got "loud"'],
  ["coord.listen", "nowhere", 'must be HOST:PORT, such as 127.0.0.1:8530, got "nowhere"'],
  ["coord.meta", "redis://x", /must be file:DIR, .* or memory, got "redis:\/\/x"/],
  ["store", "gs://x", 'must be file:DIR or s3://bucket/prefix, got "gs://x"'],
  ["s3.endpoint", "minio", 'must be a URL, such as http://127.0.0.1:8530, got "minio"'],
  ["coord.meta", "etcd://root:secret@a", /got "etcd:\/\/root:\*{8}@a"/],
  ["node.wal.backend", "kafka", 'must be file, file:DIR or memory, got "kafka"'],
  ["coordinators", [], "must be one or several URLs, such as http://127.0.0.1:8531, got []"],
  ["coordinators", ["a:1"], /must be one or several URLs.*, got \["a:1"\]/],
  ["http.origins", "https://a.example/", /must be \*, or origins such as .*, got/],
  ["http.origins", [""], /must be \*, or origins such as .*, got/],
  ["etcd.user", {}, "must be a name, got {}"],
] as const)("%s is not %j", async (path, raw, problem) => {
  const message = await refusal({ flags: { [path]: raw } });
  if (typeof problem === "string") expect(message).toBe(`--set: ${path}: ${problem}`);
  else expect(message).toMatch(problem);
});

test("values of every kind are taken, as a file and as a variable give them", async () => {
  const { config } = await load({
    flags: {
      "node.throttle.rate": "unlimited",
      "node.throttle.burst": "1 MiB",
      "coord.balancer.allowRebalance": "off",
      "s3.pathStyle": true,
      "coord.balancer.vchannelFair.tolerance": "0.25",
      coordinators: "http://a:1/, http://b:2,http://a:1",
      "node.advertise": "https://node:1/",
      "proxy.listen": "8530",
      "http.origins": ["https://app.example", "http://localhost:5173"],
    },
  });
  expect(config).toMatchObject({
    "node.throttle.rate": Number.POSITIVE_INFINITY,
    "node.throttle.burst": 1024 * 1024,
    "coord.balancer.allowRebalance": false,
    "s3.pathStyle": true,
    "coord.balancer.vchannelFair.tolerance": 0.25,
    coordinators: ["http://a:1", "http://b:2"],
    "node.advertise": "https://node:1",
    "proxy.listen": "8530",
    "http.origins": ["https://app.example", "http://localhost:5173"],
  });
});

test("all that is wrong is told at once, and secrets are not", async () => {
  const message = await refusal({
    file: "coord:\n  lease: never\nlog: {level: loud}\n",
    env: { MILLRACE_ETCD_USER: "root", MILLRACE_NODE_FLUSH_ROWS: "many" },
    flags: { "s3.secretAccessKey": ["hidden"] },
  });
  expect(message.split("; ")).toEqual([
    'millrace.yaml:2: coord.lease: must be 500ms to 5m, got "never"',
    'MILLRACE_NODE_FLUSH_ROWS: node.flush.rows: must be 1 to 1000000000, got "many"',
    "--set: s3.secretAccessKey: must be a key",
    'millrace.yaml:3: log.level: must be debug, info, warn or error, got "loud"',
  ]);
});

test("what does not go together is refused", async () => {
  const cases: [Record<string, unknown>, string][] = [
    [
      { "node.throttle.memory.slowAt": 0.96 },
      "node.throttle.memory.rejectAt: must be above node.throttle.memory.slowAt",
    ],
    [
      { "node.throttle.memory.slowAt": 0.5 },
      "--set: node.throttle.memory.slowAt: must be above node.throttle.memory.recoverBelow",
    ],
    [
      { "node.flush.memoryBytesPerLog": "1GiB" },
      "--set: node.flush.memoryBytesPerLog: must be at most node.flush.memoryBytes",
    ],
    [{ "proxy.maxInsertBytes": "1MiB" }, "proxy.maxRowBytes: must be at most proxy.maxInsertBytes"],
    [{ "etcd.user": "root" }, "etcd.password: goes with etcd.user; give both or none"],
    [
      { "s3.secretAccessKey": "key" },
      "--set: s3.secretAccessKey: goes with s3.accessKeyId; give both or none",
    ],
  ];
  for (const [flags, problem] of cases) expect(await refusal({ flags })).toBe(problem);
});

test("what a service does not run without must be given", async () => {
  expect(await refusal({ service: "node" })).toBe(
    "coordinators: must be given, by --coord, MILLRACE_COORD or a file: one or several URLs, such as http://127.0.0.1:8531; store: must be given, by --store, MILLRACE_STORE or a file: file:DIR or s3://bucket/prefix",
  );
  const file = "coordinators: [http://a:1]\nstore: file:/data\n";
  expect((await load({ service: "node", file })).config.store).toBe("file:/data");
});

test("variables that are much like one of a setting are refused, others left alone", async () => {
  const env = {
    MILLRACE_NODE_FLUSH_BYTE: "1MiB",
    MILLRACE_SERVER: "http://a:1",
    MILLRACE_TEST_SEED: "7",
    MILLRACE_PROXY_SERVICE_HOST: "10.0.0.1",
    MILLRACE_COORD_PORT: "tcp://10.0.0.1:8531",
    MILLRACE_COORD_PORT_8531_TCP: "tcp://10.0.0.1:8531",
  };
  expect(await refusal({ env })).toBe(
    "MILLRACE_NODE_FLUSH_BYTE: there is no such setting; did you mean MILLRACE_NODE_FLUSH_BYTES?",
  );
});

test("every setting says what it does, who reads it, and has a default that may be given", () => {
  for (const [path, setting] of schema) {
    expect(setting.doc, path).toMatch(/^\S.*\.$/);
    expect(setting.services.length, path).toBeGreaterThan(0);
    const { kind, standard } = setting;
    if (standard === undefined || kind.show(standard) === "") continue;
    expect(kind.read(kind.show(standard)), path).toEqual(standard);
    expect(kind.read(standard === Number.POSITIVE_INFINITY ? "unlimited" : standard), path).toEqual(
      standard,
    );
  }
});

test("no two settings of a service have one variable or one flag", () => {
  for (const service of serviceNames) {
    const own = [...schema].filter(([, { services }]) => services.includes(service));
    for (const names of [
      own.map(([path, setting]) => variableOf(path, setting)),
      own.flatMap(([, { flag }]) => (flag === undefined ? [] : [flag])),
    ]) {
      expect(names.toSorted()).toEqual([...new Set(names)].sort());
    }
  }
});
