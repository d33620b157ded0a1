/**
 * From settings to the options of services. What is hot is handed on as a function.
 *
 * @module
 */

import { pchannelFair, vchannelFair } from "@millrace/balancer";
import type { CoordOptions } from "@millrace/coord";
import type { NodeOptions } from "@millrace/node";
import type { ProxyOptions } from "@millrace/proxy";
import type { Config } from "../config/schema/mod.ts";
import { memoryPressure } from "./memory.ts";

/** What settings say of a coordinator. */
export function coordOptionsOf(
  current: () => Config,
): Pick<
  CoordOptions,
  "pchannels" | "leaseMs" | "leadMs" | "ddlWaitMs" | "balancer" | "broadcaster"
> {
  const config = current();
  return {
    pchannels: config["coord.pchannels"],
    leaseMs: config["coord.lease"],
    leadMs: config["coord.lead"],
    ddlWaitMs: config["coord.ddlWait"],
    balancer: {
      policies: [vchannelFair(() => vchannelFairOf(current())), pchannelFair()],
      policy: () => current()["coord.balancer.policy"],
      allowRebalance: () => current()["coord.balancer.allowRebalance"],
      minRebalanceIntervalMs: () => current()["coord.balancer.minRebalanceInterval"],
      maxRecoveryLagMs: () => current()["coord.balancer.maxRecoveryLag"],
      intervalMs: () => current()["coord.balancer.interval"],
      operationTimeoutMs: config["coord.balancer.operationTimeout"],
    },
    broadcaster: {
      maxTasks: config["coord.broadcaster.maxTasks"],
      maxTombstones: config["coord.broadcaster.maxTombstones"],
      tombstoneMs: config["coord.broadcaster.tombstoneLifetime"],
      sweepMs: config["coord.broadcaster.sweepInterval"],
    },
  };
}

function vchannelFairOf(config: Config) {
  return {
    pchannelWeight: config["coord.balancer.vchannelFair.pchannelWeight"],
    vchannelWeight: config["coord.balancer.vchannelFair.vchannelWeight"],
    affinityWeight: config["coord.balancer.vchannelFair.affinityWeight"],
    tolerance: config["coord.balancer.vchannelFair.tolerance"],
    maxStep: config["coord.balancer.vchannelFair.maxStep"],
  };
}

/** What settings say of a node. */
export function nodeOptionsOf(
  current: () => Config,
): Pick<
  NodeOptions,
  "flush" | "flushBytes" | "flushBytesPerLog" | "retention" | "snapshotMs" | "wal"
> {
  const config = current();
  return {
    flush: () => sealLimitsOf(current()),
    flushBytes: config["node.flush.memoryBytes"],
    flushBytesPerLog: config["node.flush.memoryBytesPerLog"],
    retention: () => retentionOf(current()),
    snapshotMs: () => current()["node.snapshotInterval"],
    wal: {
      maxBatchBytes: config["node.wal.maxBatchBytes"],
      maxWaitingBytes: config["node.wal.maxWaitingBytes"],
      maxKeys: config["node.wal.maxKeys"],
      tickMs: config["node.wal.tickInterval"],
      slowBatchMs: () => current()["node.wal.slowBatch"],
      segments: { rows: config["node.wal.segmentRows"], bytes: config["node.wal.segmentBytes"] },
      txnLeaseMs: () => current()["node.txn.lease"],
      maxOpenTxns: config["node.txn.maxOpen"],
      maxOpenTxnBytes: config["node.txn.maxOpenBytes"],
      tailBytes: config["node.tail.bytes"],
      tailMs: config["node.tail.age"],
      throttle: {
        bytesPerSecond: () => current()["node.throttle.rate"],
        burstBytes: () => current()["node.throttle.burst"],
        pressure: memoryPressure,
        pressureLimits: () => pressureLimitsOf(current()),
      },
    },
  };
}

function sealLimitsOf(config: Config) {
  return {
    bytes: config["node.flush.bytes"],
    rows: config["node.flush.rows"],
    ageMs: config["node.flush.age"],
    idleMs: config["node.flush.idle"],
  };
}

function retentionOf(config: Config) {
  return { ageMs: config["node.retention.age"], bytes: config["node.retention.bytes"] };
}

function pressureLimitsOf(config: Config) {
  return {
    recoverBelow: config["node.throttle.memory.recoverBelow"],
    slowAt: config["node.throttle.memory.slowAt"],
    rejectAt: config["node.throttle.memory.rejectAt"],
  };
}

/** What settings say of a proxy. */
export function proxyOptionsOf(current: () => Config): Pick<ProxyOptions, "limits"> {
  return { limits: () => proxyLimitsOf(current()) };
}

function proxyLimitsOf(config: Config) {
  return {
    maxInsertBytes: config["proxy.maxInsertBytes"],
    maxRowBytes: config["proxy.maxRowBytes"],
    messageBytes: config["proxy.messageBytes"],
    maxInFlightBytes: config["proxy.maxInFlightBytes"],
    maxDeleteKeys: config["proxy.maxDeleteKeys"],
    ownerTimeoutMs: config["proxy.ownerTimeout"],
    tailBytes: config["proxy.tailBytes"],
    tailTxnBytes: config["proxy.tailTxnBytes"],
    maxCollections: config["proxy.maxCollections"],
  };
}
