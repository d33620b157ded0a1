/**
 * The services of the coordinator over its parts.
 *
 * @module
 */

import type { Routes } from "@millrace/rpc";
import { MillraceError, checkName } from "@millrace/types";
import {
  AdminService,
  AllocatorService,
  AssignmentService,
  BroadcastService,
  CatalogService,
  type GetClusterStatusResponse,
  MembershipService,
} from "@millrace/types/gen";
import { balanceStatus } from "./admin.ts";
import { abortForce, broadcast } from "./broadcasts.ts";
import type { Cluster } from "./cluster.ts";

/** What services need besides the cluster's parts. */
export interface ServicesOptions {
  /** The parts; throws `UNAVAILABLE` while this coordinator is not active. */
  active: () => Cluster;
  /** As in HeartbeatResponse. */
  leaseMs: number;
  /** The state of the cluster. */
  status: (cluster: Cluster, signal: AbortSignal) => Promise<GetClusterStatusResponse>;
}

/** How long a node may use a block of ticks, in milliseconds. */
const tickLeaseMs = 50;

/** Registers the services. Methods that are not there answer `UNIMPLEMENTED`. */
export function createRoutes({ active, leaseMs, status }: ServicesOptions): Routes {
  return (router) => {
    router.service(AssignmentService, {
      discover: (_request, { signal }) => active().assignment.discover(signal),
      async reportError(request) {
        await active().assignment.reportError(request);
        return {};
      },
    });
    router.service(MembershipService, {
      heartbeat(request) {
        const { members, balancer } = active();
        members.heartbeat(request);
        const { nodeId, incarnation, draining } = request;
        const unassigned = !balancer.holds({ nodeId, incarnation });
        return { leaseMs, drained: draining && unassigned, unassigned };
      },
    });
    router.service(AllocatorService, {
      async allocateTimestamps({ count }) {
        const first = await active().ticks.allocate(count);
        // Another one may have given higher ticks by now.
        active();
        return { first, count, leaseMs: tickLeaseMs };
      },
      async allocateIds({ count }) {
        const first = await active().ids.allocate(count);
        return { first, count };
      },
    });
    router.service(CatalogService, {
      async catalogCreateCollection(request, { timeoutMs }) {
        return { collection: await active().ddl.createCollection(request, timeoutMs()) };
      },
      async catalogDropCollection({ name }, { timeoutMs }) {
        await active().ddl.dropCollection(name, timeoutMs());
        return {};
      },
      async catalogAlterCollection(request, { timeoutMs }) {
        return { collection: await active().ddl.alterCollection(request, timeoutMs()) };
      },
      catalogDescribeCollection({ name }) {
        checkName(name, "name");
        const collection = active().catalog.find(name);
        if (collection) return { collection };
        throw new MillraceError("COLLECTION_NOT_FOUND", `there is no collection ${name}`);
      },
      catalogListCollections: () => ({ collections: active().catalog.list() }),
      async catalogTruncateCollection(request, { timeoutMs }) {
        await active().ddl.truncateCollection(request, timeoutMs());
        return {};
      },
      async catalogCreatePartition(request, { timeoutMs }) {
        return { partition: await active().ddl.createPartition(request, timeoutMs()) };
      },
      async catalogDropPartition(request, { timeoutMs }) {
        await active().ddl.dropPartition(request, timeoutMs());
        return {};
      },
    });
    router.service(AdminService, {
      getClusterStatus: (_request, { signal }) => status(active(), signal),
      async freezeNode({ nodeId }) {
        await active().balancer.freeze(nodeId);
        return {};
      },
      async unfreezeNode({ nodeId }) {
        await active().balancer.unfreeze(nodeId);
        return {};
      },
      async transferPchannel({ pchannel, nodeId }, { signal }) {
        const { term } = await active().balancer.transfer(pchannel, nodeId, signal);
        return { term: BigInt(term) };
      },
      async updateBalancePolicy({ policy, allowRebalance }) {
        const { balancer } = active();
        await balancer.update({
          ...(policy !== "" && { policy }),
          ...(allowRebalance !== undefined && { allowRebalance }),
        });
        return { balance: balanceStatus(balancer) };
      },
      async abortBroadcast({ broadcastId, force }) {
        await active().broadcaster.abort(broadcastId, abortForce(force));
        return {};
      },
    });
    router.service(BroadcastService, {
      broadcast: (request, { signal }) => broadcast(active(), request, signal),
      async ack({ broadcastId, vchannel }) {
        await active().broadcaster.ack(broadcastId, vchannel);
        return {};
      },
    });
  };
}
