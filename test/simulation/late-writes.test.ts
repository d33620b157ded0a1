import { isControlChannel, MillraceError } from "@millrace/types";
import { DataType, MessageType } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { createSimulation, type Simulation } from "./cluster.ts";

const schema = { fields: [{ name: "id", type: DataType.INT64, primaryKey: true }] };

/** Calls again until the outcome is known. */
async function insist({ clock }: Simulation, call: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await call();
      return;
    } catch (error) {
      if (MillraceError.is(error, "COLLECTION_NOT_FOUND")) return;
      if (!MillraceError.is(error) || !error.retryable) throw error;
      await new Promise<void>((resolve) => clock.schedule(50, resolve));
    }
  }
}

function leaderOf({ coords }: Simulation): number {
  return coords.findIndex(({ host, coord }) => host.state === "running" && coord.isActive());
}

// A change takes about ten writes, and renewals of the lead come between them.
test.each(Array.from({ length: 12 }, (_, writes) => writes))(
  "a coordinator stands still before write %i of a change, and goes on when the collection is gone again",
  async (writes) => {
    const simulation = createSimulation({ seed: writes, coordinators: 2, nodes: 2 });
    const { client, coords, until, settle, advance } = simulation;
    await simulation.start();
    await advance(1000);
    const first = leaderOf(simulation);
    coords[first]?.host.pauseBeforeWrite(writes);
    const created = insist(simulation, () =>
      client.createCollection({ name: "x", shards: 2, schema }),
    );
    await until("another one leads", () => {
      const leader = leaderOf(simulation);
      return leader >= 0 && leader !== first;
    });
    await settle(created);
    await settle(insist(simulation, () => client.dropCollection({ name: "x" })));
    coords[first]?.host.resume();
    await advance(2000);

    const second = leaderOf(simulation);
    expect(second).not.toBe(first);
    coords[second]?.host.kill();
    await until("the first one leads again", () => leaderOf(simulation) === first);
    expect((await settle(client.listCollections({}))).collections).toEqual([]);
    await settle(
      insist(simulation, () => client.createCollection({ name: "x", shards: 2, schema })),
    );
    await settle(client.insert({ collection: "x", rows: [{ id: 1 }] }));

    const { CREATE_COLLECTION, DROP_COLLECTION, INSERT } = MessageType;
    const stories = new Map<string, number[]>();
    for (const { type, vchannel } of [...(await simulation.logs()).values()].flat()) {
      if (vchannel === "" || isControlChannel(vchannel)) continue;
      if (type === MessageType.CREATE_SEGMENT || type === INSERT) continue;
      stories.set(vchannel, [...(stories.get(vchannel) ?? []), type]);
    }
    const counts = [...stories.values()].map((types) => types.join());
    const whole = [CREATE_COLLECTION, DROP_COLLECTION].join();
    expect(new Set(counts)).toEqual(new Set([whole, String(CREATE_COLLECTION)]));
    expect(counts.filter((story) => story === String(CREATE_COLLECTION)).length).toBe(2);
    await simulation.close();
  },
);
