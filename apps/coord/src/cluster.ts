/**
 * All that an active coordinator consists of, put together.
 *
 * @module
 */

import {
  type Balancer,
  type BalancerOptions,
  createBalancer,
  type Owner,
} from "@millrace/balancer";
import {
  type Broadcaster,
  type BroadcasterOptions,
  createBroadcaster,
} from "@millrace/broadcaster";
import type { TransportFor } from "@millrace/rpc";
import type { MetaStore } from "@millrace/storage";
import type { Clock, Logger, Random } from "@millrace/types";
import { type Assignment, createAssignment } from "./assignment.ts";
import { startAudit } from "./audit.ts";
import { type Catalog, collectionsByPchannel, openCatalog } from "./catalog.ts";
import { createCallbacks } from "./catalog-changes.ts";
import { createChanges } from "./changes.ts";
import { electControlChannel } from "./control-channel.ts";
import { createDdl, type Ddl } from "./ddl.ts";
import { startFlushAcks } from "./flush-acks.ts";
import { type IdAllocator, openIdAllocator } from "./ids.ts";
import { createMembers, type Members } from "./members.ts";
import { createNodes, type Nodes } from "./nodes.ts";
import { createRecoveryLags } from "./recovery-lags.ts";
import { openTickAllocator, type TickAllocator } from "./ticks.ts";
import { createVchannelAppend } from "./vchannel-append.ts";

/** What may be said of the balancer. */
export type CoordBalancerOptions = Pick<
  BalancerOptions,
  | "policies"
  | "policy"
  | "allowRebalance"
  | "minRebalanceIntervalMs"
  | "maxRecoveryLagMs"
  | "operationTimeoutMs"
  | "intervalMs"
>;

/** What may be said of the broadcaster. */
export type CoordBroadcasterOptions = Pick<
  BroadcasterOptions,
  "maxTasks" | "maxTombstones" | "tombstoneMs" | "sweepMs"
>;

/** Options of {@linkcode openCluster}. */
export interface ClusterOptions {
  /** What this lead alone can write. */
  meta: MetaStore;
  /** Of this lead; higher than those before. */
  epoch: number;
  transportFor: TransportFor;
  pchannels: readonly string[];
  balancer: CoordBalancerOptions | undefined;
  broadcaster: CoordBroadcasterOptions | undefined;
  leaseMs: number;
  ddlWaitMs: number;
  /** Another coordinator has taken the broadcasts over. */
  onFenced: (reason: unknown) => void;
  clock: Clock;
  random: Random;
  logger: Logger;
}

/** The parts that services are made of. */
export interface Cluster {
  assignment: Assignment;
  balancer: Balancer;
  broadcaster: Broadcaster;
  catalog: Catalog;
  ddl: Ddl;
  ids: IdAllocator;
  members: Members;
  nodes: Nodes;
  ticks: TickAllocator;
  close(): Promise<void>;
}

/** Loads what is saved and begins to work. Waits for nothing but the MetaStore. */
export async function openCluster(options: ClusterOptions): Promise<Cluster> {
  const { meta, epoch, pchannels, clock, random, logger } = options;
  const changes = createChanges(clock);
  const nodes = createNodes(options.transportFor);

  // Above all revisions of earlier coordinators, so that caches never take an old one for new.
  let catalogRevision = BigInt(epoch) << 32n;
  const onCatalogChange = (): void => {
    catalogRevision += 1n;
    changes.notify();
    balancer.trigger();
  };
  const onMembersChange = (): void => {
    changes.notify();
    balancer.trigger();
    broadcaster.trigger();
  };
  const onAssignmentChange = (): void => {
    changes.notify();
    broadcaster.trigger();
  };

  const [ticks, ids, catalog] = await Promise.all([
    openTickAllocator({ meta, clock, logger }),
    openIdAllocator({ meta, logger }),
    openCatalog(meta, onCatalogChange),
  ]);
  const { leaseMs } = options;
  const members = createMembers({ leaseMs, onChange: onMembersChange, clock, logger });
  const lags = createRecoveryLags();
  const balancer = createBalancer({
    ...options.balancer,
    meta,
    pchannels,
    nodes: members.alive,
    calls: nodes,
    collections: () => collectionsByPchannel(ddl.collections()),
    recoveryLagMs: lags.lagMs,
    onChange: onAssignmentChange,
    clock,
    random,
    logger,
  });
  const broadcaster = createBroadcaster({
    ...options.broadcaster,
    meta,
    prefix: "coord/broadcasts/",
    append: createVchannelAppend({
      nodes,
      ownerOf: (pchannel) => assignment.ownerOf(pchannel),
      onFailure: (pchannel, term) => assignment.suspect(pchannel, term),
      clock,
    }),
    callbacks: createCallbacks(catalog, logger),
    nextId: () => ids.allocate(1),
    controlChannel: await electControlChannel(meta, pchannels),
    onFenced: options.onFenced,
    clock,
    random,
    logger,
  });
  await Promise.all([balancer.load(), broadcaster.load()]);
  for (const owner of knownOwners(balancer)) members.presume(owner);

  const assignment = createAssignment({
    epoch,
    balancer,
    members,
    nodes,
    changes,
    catalogRevision: () => catalogRevision,
    clock,
    logger,
  });
  const ddl = createDdl({
    catalog,
    broadcaster,
    ids,
    ticks,
    pchannels,
    waitMs: options.ddlWaitMs,
    clock,
  });

  balancer.start();
  broadcaster.start();
  const audit = startAudit({ balancer, members, nodes, lags, clock, logger });
  const { ownerOf } = assignment;
  const flushAcks = startFlushAcks({ broadcaster, nodes, ownerOf, clock, logger });

  return {
    assignment,
    balancer,
    broadcaster,
    catalog,
    ddl,
    ids,
    members,
    nodes,
    ticks,
    async close() {
      assignment.close();
      const parts = [audit, flushAcks, broadcaster, balancer];
      await Promise.all(parts.map((part) => part.close()));
      members.close();
    },
  };
}

/** Who had pchannels when the coordinator before ended; those that own one come first. */
function knownOwners(balancer: Balancer): Owner[] {
  const records = balancer.records();
  const owners = records.map((record) => record.owner).filter((owner) => owner !== undefined);
  return [...owners, ...records.flatMap((record) => record.former)];
}
