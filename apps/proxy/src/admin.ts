/**
 * AdminService, as the coordinator answers it.
 *
 * @module
 */

import { createClient, type ServiceImpl, type Transport } from "@connectrpc/connect";
import { AdminService } from "@millrace/types/gen";

/** Passes the calls of operators on to the coordinator. */
export function forwardAdmin(coord: Transport): ServiceImpl<typeof AdminService> {
  const admin = createClient(AdminService, coord);
  return {
    getClusterStatus: (request, { signal }) => admin.getClusterStatus(request, { signal }),
    freezeNode: (request, { signal }) => admin.freezeNode(request, { signal }),
    unfreezeNode: (request, { signal }) => admin.unfreezeNode(request, { signal }),
    transferPchannel: (request, { signal }) => admin.transferPchannel(request, { signal }),
    updateBalancePolicy: (request, { signal }) => admin.updateBalancePolicy(request, { signal }),
    abortBroadcast: (request, { signal }) => admin.abortBroadcast(request, { signal }),
  };
}
