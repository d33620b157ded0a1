/**
 * Settings of the proxy and of standalone.
 *
 * @module
 */

import { proxyLimits } from "@millrace/proxy";
import { count, duration, listenAddress, size, text } from "../kinds.ts";
import { type ServiceName, setting } from "../setting.ts";
import { gib, hour, kib, mib } from "../units.ts";

const all: readonly ServiceName[] = ["standalone", "proxy"];
const standard = proxyLimits();

/** Settings of the proxy. */
export const proxySettings = {
  "proxy.listen": setting(
    ["proxy"],
    listenAddress(),
    "127.0.0.1:8530",
    "Where to serve, HOST:PORT. Port 0 picks a free one.",
    { flag: "--listen <address>" },
  ),
  "proxy.maxInsertBytes": setting(
    all,
    size(kib, 64 * mib),
    standard.maxInsertBytes,
    "The rows of one Insert, as columns.",
    { hot: true },
  ),
  "proxy.maxRowBytes": setting(
    all,
    size(kib, 64 * mib),
    standard.maxRowBytes,
    "One row, as columns.",
    { hot: true },
  ),
  "proxy.messageBytes": setting(
    all,
    size(kib, 64 * mib),
    standard.messageBytes,
    "Rows are gathered into messages of about so many bytes.",
    { hot: true },
  ),
  "proxy.maxInFlightBytes": setting(
    all,
    size(mib, 64 * gib),
    standard.maxInFlightBytes,
    "The rows of all calls that wait for their logs. More are refused.",
    { hot: true },
  ),
  "proxy.maxDeleteKeys": setting(
    all,
    count(1, 10_000_000),
    standard.maxDeleteKeys,
    "The keys of one Delete.",
    { hot: true },
  ),
  "proxy.ownerTimeout": setting(
    all,
    duration(100, hour),
    standard.ownerTimeoutMs,
    "How long a call waits for a log that moves, or for a coordinator that leads.",
    { hot: true },
  ),
  "proxy.tailBytes": setting(
    all,
    size(kib, gib),
    standard.tailBytes,
    "What one Tail reads ahead of its client.",
    { hot: true },
  ),
  "proxy.tailTxnBytes": setting(
    all,
    size(mib, 64 * gib),
    standard.tailTxnBytes,
    "What all Tails hold of open transactions. A Tail that needs more is refused.",
    { hot: true },
  ),
  "proxy.maxCollections": setting(
    all,
    count(1, 1_000_000),
    standard.maxCollections,
    "How many collections are kept in memory.",
    { hot: true },
  ),
};

/** Settings of standalone alone. It has those of the other services too. */
export const standaloneSettings = {
  "standalone.listen": setting(
    ["standalone"],
    listenAddress(),
    "127.0.0.1:8530",
    "Where to serve, HOST:PORT. Port 0 picks a free one.",
    { flag: "--listen <address>" },
  ),
  "standalone.data": setting(
    ["standalone"],
    text("a folder"),
    "./millrace-data",
    "Folder of its state.",
    { flag: "--data <dir>" },
  ),
};
