/**
 * The state of the cluster, for operators.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import type { Balancer } from "@millrace/balancer";
import { type Clock, type Logger, withTimeLimit } from "@millrace/types";
import {
  type GetClusterStatusResponse,
  GetClusterStatusResponseSchema,
  type WalStatus,
} from "@millrace/types/gen";
import type { Catalog } from "./catalog.ts";
import type { Members } from "./members.ts";
import type { Nodes } from "./nodes.ts";

/** Options of {@linkcode clusterStatus}. */
export interface ClusterStatusOptions {
  balancer: Balancer;
  catalog: Catalog;
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
  const { balancer, catalog, members } = options;
  const alive = members.alive();
  const heard = await Promise.all(alive.map(({ address }) => ask(options, address, signal)));
  const wals = new Map(heard.flat().map((wal) => [`${wal.name}@${wal.term}`, wal]));
  const vchannels = catalog.vchannels();
  const records = balancer.records();
  return create(GetClusterStatusResponseSchema, {
    nodes: alive.map(({ nodeId, incarnation, address, draining }) => ({
      nodeId,
      address,
      draining,
      alive: true,
      pchannels: records.filter(
        ({ state, owner }) =>
          state === "assigned" && owner?.nodeId === nodeId && owner.incarnation === incarnation,
      ).length,
    })),
    pchannels: records.map(({ name, term, state, owner }) => {
      const wal = wals.get(`${name}@${term}`);
      return {
        name,
        term: BigInt(term),
        state,
        nodeId: owner?.nodeId ?? "",
        vchannels: vchannels.get(name)?.length ?? 0,
        ...(wal && { wal }),
      };
    }),
    collections: catalog.list().length,
  });
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
