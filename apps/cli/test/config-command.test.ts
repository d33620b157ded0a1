import { expect, onTestFinished, test, vi } from "vitest";
import { millrace, tempFile } from "./support.ts";

/** Sets variables for one test. */
function setVariables(variables: Record<string, string>): void {
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  onTestFinished(() => {
    vi.unstubAllEnvs();
  });
}

test("config shows what is in force and where it comes from", async () => {
  const file = await tempFile("millrace.yaml", "node:\n  flush:\n    bytes: 128MiB\n");
  setVariables({ MILLRACE_NODE_FLUSH_IDLE: "90s", AWS_ACCESS_KEY_ID: "key" });
  setVariables({ AWS_SECRET_ACCESS_KEY: "never shown" });
  const args = ["--config", file, "--data", "/data", "--set", "node.throttle.rate=32MiB"];
  const { code, stdout, stderr } = await millrace(["config", ...args]);
  expect([code, stderr]).toEqual([0, ""]);
  const rows = stdout.split("\n").map((line) => line.split(/ {2,}/));
  expect(rows[0]).toEqual(["SETTING", "VALUE", "FROM", "CHANGES BY"]);
  expect(rows).toContainEqual(["node.flush.bytes", "128 MiB", "millrace.yaml:3", "reload"]);
  expect(rows).toContainEqual(["node.flush.idle", "90s", "MILLRACE_NODE_FLUSH_IDLE", "reload"]);
  expect(rows).toContainEqual(["node.throttle.rate", "32 MiB", "--set", "reload"]);
  expect(rows).toContainEqual(["standalone.data", "/data", "--data", "restart"]);
  expect(rows).toContainEqual(["coord.lease", "5s", "default", "restart"]);
  expect(rows).toContainEqual([
    ...["s3.secretAccessKey", "********", "AWS_SECRET_ACCESS_KEY", "restart"],
  ]);
  expect(stdout).not.toContain("never shown");
  expect(stdout).not.toContain("node.listen");
});

test("config --json is for programs, and hides secrets as well", async () => {
  setVariables({ MILLRACE_COORD: "http://user:hidden@a:1,http://b:2", MILLRACE_STORE: "file:/x" });
  const { stdout } = await millrace(["config", "node", "--json", "--set", "node.tail.age=2s"]);
  const settings = JSON.parse(stdout);
  expect(settings).toMatchObject({
    coordinators: {
      value: ["http://user:********@a:1", "http://b:2"],
      ...{ from: "environment", place: "MILLRACE_COORD", hot: false },
    },
    "node.tail.age": { value: 2000, from: "flag", place: "--set", hot: false },
    "node.throttle.rate": { value: "unlimited", from: "default", place: "", hot: true },
    "s3.endpoint": { value: null, from: "default" },
  });
  expect(settings).not.toHaveProperty("coord.lease");
});

test.each([
  [
    ["config", "proxy", "--coord", "http://a", "--set", "proxy.tailBites=1"],
    "millrace: --set: proxy.tailBites: there is no such setting; did you mean proxy.tailBytes?\n",
  ],
  [["config", "--set", "proxy.tailBytes"], "millrace: --set proxy.tailBytes: give PATH=VALUE\n"],
  [
    ["config", "coord", "--set", "coord.lease=1"],
    'millrace: --set: coord.lease: must be 500ms to 5m, got "1"\n',
  ],
  [["config", "redis"], "millrace: too many arguments.*\n"],
  [["coord", "--pchannels", "0"], 'millrace: --pchannels: coord.pchannels: must be .*, got "0"\n'],
  [["proxy", "--config", "none.yaml"], "millrace: cannot read none.yaml: no such file or folder\n"],
] as const)("%j is refused", async (args, problem) => {
  const { code, stderr } = await millrace(args);
  expect(stderr).toMatch(new RegExp(`^${problem.replace(/[?+]/g, "\\$&")}$`));
  expect(code).toBe(2);
});
