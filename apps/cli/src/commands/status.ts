/**
 * `millrace status`.
 *
 * @module
 */

import { toJson } from "@bufbuild/protobuf";
import { tickToMs } from "@millrace/types";
import {
  type GetClusterStatusResponse,
  GetClusterStatusResponseSchema,
  type NodeStatus,
  type PchannelStatus,
} from "@millrace/types/gen";
import type { Command } from "commander";
import type { Io } from "../io.ts";
import { formatBytes, formatCount, formatTable, write, writeJson } from "../output.ts";
import { stuckLines } from "./broadcasts.ts";
import { type ClientFlags, callOptions, clientCommand, withClient } from "./context.ts";

/** `millrace status`: nodes, and who owns which pchannel. */
export function statusCommand(io: Io): Command {
  return clientCommand("status", "show nodes, pchannels and how far flushing is").action(
    async (flags: ClientFlags) => {
      const status = await withClient(flags.server, ({ admin }) =>
        admin.getClusterStatus({}, callOptions(io)),
      );
      if (flags.json) {
        const options = { alwaysEmitImplicit: true };
        return await writeJson(io.stdout, toJson(GetClusterStatusResponseSchema, status, options));
      }
      await write(io.stdout, formatStatus(status));
    },
  );
}

function formatStatus(status: GetClusterStatusResponse): string {
  const { nodes, pchannels, collections, broadcasts } = status;
  const problems = pchannels.flatMap(({ name, wal }) =>
    wal?.problem ? [`${name} does not flush: ${wal.problem}\n`] : [],
  );
  problems.push(...stuckLines(broadcasts));
  return [
    `${formatCount(collections)} collections\n\n`,
    nodeTable(nodes),
    "\n",
    formatTable(
      ["PCHANNEL", "TERM", "STATE", "NODE", "VCHANNELS", "NEXT", "TO FLUSH", "LAG"],
      pchannels.map(pchannelRow),
    ),
    ...(problems.length > 0 ? ["\n", ...problems] : []),
  ].join("");
}

/** Nodes as a table. */
export function nodeTable(nodes: readonly NodeStatus[]): string {
  return formatTable(["NODE", "ADDRESS", "STATE", "PCHANNELS"], nodes.map(nodeRow));
}

function nodeRow({ nodeId, address, alive, draining, frozen, pchannels }: NodeStatus): string[] {
  const state = !alive ? "dead" : draining ? "draining" : "alive";
  return [nodeId, address, frozen ? `${state}, frozen` : state, String(pchannels)];
}

function pchannelRow({ name, term, state, nodeId, vchannels, wal }: PchannelStatus): string[] {
  const toFlush = wal ? `${formatCount(wal.growingRows)} rows` : "";
  const size = wal && wal.growingBytes > 0n ? ` (${formatBytes(Number(wal.growingBytes))})` : "";
  const lagMs = wal?.growingRows ? tickToMs(wal.lastTick) - tickToMs(wal.flushedTick) : 0;
  return [
    name,
    String(term),
    state,
    nodeId,
    String(vchannels),
    wal ? String(wal.nextSequence) : "",
    `${toFlush}${size}`,
    lagMs > 0 ? `${(lagMs / 1000).toFixed(1)} s` : "",
  ];
}
