/**
 * Faults, chosen from a seed: what is broken, for how long, and what goes on at the same time.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@connectrpc/connect";
import { MillraceError, type Random } from "@millrace/types";
import type { AdminService } from "@millrace/types/gen";
import { type ChaosCluster, etcdName, s3Name } from "./cluster.ts";
import type { Trouble } from "./network.ts";

/** Something that is broken for a while. */
export interface Fault {
  what: string;
  /** No two faults at one time may concern the same thing. */
  concerns: string;
  ms: number;
  begin(): Promise<void>;
  end(): Promise<void>;
}

/** Options of {@linkcode createFaults}. */
export interface FaultsOptions {
  cluster: ChaosCluster;
  /** For what operators do. */
  admins: readonly Client<typeof AdminService>[];
  random: Random;
  /** The cluster has an S3 server. */
  hasS3: boolean;
  /** Tells of what happens. */
  log: (what: string) => void;
}

/** Breaks a cluster. */
export interface Faults {
  /** How often each kind of fault happened. */
  counts: Map<string, number>;
  /** Breaks things, one at a time and several at once, until the time is over; then all is whole. */
  run(untilMs: number): Promise<void>;
}

/** A node's lease is 5 seconds: one that stands still for longer was taken for dead. */
const pauseMs = { least: 6000, most: 12_000 };

/** Creates what breaks a cluster. */
export function createFaults(options: FaultsOptions): Faults {
  const { cluster, admins, random, hasS3, log } = options;
  const { members, network, etcd } = cluster;
  const counts = new Map<string, number>();
  const below = (n: number): number => Math.floor(random.next() * n);
  const between = (least: number, most: number): number => least + below(most - least);
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;

  const kill = (): Fault => {
    const member = pick(members);
    return {
      what: `kill ${member.name}`,
      concerns: member.name,
      ms: between(0, 8000),
      begin: () => member.kill(),
      end: () => member.start(),
    };
  };

  const restart = (): Fault => {
    const member = pick(members);
    return {
      what: `stop ${member.name}`,
      concerns: member.name,
      ms: between(0, 3000),
      begin: async () => {
        const code = await member.stop();
        if (code !== 0) throw new Error(`${member.name} ended with ${code} after SIGTERM`);
      },
      end: () => member.start(),
    };
  };

  const pause = (): Fault => {
    const member = pick(members);
    return {
      what: `pause ${member.name}`,
      concerns: member.name,
      ms: between(pauseMs.least, pauseMs.most),
      begin: async () => member.signal("SIGSTOP"),
      end: async () => member.signal("SIGCONT"),
    };
  };

  const trouble = (): { what: string; trouble: Trouble } =>
    pick<{ what: string; trouble: Trouble }>([
      { what: "cut", trouble: { cut: true } },
      { what: "hold", trouble: { held: ["there", "back"] } },
      { what: "hold what goes", trouble: { held: ["there"] } },
      { what: "hold what comes", trouble: { held: ["back"] } },
    ]);

  const onNetwork = (what: string, one: string, other: string | undefined, how: Trouble): Fault => {
    const links = network.between(one, other);
    return {
      what,
      concerns: other === undefined ? `network of ${one}` : `network of ${one} and ${other}`,
      ms: between(2000, 12_000),
      begin: async () => {
        for (const link of links) link.set(how);
      },
      end: async () => {
        for (const link of links) link.set({});
      },
    };
  };

  const partition = (): Fault => {
    const links = network.between(pick(members).name);
    const { from, to } = pick(links);
    const { what, trouble: how } = trouble();
    return onNetwork(`${what} between ${from} and ${to}`, from, to, how);
  };

  const isolate = (): Fault => {
    const { name } = pick(members);
    const { what, trouble: how } = trouble();
    return onNetwork(`${what} between ${name} and all`, name, undefined, how);
  };

  const slow = (): Fault => {
    const { name } = pick(members);
    const delayMs = between(20, 400);
    return onNetwork(`slow ${name} by ${delayMs} ms`, name, undefined, { delayMs });
  };

  const killEtcd = (): Fault => ({
    what: "kill etcd",
    concerns: etcdName,
    ms: between(0, 6000),
    begin: () => etcd.kill(),
    end: () => etcd.start(),
  });

  const freezeEtcd = (): Fault => ({
    what: "pause etcd",
    concerns: etcdName,
    ms: between(2000, 8000),
    begin: async () => etcd.freeze(),
    end: async () => etcd.thaw(),
  });

  const withoutS3 = (): Fault => {
    const { what, trouble: how } = trouble();
    return onNetwork(`${what} between ${s3Name} and all`, s3Name, undefined, how);
  };

  /** Operators may be refused, or not be heard; what they ask for is done or not. */
  const ask = async (
    what: string,
    call: (admin: Client<typeof AdminService>) => Promise<unknown>,
  ): Promise<void> => {
    try {
      await call(pick(admins));
    } catch (reason) {
      log(`${what} was answered with ${MillraceError.from(reason).code}`);
    }
  };

  const freezeNode = (): Fault => {
    const name = pick(cluster.nodes).name;
    let nodeId = "";
    return {
      what: `freeze ${name}`,
      concerns: "operators",
      ms: between(2000, 8000),
      begin: () =>
        ask(`freeze ${name}`, async (admin) => {
          const signal = AbortSignal.timeout(5000);
          const { nodes } = await admin.getClusterStatus({}, { signal });
          const url = cluster.nodes.find((node) => node.name === name)?.url;
          nodeId = nodes.find(({ address }) => address === url)?.nodeId ?? "";
          await admin.freezeNode({ nodeId }, { signal });
        }),
      // One that stays frozen is a cluster with a node less.
      end: async () => {
        if (nodeId !== "") await untilDone(admins, (admin) => admin.unfreezeNode({ nodeId }));
      },
    };
  };

  const transfer = (): Fault => ({
    what: "transfer",
    concerns: "operators",
    ms: 0,
    begin: () =>
      ask("transfer", async (admin) => {
        const signal = AbortSignal.timeout(10_000);
        const { nodes, pchannels } = await admin.getClusterStatus({}, { signal });
        const pchannel = pick(pchannels.filter(({ vchannels }) => vchannels > 0));
        const { nodeId = "" } = pick(nodes.filter(({ alive }) => alive)) ?? {};
        await admin.transferPchannel({ pchannel: pchannel?.name ?? "", nodeId }, { signal });
      }),
    end: async () => undefined,
  });

  const kinds: [weight: number, make: () => Fault][] = [
    [5, kill],
    [1, restart],
    [4, pause],
    [4, partition],
    [2, isolate],
    [2, slow],
    [1, killEtcd],
    [1, freezeEtcd],
    [hasS3 ? 2 : 0, withoutS3],
    [1, freezeNode],
    [2, transfer],
  ];
  const weights = kinds.reduce((sum, [weight]) => sum + weight, 0);

  const choose = (): Fault => {
    let dice = below(weights);
    for (const [weight, make] of kinds) {
      if (dice < weight) return make();
      dice -= weight;
    }
    return kill();
  };

  /** Different things that are broken at about the same time. */
  const plan = (): Fault[] => {
    const dice = random.next();
    const count = dice < 0.35 ? 1 : dice < 0.8 ? 2 + below(2) : 5;
    const faults: Fault[] = [];
    while (faults.length < count) {
      const fault = choose();
      if (!faults.some(({ concerns }) => concerns === fault.concerns)) faults.push(fault);
    }
    return faults;
  };

  const happen = async (fault: Fault, afterMs: number): Promise<void> => {
    const { what, ms } = fault;
    await sleep(afterMs);
    log(`${what} for ${(ms / 1000).toFixed(1)} s`);
    const kind = what.split(" ")[0] ?? what;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    try {
      await fault.begin();
      await sleep(ms);
    } finally {
      await fault.end();
    }
    log(`${what} is over`);
  };

  return {
    counts,
    async run(untilMs) {
      while (performance.now() < untilMs) {
        await Promise.all(plan().map((fault) => happen(fault, below(3000))));
        await sleep(between(200, 2500));
      }
      network.heal();
    },
  };
}

async function untilDone(
  admins: readonly Client<typeof AdminService>[],
  call: (admin: Client<typeof AdminService>) => Promise<unknown>,
): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const admin = admins[attempt % admins.length] as Client<typeof AdminService>;
    try {
      await call(admin);
      return;
    } catch (error) {
      if (!MillraceError.is(error) || error.code === "INVALID_ARGUMENT") throw error;
      await sleep(200);
    }
  }
}
