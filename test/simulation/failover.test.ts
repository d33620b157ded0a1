import { fromBinary } from "@bufbuild/protobuf";
import { columnsToRows, isControlChannel, MillraceError } from "@millrace/types";
import { ColumnBatchSchema, DataType, MessageType } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { createSimulation, type Simulation } from "./cluster.ts";

const seeds = Number(process.env.MILLRACE_TEST_SEEDS ?? 3);
const firstSeed = Number(process.env.MILLRACE_TEST_SEED ?? 1);
const hour = 3_600_000;
const schema = {
  fields: [
    { name: "id", type: DataType.INT64, primaryKey: true, autoId: true },
    { name: "n", type: DataType.INT64 },
  ],
};

/** What clients do all the while, and what they were told. */
function startClients({ client, clock, settle }: Simulation) {
  const acknowledged = new Set<number>();
  const live = new Set<string>();
  const unsure = new Set<string>();
  let changes = 0;
  let stopping = false;
  const pause = (ms: number) => new Promise<void>((resolve) => clock.schedule(ms, resolve));

  /** Calls again while it is safe to; `false` if the outcome is not known. */
  const change = async (call: () => Promise<unknown>): Promise<boolean> => {
    for (;;) {
      try {
        await call();
        changes += 1;
        return true;
      } catch (error) {
        if (!MillraceError.is(error)) throw error;
        if (error.maybeApplied) return false;
        if (!error.retryable) throw error;
        await pause(50);
      }
    }
  };
  const insert = async (writer: number): Promise<void> => {
    for (let batch = 0; !stopping; batch++) {
      const numbers = Array.from({ length: 5 }, (_, i) => writer * 1e6 + batch * 5 + i);
      const rows = numbers.map((n) => ({ n }));
      const request = { collection: "events", rows, idempotencyKey: `${writer}/${batch}` };
      for (let done = false; !done; ) {
        try {
          await client.insert(request);
          done = true;
        } catch (error) {
          if (!MillraceError.is(error) || !error.retryable) throw error;
          await pause(50);
        }
      }
      for (const n of numbers) acknowledged.add(n);
      await pause(60);
    }
  };
  const alter = async (writer: number): Promise<void> => {
    for (let i = 0; !stopping; i++) {
      const name = `c_${writer}_${i}`;
      const created = await change(() => client.createCollection({ name, shards: 2, schema }));
      if (created) live.add(name);
      else unsure.add(name);
      if (created && i % 2 === 0) {
        live.delete(name);
        if (!(await change(() => client.dropCollection({ name })))) unsure.add(name);
      }
      await pause(150);
    }
  };
  const over = Promise.all([insert(0), insert(1), alter(0), alter(1)]);
  return {
    acknowledged,
    live,
    unsure,
    changes: () => changes,
    async stop() {
      stopping = true;
      await settle(over);
    },
  };
}

/** Asks coordinators for ticks and ids, one call after the other, whether they lead or not. */
function startObserver({ allocatorOf, clock, coords, random, settle }: Simulation) {
  const ids: [first: bigint, end: bigint][] = [];
  let ticks = 0;
  let last = 0n;
  let stopping = false;
  const limited = async <T>(call: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> => {
    const limit = new AbortController();
    const cancel = clock.schedule(30, () => limit.abort(new MillraceError("CANCELLED", "late")));
    try {
      return await call(limit.signal);
    } catch (error) {
      if (!MillraceError.is(error)) throw error;
      return undefined;
    } finally {
      cancel();
    }
  };
  const observe = async (): Promise<void> => {
    while (!stopping) {
      await new Promise<void>((resolve) => clock.schedule(5, resolve));
      const allocator = allocatorOf(Math.floor(random.next() * coords.length));
      const block = await limited((signal) =>
        allocator.allocateTimestamps({ count: 10 }, { signal }),
      );
      if (block) {
        expect(block.first).toBeGreaterThan(last);
        last = block.first + 9n;
        ticks += 1;
      }
      const taken = await limited((signal) => allocator.allocateIds({ count: 7 }, { signal }));
      if (taken) ids.push([taken.first, taken.first + 7n]);
    }
  };
  const over = observe();
  over.catch(() => undefined);
  return {
    async stop() {
      stopping = true;
      await settle(over);
      expect(ticks).toBeGreaterThan(10);
      ids.sort(([a], [b]) => (a < b ? -1 : 1));
      for (const [i, [first]] of ids.slice(1).entries()) {
        expect(first).toBeGreaterThanOrEqual(ids[i]?.[1] ?? 0n);
      }
    },
  };
}

async function checkLogs(simulation: Simulation, rows: ReadonlySet<number>): Promise<void> {
  const { collections } = await simulation.client.listCollections({});
  const living = new Set(collections.flatMap(({ vchannels }) => vchannels));
  const seen: number[] = [];
  const changes = new Map<string, number[]>();
  for (const [pchannel, messages] of await simulation.logs()) {
    let last = 0n;
    for (const { tick, type, vchannel, payload } of messages) {
      expect(tick, pchannel).toBeGreaterThan(last);
      last = tick;
      if (type === MessageType.INSERT) {
        const batch = fromBinary(ColumnBatchSchema, payload);
        seen.push(...columnsToRows(batch).map(({ n }) => Number(n)));
      } else if (vchannel !== "" && !isControlChannel(vchannel)) {
        if (type !== MessageType.CREATE_SEGMENT) {
          changes.set(vchannel, [...(changes.get(vchannel) ?? []), type]);
        }
      }
    }
  }
  const distinct = new Set(seen);
  expect(distinct.size).toBe(seen.length);
  expect([...rows].filter((n) => !distinct.has(n))).toEqual([]);
  const { CREATE_COLLECTION, DROP_COLLECTION } = MessageType;
  for (const [vchannel, types] of changes) {
    const dropped = living.has(vchannel) ? [] : [DROP_COLLECTION];
    expect([vchannel, types]).toEqual([vchannel, [CREATE_COLLECTION, ...dropped]]);
  }
  for (const vchannel of living) expect(changes.has(vchannel)).toBe(true);
}

/** No assignment of a deposed coordinator was obeyed after one of its successor. */
function checkObeyed({ obeyed }: Simulation): void {
  const terms = new Map<string, bigint>();
  for (const { pchannel, term, node } of obeyed) {
    expect(term, `${pchannel} at ${node}`).toBeGreaterThan(terms.get(pchannel) ?? 0n);
    terms.set(pchannel, term);
  }
}

/** Does something to a coordinator. */
function disturb({ coords, random, startCoord }: Simulation): string {
  const index = Math.floor(random.next() * coords.length);
  const leader = coords.findIndex(
    ({ coord, host }) => host.state === "running" && coord.isActive(),
  );
  // The one that leads is the one to hit.
  const victim = random.next() < 0.7 && leader >= 0 ? leader : index;
  const { host } = coords[victim] ?? startCoord(victim);
  if (host.state === "paused") {
    host.resume();
    return `resume ${victim}`;
  }
  if (host.state === "ended") {
    startCoord(victim);
    return `start ${victim}`;
  }
  const choice = random.next();
  if (choice < 0.2) {
    host.jump(random.next() < 0.5 ? hour : -hour);
    return `jump ${victim}`;
  }
  if (choice < 0.45) {
    host.kill();
    return `kill ${victim}`;
  }
  if (choice < 0.8) {
    host.pauseBeforeWrite(Math.floor(random.next() * 4));
    return `pause ${victim} before a write`;
  }
  host.pause();
  return `pause ${victim}`;
}

const all = Array.from({ length: seeds }, (_, index) => firstSeed + index);

test.each(all)(
  "seed %i: coordinators are killed, stand still and go on, with clocks that jump",
  {
    timeout: 120_000,
  },
  async (seed) => {
    const simulation = createSimulation({ seed, coordinators: 3, nodes: 2 });
    const { client, coords, random, advance, until, settle, start } = simulation;
    await start();
    await settle(client.createCollection({ name: "events", shards: 4, schema }));
    const clients = startClients(simulation);
    const observer = startObserver(simulation);
    const steps: string[] = [];
    try {
      for (let step = 0; step < 10; step++) {
        await advance(Math.floor(random.next() * 4500));
        steps.push(disturb(simulation));
      }
      for (const [index, { host }] of coords.entries()) {
        host.resume();
        if (host.state === "ended") simulation.startCoord(index);
      }
      // A lease, and what is left of the one before.
      const [rows, changes] = [clients.acknowledged.size, clients.changes()];
      await until(
        "rows and changes go on",
        () => clients.acknowledged.size > rows + 10 && clients.changes() > changes + 3,
        20_000,
      );
      await clients.stop();
      await observer.stop();
      const { collections } = await settle(client.listCollections({}));
      const names = collections.map(({ name }) => name).filter((name) => !clients.unsure.has(name));
      expect(names.sort()).toEqual(["events", ...clients.live].sort());
      await checkLogs(simulation, clients.acknowledged);
      checkObeyed(simulation);
    } catch (error) {
      throw new Error(`seed ${seed} after ${steps.join(", ")}`, { cause: error });
    }
    await simulation.close();
  },
);
