import { expect, test } from "vitest";
import { startFakeServer } from "./fake-server.ts";
import { millrace } from "./support.ts";

/** Runs `millrace admin` against a fake server. */
async function setUp() {
  const fake = await startFakeServer();
  const admin = (...args: string[]) => millrace(["admin", ...args, "--server", fake.url]);
  return { fake, admin };
}

test("nodes are listed with their state", async () => {
  const { fake, admin } = await setUp();
  expect((await admin("nodes")).stdout).toMatch(
    /^NODE +ADDRESS +STATE +PCHANNELS\nn1 +local:n1 +alive +1\n$/,
  );
  fake.frozen.add("n1");
  expect((await admin("nodes")).stdout).toMatch(/n1 +local:n1 +alive, frozen +1\n/);
  expect(JSON.parse((await admin("nodes", "--json")).stdout)).toEqual([
    {
      nodeId: "n1",
      address: "local:n1",
      alive: true,
      draining: false,
      frozen: true,
      pchannels: 1,
    },
  ]);
});

test("channels are listed with owner, term and when they were assigned", async () => {
  const { admin } = await setUp();
  expect((await admin("channels")).stdout).toMatch(
    /millrace-dml_0 +3 +assigned +n1 +0 +2025-06-15T15:06:40\.000Z +transferred, stays\n$/,
  );
  expect(JSON.parse((await admin("channels", "--json")).stdout)).toMatchObject([
    { name: "millrace-dml_0", term: "3", nodeId: "n1", transferred: true, formerNodeIds: [] },
  ]);
});

test("a node is frozen and unfrozen", async () => {
  const { fake, admin } = await setUp();
  expect(await admin("freeze", "n1")).toEqual({
    code: 0,
    stdout: "froze n1; its pchannels move to other nodes\n",
    stderr: "",
  });
  expect([...fake.frozen]).toEqual(["n1"]);
  expect(JSON.parse((await admin("unfreeze", "n1", "--json")).stdout)).toEqual({ unfrozen: "n1" });
  expect([...fake.frozen]).toEqual([]);
});

test("a pchannel is transferred", async () => {
  const { admin } = await setUp();
  const moved = await admin("transfer", "millrace-dml_0", "n1");
  expect(moved.stdout).toBe("n1 owns millrace-dml_0 at term 4\n");
  const json = await admin("transfer", "millrace-dml_0", "n1", "--json");
  expect(JSON.parse(json.stdout)).toEqual({ pchannel: "millrace-dml_0", node: "n1", term: "4" });
});

test("the policy is shown and chosen, and rebalancing switched", async () => {
  const { fake, admin } = await setUp();
  expect((await admin("policy")).stdout).toBe(
    "POLICY\nvchannel-fair  in force\npchannel-fair\n\npchannels are moved for the sake of balance\n",
  );
  const chosen = await admin("policy", "pchannel-fair", "--rebalance", "off");
  expect(chosen.stdout).toBe(
    "POLICY\nvchannel-fair\npchannel-fair  in force\n\nno pchannel is moved for the sake of balance\n",
  );
  await admin("policy", "--rebalance", "on");
  expect(fake.balance).toEqual({ policy: "pchannel-fair", allowRebalance: true });
  expect(JSON.parse((await admin("policy", "--json")).stdout)).toMatchObject(fake.balance);
});

test("what is refused is one line that names what exists", async () => {
  const { admin } = await setUp();
  for (const args of [
    ["freeze", "x"],
    ["unfreeze", "x"],
    ["transfer", "millrace-dml_0", "x"],
  ]) {
    expect(await admin(...args)).toEqual({
      code: 1,
      stdout: "",
      stderr: 'millrace: there is no living node "x"; known: n1\n',
    });
  }
});

test("changes under way are listed with what they wait for", async () => {
  const { admin } = await setUp();
  expect((await admin("broadcasts")).stdout).toMatch(
    /42 +CREATE_COLLECTION +collection a +appending +1 of 2 +2025-06-15T\S+ +millrace-dml_1_1v1: nobody owns it\n$/,
  );
  expect(JSON.parse((await admin("broadcasts", "--json")).stdout)).toMatchObject([
    { id: "42", type: "MESSAGE_TYPE_CREATE_COLLECTION", state: "appending", problem: "" },
  ]);
});

test("status tells of changes that do not proceed", async () => {
  const { fake } = await setUp();
  expect((await millrace(["status", "--server", fake.url])).stdout).toMatch(
    /\nchange 42, CREATE_COLLECTION of collection a, is under way since 2025-06-15T\S+: millrace-dml_1_1v1: nobody owns it\n$/,
  );
});

test("a change that is stuck is aborted, by force if shards may have it", async () => {
  const { admin } = await setUp();
  const refused = await admin("abort", "42");
  expect([refused.code, refused.stderr]).toEqual([
    1,
    "millrace: a shard may have it; force finish or forget\n",
  ]);
  expect((await admin("abort", "42", "--force", "forget")).stdout).toBe("aborted 42\n");
  expect((await admin("abort", "7")).stderr).toBe("millrace: there is no broadcast 7\n");
  expect((await admin("abort", "x")).code).toBe(2);
  expect((await admin("abort", "42", "--force", "hard")).code).toBe(2);
});
