/**
 * AdminService, as the coordinator answers it.
 *
 * @module
 */

import { createClient, type ServiceImpl, type Transport } from "@connectrpc/connect";
import { AdminService } from "@millrace/types/gen";

/**
 * Passes the calls of operators on to the coordinator. Changes go over `patient`, which waits for a
 * coordinator that leads; how things are is told, or not, at once.
 */
export function forwardAdmin(
  coord: Transport,
  patient: Transport,
): ServiceImpl<typeof AdminService> {
  const status = createClient(AdminService, coord);
  const admin = createClient(AdminService, patient);
  return {
    getClusterStatus: (request, { signal }) => status.getClusterStatus(request, { signal }),
    freezeNode: (request, { signal }) => admin.freezeNode(request, { signal }),
    unfreezeNode: (request, { signal }) => admin.unfreezeNode(request, { signal }),
    transferPchannel: (request, { signal }) => admin.transferPchannel(request, { signal }),
    updateBalancePolicy: (request, { signal }) => admin.updateBalancePolicy(request, { signal }),
    abortBroadcast: (request, { signal }) => admin.abortBroadcast(request, { signal }),
  };
}
