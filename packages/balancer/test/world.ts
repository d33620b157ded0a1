import type { MetaStore } from "@millrace/storage";
import { type Clock, delay, MillraceError, type Random } from "@millrace/types";
import type { BalancerNode, NodeCalls, Owner } from "../src/mod.ts";

interface FakeNode extends BalancerNode {
  held: Map<string, number>;
  /** The highest term that it was told of, by pchannel, and whether it was to open it. */
  intents: Map<string, { term: number; wanted: boolean }>;
  end: AbortController;
}

/** Nodes that keep what they are assigned, and check what must hold at each call. */
export interface World {
  calls: NodeCalls;
  nodes(): BalancerNode[];
  join(nodeId: string): void;
  kill(nodeId: string): void;
  drain(nodeId: string): void;
  /** The next `count` calls fail, half of them after they had their effect. */
  failNext(count: number): void;
  /** Who holds a pchannel now, by node. */
  holders(pchannel: string): { nodeId: string; term: number }[];
  held(nodeId: string): string[];
  /** All successful Assigns so far. */
  assigned: { pchannel: string; term: number; nodeId: string }[];
  /** What was found wrong. */
  violations: string[];
  /** There is one balancer: nobody may hold what another one is given. Default `true`. */
  alone: boolean;
}

export function createWorld(clock: Clock, random: Random, onChange: () => void): World {
  const nodes = new Map<string, FakeNode>();
  /** The run that was told of a term. */
  const told = new Map<string, string>();
  /** The highest term that each log was opened at. */
  const seals = new Map<string, number>();
  const assigned: World["assigned"] = [];
  const violations: string[] = [];
  let incarnations = 0;
  let failures = 0;

  const find = (owner: Owner): FakeNode => {
    const node = nodes.get(owner.nodeId);
    if (node?.incarnation === owner.incarnation) return node;
    throw new MillraceError("UNAVAILABLE", "connection refused");
  };
  const call = async (owner: Owner, signal: AbortSignal, effect: (node: FakeNode) => void) => {
    await delay(clock, random.next() * 20, signal);
    const fails = failures > 0;
    if (fails) failures -= 1;
    if (!fails || random.next() < 0.5) effect(find(owner));
    if (fails) throw new MillraceError("UNAVAILABLE", "the answer was lost");
  };
  const holders = (pchannel: string) =>
    [...nodes.values()].flatMap((node) => {
      const term = node.held.get(pchannel);
      return term === undefined ? [] : [{ nodeId: node.nodeId, term }];
    });

  /** A node follows the latest intent, and refuses what is older. */
  const intend = (node: FakeNode, pchannel: string, term: number, wanted: boolean): void => {
    const known = node.intents.get(pchannel) ?? { term: 0, wanted: false };
    if (term < known.term || (term === known.term && wanted && !known.wanted)) {
      throw stale("IGNORED_OPERATION", known.term);
    }
    node.intents.set(pchannel, { term, wanted });
  };

  const world: World = {
    assigned,
    violations,
    alone: true,
    nodes: () => [...nodes.values()],
    join(nodeId) {
      nodes.get(nodeId)?.end.abort(new MillraceError("UNAVAILABLE", "started again"));
      incarnations += 1;
      const end = new AbortController();
      nodes.set(nodeId, {
        nodeId,
        incarnation: `run-${incarnations}`,
        address: `http://${nodeId}`,
        draining: false,
        gone: end.signal,
        end,
        held: new Map(),
        intents: new Map(),
      });
      onChange();
    },
    kill(nodeId) {
      const node = nodes.get(nodeId);
      nodes.delete(nodeId);
      node?.end.abort(new MillraceError("UNAVAILABLE", "killed"));
      onChange();
    },
    drain(nodeId) {
      const node = nodes.get(nodeId);
      if (node) node.draining = true;
      onChange();
    },
    failNext(count) {
      failures = count;
    },
    holders,
    held: (nodeId) => [...(nodes.get(nodeId)?.held.keys() ?? [])].sort(),
    calls: {
      assign(owner, pchannel, term, signal) {
        const key = `${pchannel}@${term}`;
        const before = told.get(key);
        if (before !== undefined) violations.push(`${key} is given twice: before to ${before}`);
        told.set(key, owner.incarnation);
        return call(owner, signal, (node) => {
          intend(node, pchannel, term, true);
          const sealed = seals.get(pchannel) ?? 0;
          if (sealed >= term) throw stale("CHANNEL_FENCED", sealed);
          seals.set(pchannel, term);
          for (const holder of world.alone ? holders(pchannel) : []) {
            if (holder.nodeId !== node.nodeId) violations.push(`${key}: held by ${holder.nodeId}`);
          }
          node.held.set(pchannel, term);
          assigned.push({ pchannel, term, nodeId: node.nodeId });
        });
      },
      remove: (owner, pchannel, term, signal) =>
        call(owner, signal, (node) => {
          if ((node.intents.get(pchannel)?.term ?? 0) <= term) {
            intend(node, pchannel, term, false);
          }
          if ((node.held.get(pchannel) ?? Number.POSITIVE_INFINITY) <= term) {
            node.held.delete(pchannel);
          }
        }),
    },
  };
  return world;
}

function stale(code: "CHANNEL_FENCED" | "IGNORED_OPERATION", known: number): MillraceError {
  return new MillraceError(code, `term ${known} is known`, { expected: String(known) });
}

/** A MetaStore whose next writes fail, half of them after they had their effect. */
export function flaky(
  meta: MetaStore,
  random: Random,
): MetaStore & { failNext(count: number): void } {
  let failures = 0;
  return {
    name: meta.name,
    get: (...args) => meta.get(...args),
    list: (...args) => meta.list(...args),
    delete: (...args) => meta.delete(...args),
    watch: (...args) => meta.watch(...args),
    lease: (...args) => meta.lease(...args),
    close: () => meta.close(),
    failNext(count) {
      failures = count;
    },
    async put(key, value, options) {
      if (failures === 0) return meta.put(key, value, options);
      failures -= 1;
      if (random.next() < 0.5) await meta.put(key, value, options);
      throw new MillraceError("UNAVAILABLE", "the answer of the store was lost");
    },
  };
}
