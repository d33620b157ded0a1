import { MillraceError } from "@millrace/types";
import { MessageType } from "@millrace/types/gen";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createCluster, type RunningCoord, schemaOf, underWay } from "./cluster.ts";

const names = ["a", "b", "c"];
const step = fc.tuple(
  fc.oneof(
    fc.record({ do: fc.constant("create"), on: fc.nat({ max: 2 }) }),
    fc.record({ do: fc.constant("drop"), on: fc.nat({ max: 2 }) }),
    fc.record({ do: fc.constant("start node"), on: fc.nat({ max: 2 }) }),
    fc.record({ do: fc.constant("kill node"), on: fc.nat({ max: 2 }) }),
    fc.record({ do: fc.constant("crash coord"), on: fc.nat({ max: 6 }) }),
    fc.record({ do: fc.constant("lose answers"), on: fc.nat({ max: 2 }) }),
  ),
  fc.integer({ min: 0, max: 3000 }),
);

test("whatever crashes: catalog and logs agree, and each message stands once", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.array(step, { maxLength: 12 }), async (seed, steps) => {
      const cluster = createCluster(seed);
      let coord: RunningCoord = await cluster.startCoord();
      const calls: Promise<unknown>[] = [];
      const call = (promise: Promise<unknown>): void => {
        calls.push(promise.catch((error) => expect(MillraceError.is(error)).toBe(true)));
      };
      cluster.startNode("n-0");
      for (const [{ do: action, on }, wait] of steps) {
        const name = names[on] ?? "a";
        const node = cluster.nodes.get(`n-${on}`);
        if (action === "create") {
          call(coord.catalog.catalogCreateCollection({ name, schema: schemaOf(), shards: 2 }));
        }
        if (action === "drop") call(coord.catalog.catalogDropCollection({ name }));
        if (action === "start node" && (!node || node.dead)) cluster.startNode(`n-${on}`);
        if (action === "kill node" && node) node.dead = true;
        if (action === "lose answers" && node) {
          let lost = 3;
          node.afterAppend = () => {
            if (lost-- > 0) throw new MillraceError("UNAVAILABLE", "the answer was lost");
          };
        }
        if (action === "crash coord") {
          coord.meta.severAfter(on);
          await cluster.advance(wait);
          await coord.crash();
          coord = await cluster.startCoord();
        }
        await cluster.advance(wait);
      }
      cluster.startNode("n-9");
      await cluster.advance(40_000);
      await cluster.settle(Promise.all(calls));

      expect(await underWay(coord)).toEqual([]);
      const { collections } = await coord.catalog.catalogListCollections({});
      const living = new Set(collections.flatMap((collection) => collection.vchannels));
      expect(new Set(collections.map((c) => c.name)).size).toBe(collections.length);
      for (const [vchannel, log] of cluster.logs) {
        const types = log.map((message) => message.type);
        const dropped = living.has(vchannel) ? [] : [MessageType.DROP_COLLECTION];
        expect([vchannel, types]).toEqual([vchannel, [MessageType.CREATE_COLLECTION, ...dropped]]);
      }
      for (const vchannel of living) expect(cluster.logs.has(vchannel)).toBe(true);
      await coord.close();
    }),
    { numRuns: 40 },
  );
});
