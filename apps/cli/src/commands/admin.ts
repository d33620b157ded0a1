/**
 * `millrace admin nodes | channels | freeze | unfreeze | transfer | policy`, and the group of them.
 *
 * @module
 */

import { toJson } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/types";
import {
  type BalanceStatus,
  BalanceStatusSchema,
  NodeStatusSchema,
  type PchannelStatus,
  PchannelStatusSchema,
} from "@millrace/types/gen";
import { Command, InvalidArgumentError } from "commander";
import type { Io } from "../io.ts";
import { flag } from "../options.ts";
import { formatTable, write, writeJson } from "../output.ts";
import { abortCommand, broadcastsCommand } from "./broadcasts.ts";
import { type ClientFlags, callOptions, clientCommand, withClient } from "./context.ts";
import { nodeTable } from "./status.ts";

/** `millrace admin` with its commands. */
export function adminCommand(io: Io): Command {
  return new Command("admin")
    .description("show and change which node owns what, and what is under way")
    .addCommand(nodesCommand(io))
    .addCommand(channelsCommand(io))
    .addCommand(freezeCommand(io))
    .addCommand(unfreezeCommand(io))
    .addCommand(transferCommand(io))
    .addCommand(policyCommand(io))
    .addCommand(broadcastsCommand(io))
    .addCommand(abortCommand(io));
}

/** Defaults are printed too, so that scripts find every field. */
const allFields = { alwaysEmitImplicit: true };

function nodesCommand(io: Io): Command {
  return clientCommand("nodes", "list the nodes").action(async (flags: ClientFlags) => {
    const { nodes } = await clusterStatus(io, flags);
    if (flags.json) {
      const all = nodes.map((node) => toJson(NodeStatusSchema, node, allFields));
      return await writeJson(io.stdout, all);
    }
    await write(io.stdout, nodeTable(nodes));
  });
}

function channelsCommand(io: Io): Command {
  return clientCommand("channels", "list the pchannels and their owners").action(
    async (flags: ClientFlags) => {
      const { pchannels } = await clusterStatus(io, flags);
      if (flags.json) {
        const all = pchannels.map((one) => toJson(PchannelStatusSchema, one, allFields));
        return await writeJson(io.stdout, all);
      }
      const head = ["PCHANNEL", "TERM", "STATE", "NODE", "VCHANNELS", "ASSIGNED", ""];
      await write(io.stdout, formatTable(head, pchannels.map(channelRow)));
    },
  );
}

function freezeCommand(io: Io): Command {
  return clientCommand("freeze", "give a node no more pchannels, and move its own away")
    .argument("<node>", "its id")
    .action(async (nodeId: string, flags: ClientFlags) => {
      await withClient(flags.server, ({ admin }) => admin.freezeNode({ nodeId }, callOptions(io)));
      if (flags.json) return await writeJson(io.stdout, { frozen: nodeId });
      await write(io.stdout, `froze ${nodeId}; its pchannels move to other nodes\n`);
    });
}

function unfreezeCommand(io: Io): Command {
  return clientCommand("unfreeze", "let a node have pchannels again")
    .argument("<node>", "its id")
    .action(async (nodeId: string, flags: ClientFlags) => {
      await withClient(flags.server, ({ admin }) =>
        admin.unfreezeNode({ nodeId }, callOptions(io)),
      );
      if (flags.json) return await writeJson(io.stdout, { unfrozen: nodeId });
      await write(io.stdout, `unfroze ${nodeId}\n`);
    });
}

function transferCommand(io: Io): Command {
  return clientCommand("transfer", "move a pchannel to a node, where it stays")
    .argument("<pchannel>", "its name")
    .argument("<node>", "the node's id")
    .action(async (pchannel: string, nodeId: string, flags: ClientFlags) => {
      const { term } = await withClient(flags.server, ({ admin }) =>
        admin.transferPchannel({ pchannel, nodeId }, callOptions(io)),
      );
      if (flags.json) return await writeJson(io.stdout, { pchannel, node: nodeId, term });
      await write(io.stdout, `${nodeId} owns ${pchannel} at term ${term}\n`);
    });
}

function policyCommand(io: Io): Command {
  const rebalance = flag("--rebalance <on|off>", "whether pchannels move for the sake of balance");
  return clientCommand("policy", "show or choose how pchannels are placed")
    .argument("[name]", "the policy to use from now on")
    .addOption(rebalance.argParser(parseSwitch))
    .action(async (name: string | undefined, flags: ClientFlags & { rebalance?: boolean }) => {
      const { rebalance: allowRebalance } = flags;
      const balance = await withClient(flags.server, async ({ admin }) => {
        if (name === undefined && allowRebalance === undefined) {
          return (await admin.getClusterStatus({}, callOptions(io))).balance;
        }
        const change = {
          policy: name ?? "",
          ...(allowRebalance !== undefined && { allowRebalance }),
        };
        return (await admin.updateBalancePolicy(change, callOptions(io))).balance;
      });
      if (!balance) throw new MillraceError("INNER", "the server answered without the policy");
      if (flags.json) {
        return await writeJson(io.stdout, toJson(BalanceStatusSchema, balance, allFields));
      }
      await write(io.stdout, formatBalance(balance));
    });
}

function clusterStatus(io: Io, flags: ClientFlags) {
  return withClient(flags.server, ({ admin }) => admin.getClusterStatus({}, callOptions(io)));
}

function channelRow(pchannel: PchannelStatus): string[] {
  const { name, term, state, nodeId, vchannels, assignedMs, transferred } = pchannel;
  const notes = [
    ...(transferred ? ["transferred, stays"] : []),
    ...pchannel.formerNodeIds.map((former) => `${former} lets go`),
  ];
  const assigned = assignedMs === 0n ? "" : new Date(Number(assignedMs)).toISOString();
  return [name, String(term), state, nodeId, String(vchannels), assigned, notes.join(", ")];
}

function formatBalance({ policy, policies, allowRebalance }: BalanceStatus): string {
  const rows = policies.map((name) => [name, name === policy ? "in force" : ""]);
  const moves = allowRebalance ? "pchannels are moved" : "no pchannel is moved";
  return `${formatTable(["POLICY", ""], rows)}\n${moves} for the sake of balance\n`;
}

function parseSwitch(text: string): boolean {
  if (text === "on" || text === "off") return text === "on";
  throw new InvalidArgumentError("Give on or off.");
}
