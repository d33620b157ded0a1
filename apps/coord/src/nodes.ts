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
  HandlerService,
  ManagerService,
  type WalStatus,
} from "@millrace/types/gen";

/** What the coordinator asks of nodes. Calls fail with MillraceErrors. */
export interface Nodes extends NodeCalls {
  /** What a node holds, and how it is. */
  collectStatus(address: string, signal: AbortSignal): Promise<WalStatus[]>;
  /** Makes messages durable at the owner of a pchannel. */
  append(address: string, request: AppendRequest, signal: AbortSignal): Promise<AppendResponse>;
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
  };
}
