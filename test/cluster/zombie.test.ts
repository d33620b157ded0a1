import { setTimeout as sleep } from "node:timers/promises";
import { pchannelOf } from "@millrace/types";
import { createSeededRandom } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { inFolder } from "./folder.ts";
import type { Target } from "./record.ts";
import { idOfShard, startSession, statusOf } from "./session.ts";
import type { Verdict } from "./verdict.ts";
import { inTime, until } from "./waiting.ts";
import { createWriter } from "./writer.ts";

const lostHeartbeats = new URL("./lost-heartbeats.ts", import.meta.url).href;
const noFences = new URL("./no-fences.ts", import.meta.url).href;
const shards = 16;

interface Outcome {
  acknowledged: boolean;
  verdict: Verdict;
}

/**
 * A node whose heartbeats are lost, and a proxy that hears of no coordinator, do not hear that another node
 * has taken over, and go on. Answers whether what was inserted there was acknowledged, and the verdict.
 */
async function insertAtZombie(folder: string, planted: readonly string[]): Promise<Outcome> {
  const session = await startSession({
    folder,
    collections: { load: shards },
    preloads: { "node-0": [lostHeartbeats, ...planted] },
  });
  try {
    const { cluster, record, proxies, admins, targets } = session;
    const target = targets[0] as Target;
    await session.writeToAll("before");
    const url = cluster.nodes[0]?.url;
    const ownedByZombie = async (): Promise<string[]> => {
      const { nodes, pchannels } = await statusOf(admins.slice(1));
      const zombie = nodes.find(({ address }) => address === url)?.nodeId;
      return pchannels.filter(({ nodeId }) => nodeId === zombie).map(({ name }) => name);
    };
    const [pchannel = ""] = await ownedByZombie();
    const shard = target.vchannels.findIndex((each) => pchannelOf(each) === pchannel);

    cluster.nodes[0]?.signal("SIGUSR2");
    for (const link of cluster.network.links("coord-", "node-0")) link.set({ cut: true });
    for (const link of cluster.network.links("proxy-0", "coord-")) link.set({ cut: true });
    await inTime(
      30_000,
      "another takes over",
      until(async () => {
        const { pchannels } = await statusOf(admins.slice(1));
        const owned = await ownedByZombie();
        return owned.length === 0 && pchannels.every(({ state }) => state === "assigned");
      }),
    );
    // It is served elsewhere, and has been written there.
    await session.writeToAll("meanwhile", proxies[1]);

    const writer = createWriter({
      ...{ name: "late", proxies: proxies.slice(0, 1), targets, record },
      ...{ random: createSeededRandom(1), pauseMs: 0 },
    });
    const inserted = writer.insert(target, [idOfShard("late", shard, shards)]);
    const acknowledged = await Promise.race([
      inserted.then(() => true),
      sleep(3000, false, { ref: false }),
    ]);
    cluster.nodes[0]?.signal("SIGUSR2");
    cluster.network.heal();
    await inTime(20_000, "the late insert is acknowledged", inserted);
    await inTime(20_000, "all is served", session.writeToAll("after"));
    // What the planted fault swallows of a flush, no table will have.
    const tables = planted.length === 0;
    return { acknowledged, verdict: await session.end({ tables }) };
  } finally {
    await session.destroy();
  }
}

test("a node that does not hear that it was replaced acknowledges nothing", {
  timeout: 240_000,
}, async () => {
  await inFolder("zombie", async (folder) => {
    const { acknowledged, verdict } = await insertAtZombie(folder, []);
    expect(acknowledged).toBe(false);
    expect(verdict.wrong).toEqual([]);
  });
});

test("the verdict notices a node that acknowledges what it writes behind a fence", {
  timeout: 240_000,
}, async () => {
  await inFolder("zombie", async (folder) => {
    const { acknowledged, verdict } = await insertAtZombie(folder, [noFences]);
    expect(acknowledged).toBe(true);
    expect(verdict.wrong.join("\n")).toMatch(/: lost: .* was acknowledged at .*, where it is not/);
  });
});
