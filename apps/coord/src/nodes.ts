/**
 * Calls to nodes.
 *
 * @module
 */

import { createClient } from "@connectrpc/connect";
import type { NodeCalls } from "@millrace/balancer";
import type { TransportFor } from "@millrace/rpc";
import {
  type AppendRequest,
  type AppendResponse,
  type GetFlushCheckpointsRequest,
  HandlerService,
  ManagerService,
  type VchannelPosition,
  type WalStatus,
} from "@millrace/types/gen";

/** What the coordinator asks of nodes. Calls fail with MillraceErrors. */
export interface Nodes extends NodeCalls {
  /** What a node holds, and how it is. */
  collectStatus(address: string, signal: AbortSignal): Promise<WalStatus[]>;
  /** Makes messages durable at the owner of a pchannel. */
  append(address: string, request: AppendRequest, signal: AbortSignal): Promise<AppendResponse>;
  /** How far the tables of vchannels of a pchannel are, at its owner. */
  flushCheckpoints(
    address: string,
    request: GetFlushCheckpointsRequest,
    signal: AbortSignal,
  ): Promise<VchannelPosition[]>;
}

/** Creates the calls. */
export function createNodes(transportFor: TransportFor): Nodes {
  const manager = (address: string) => createClient(ManagerService, transportFor(address));
  const pchannelTerm = (name: string, term: number) => ({ name, term: BigInt(term) });
  return {
    async assign(node, pchannel, term, signal) {
      const request = { pchannel: pchannelTerm(pchannel, term) };
      await manager(node.address).assign(request, { signal });
    },
    async remove(node, pchannel, term, signal) {
      const request = { pchannel: pchannelTerm(pchannel, term) };
      await manager(node.address).remove(request, { signal });
    },
    async collectStatus(address, signal) {
      const { wals } = await manager(address).collectStatus({}, { signal });
      return wals;
    },
    append: (address, request, signal) =>
      createClient(HandlerService, transportFor(address)).append(request, { signal }),
    async flushCheckpoints(address, request, signal) {
      const handler = createClient(HandlerService, transportFor(address));
      return (await handler.getFlushCheckpoints(request, { signal })).checkpoints;
    },
  };
}
