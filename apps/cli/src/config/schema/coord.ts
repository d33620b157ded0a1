/**
 * Settings of the coordinator.
 *
 * @module
 */

import {
  choice,
  count,
  duration,
  fraction,
  listenAddress,
  secret,
  text,
  toggle,
  url,
} from "../kinds.ts";
import { parseMetaSpec } from "../locations.ts";
import { optional, type ServiceName, setting } from "../setting.ts";
import { day, hour, minute, second } from "../units.ts";

const coord: readonly ServiceName[] = ["coord"];
const all: readonly ServiceName[] = ["standalone", "coord"];

/** Settings of the coordinator. */
export const coordSettings = {
  "coord.listen": setting(
    coord,
    listenAddress(),
    "127.0.0.1:8531",
    "Where to serve, HOST:PORT. Port 0 picks a free one.",
    { flag: "--listen <address>" },
  ),
  "coord.advertise": optional(coord, url(), "How others reach the coordinator: a URL.", {
    flag: "--advertise <url>",
    unset: "by coord.listen",
  }),
  "coord.meta": setting(
    coord,
    text(
      "file:DIR, shared:DIR, s3://bucket/prefix, etcd://HOST:PORT/PREFIX, etcds://HOST:PORT/PREFIX or memory",
      parseMetaSpec,
    ),
    "file:./millrace-meta",
    "Where metadata is: file:DIR for one coordinator; for several shared:DIR on one machine, s3://bucket/prefix or etcd://HOST:PORT,…/PREFIX (etcds: by TLS); or memory, which keeps nothing.",
    { flag: "--meta <spec>" },
  ),
  "coord.pchannels": setting(
    all,
    count(1, 1024),
    16,
    "How many logs the cluster has. A later start may raise it.",
    { flag: "--pchannels <n>" },
  ),
  "coord.lease": setting(
    all,
    duration(500, 5 * minute),
    5 * second,
    "How long a node counts as alive without a heartbeat. A shorter one makes takeovers faster, and pauses of a process dearer.",
  ),
  "coord.lead": setting(
    all,
    duration(500, 5 * minute),
    3 * second,
    "How long a coordinator leads without renewal. Nodes wait 5s for ticks, so a longer one makes inserts fail when a coordinator is killed.",
  ),
  "coord.ddlWait": setting(
    all,
    duration(second, hour),
    30 * second,
    "How long a caller waits for a change of the catalog, which goes on behind it.",
  ),
  "coord.balancer.policy": setting(
    all,
    choice("vchannel-fair", "pchannel-fair"),
    "vchannel-fair",
    "How pchannels are placed, until an operator chooses (`millrace admin policy`).",
    { hot: true },
  ),
  "coord.balancer.allowRebalance": setting(
    all,
    toggle(),
    true,
    "Whether pchannels that are served move for the sake of balance, until an operator chooses.",
    { hot: true },
  ),
  "coord.balancer.minRebalanceInterval": setting(
    all,
    duration(0, 7 * day),
    5 * minute,
    "A pchannel that holds shards stays where it is for so long, unless it must move.",
    { hot: true },
  ),
  "coord.balancer.maxRecoveryLag": setting(
    all,
    duration(0, hour),
    second,
    "A pchannel that holds shards stays where it is while its recovery lags by more, unless it must move.",
    { hot: true },
  ),
  "coord.balancer.interval": setting(
    all,
    duration(100, hour),
    minute,
    "How often placement is looked at when nothing happens. A change counts after the look that is next.",
    { hot: true },
  ),
  "coord.balancer.operationTimeout": setting(
    all,
    duration(second, day),
    5 * minute,
    "How long a node may take to open or close a pchannel. Less than a recovery takes would move pchannels around for ever.",
  ),
  "coord.balancer.vchannelFair.pchannelWeight": setting(
    all,
    fraction(0, 1000),
    0.4,
    "What an uneven number of pchannels costs.",
    { hot: true },
  ),
  "coord.balancer.vchannelFair.vchannelWeight": setting(
    all,
    fraction(0, 1000),
    0.3,
    "What an uneven number of vchannels costs.",
    { hot: true },
  ),
  "coord.balancer.vchannelFair.affinityWeight": setting(
    all,
    fraction(0, 1000),
    0.01,
    "What shards of unlike collections on one node cost.",
    { hot: true },
  ),
  "coord.balancer.vchannelFair.tolerance": setting(
    all,
    fraction(0, 1000),
    0.01,
    "By how much the cost must fall for each pchannel that moves.",
    { hot: true },
  ),
  "coord.balancer.vchannelFair.maxStep": setting(
    all,
    count(1, 3),
    3,
    "How many pchannels that have a node move at once.",
    { hot: true },
  ),
  "coord.broadcaster.maxTasks": setting(
    all,
    count(1, 100_000),
    1000,
    "How many broadcasts may be under way or wait for locks. More are refused.",
  ),
  "coord.broadcaster.maxTombstones": setting(
    all,
    count(1, 1_000_000),
    8192,
    "How many broadcasts that are over are remembered, for callers that repeat one.",
  ),
  "coord.broadcaster.tombstoneLifetime": setting(
    all,
    duration(minute, 365 * day),
    day,
    "How long they are remembered.",
  ),
  "coord.broadcaster.sweepInterval": setting(
    all,
    duration(second, day),
    5 * minute,
    "How often those that are too old or too many are forgotten.",
  ),
  "etcd.user": optional(coord, text("a name"), "User of etcd, if coord.meta is there.", {
    unset: "no user",
  }),
  "etcd.password": optional(coord, secret("a password"), "Password of that user."),
  "etcd.requestTimeout": setting(
    coord,
    duration(10, hour),
    3 * second,
    "How long one member of etcd may take for an answer.",
  ),
  "etcd.callTimeout": setting(
    coord,
    duration(10, hour),
    10 * second,
    "How long a call to etcd may take over all attempts.",
  ),
};
