/**
 * The state of the cluster, for operators.
 *
 * @module
 */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Balancer, type BalancerNode, isSameRun } from "@millrace/balancer";
import { type Clock, type Logger, withTimeLimit } from "@millrace/types";
import {
  type BalanceStatusSchema,
  type GetClusterStatusResponse,
  GetClusterStatusResponseSchema,
  type NodeStatusSchema,
  type WalStatus,
} from "@millrace/types/gen";
import type { Broadcaster } from "@millrace/broadcaster";
import { broadcastStatus } from "./broadcasts.ts";
import { type Catalog, collectionsByPchannel } from "./catalog.ts";
import type { Ddl } from "./ddl.ts";
import type { Members } from "./members.ts";
import type { Nodes } from "./nodes.ts";

/** Options of {@linkcode clusterStatus}. */
export interface ClusterStatusOptions {
  balancer: Balancer;
  broadcaster: Broadcaster;
  catalog: Catalog;
  ddl: Ddl;
  members: Members;
  nodes: Nodes;
  clock: Clock;
  logger: Logger;
}

/** How long a node may take to say how it is, in milliseconds. */
const statusMs = 1000;

/** Asks every node how it is; those that do not answer within a second are reported without. */
export async function clusterStatus(
  options: ClusterStatusOptions,
  signal: AbortSignal,
): Promise<GetClusterStatusResponse> {
  const { balancer, broadcaster, catalog, ddl, members } = options;
  const alive = members.alive();
  const heard = await Promise.all(alive.map(({ address }) => ask(options, address, signal)));
  const wals = new Map(heard.flat().map((wal) => [`${wal.name}@${wal.term}`, wal]));
  const vchannels = collectionsByPchannel(ddl.collections());
  const records = balancer.records();
  return create(GetClusterStatusResponseSchema, {
    nodes: nodeStatuses(balancer, alive),
    pchannels: records.map((record) => {
      const { name, term, state, owner, former, preferred, assignedAt } = record;
      const wal = wals.get(`${name}@${term}`);
      return {
        name,
        term: BigInt(term),
        state,
        nodeId: owner?.nodeId ?? "",
        vchannels: vchannels.get(name)?.length ?? 0,
        ...(wal && { wal }),
        assignedMs: BigInt(Math.round(assignedAt)),
        transferred: preferred !== undefined,
        formerNodeIds: former.map(({ nodeId }) => nodeId),
      };
    }),
    collections: catalog.list().length,
    balance: balanceStatus(balancer),
    broadcasts: broadcaster.tasks().map(broadcastStatus),
  });
}

/** How pchannels are placed. */
export function balanceStatus(balancer: Balancer): MessageInitShape<typeof BalanceStatusSchema> {
  const { policy, policies, allowRebalance } = balancer.status();
  return { policy, policies: [...policies], allowRebalance };
}

/** Those that live, and those that are gone but would come back frozen. */
function nodeStatuses(
  balancer: Balancer,
  alive: readonly BalancerNode[],
): MessageInitShape<typeof NodeStatusSchema>[] {
  const { frozen } = balancer.status();
  const assigned = balancer.records().filter(({ state }) => state === "assigned");
  const living = alive.map((node) => ({
    nodeId: node.nodeId,
    address: node.address,
    alive: true,
    draining: node.draining,
    frozen: frozen.includes(node.nodeId),
    pchannels: assigned.filter(({ owner }) => isSameRun(owner, node)).length,
  }));
  const gone = frozen
    .filter((id) => !alive.some(({ nodeId }) => nodeId === id))
    .map((nodeId) => ({ nodeId, frozen: true }));
  return [...living, ...gone];
}

async function ask(
  { nodes, clock, logger }: ClusterStatusOptions,
  address: string,
  signal: AbortSignal,
): Promise<WalStatus[]> {
  try {
    return await withTimeLimit(clock, statusMs, signal, (limit) =>
      nodes.collectStatus(address, limit),
    );
  } catch (error) {
    logger.info("a node did not say how it is", { address, error });
    return [];
  }
}
