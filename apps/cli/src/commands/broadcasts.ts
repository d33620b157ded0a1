/**
 * `millrace admin broadcasts | abort`.
 *
 * @module
 */

import { toJson } from "@bufbuild/protobuf";
import {
  type BroadcastStatus,
  BroadcastStatusSchema,
  MessageType,
  type ResourceKey,
} from "@millrace/types/gen";
import { type Command, InvalidArgumentError } from "commander";
import type { Io } from "../io.ts";
import { flag } from "../options.ts";
import { formatTable, write, writeJson } from "../output.ts";
import { type ClientFlags, callOptions, clientCommand, withClient } from "./context.ts";

/** `millrace admin broadcasts`: changes that are under way. */
export function broadcastsCommand(io: Io): Command {
  return clientCommand("broadcasts", "list the changes of collections that are under way").action(
    async (flags: ClientFlags) => {
      const { broadcasts } = await withClient(flags.server, ({ admin }) =>
        admin.getClusterStatus({}, callOptions(io)),
      );
      if (flags.json) {
        const options = { alwaysEmitImplicit: true };
        const all = broadcasts.map((one) => toJson(BroadcastStatusSchema, one, options));
        return await writeJson(io.stdout, all);
      }
      const head = ["ID", "CHANGE", "OF", "STATE", "COPIES", "SINCE", "PROBLEM"];
      await write(io.stdout, formatTable(head, broadcasts.map(broadcastRow)));
    },
  );
}

/** `millrace admin abort`: ends one that is stuck. */
export function abortCommand(io: Io): Command {
  const force = flag(
    "--force <how>",
    "if shards may have it: finish without the others, or forget it",
  );
  return clientCommand("abort", "end a change that is stuck")
    .argument("<id>", "as broadcasts shows it", parseId)
    .addOption(force.choices(["finish", "forget"]))
    .action(async (broadcastId: bigint, flags: ClientFlags & { force?: string }) => {
      await withClient(flags.server, ({ admin }) =>
        admin.abortBroadcast({ broadcastId, force: flags.force ?? "" }, callOptions(io)),
      );
      if (flags.json) return await writeJson(io.stdout, { aborted: broadcastId });
      await write(io.stdout, `aborted ${broadcastId}\n`);
    });
}

/** Lines on the changes that do not proceed. */
export function stuckLines(broadcasts: readonly BroadcastStatus[]): string[] {
  return broadcasts.flatMap((broadcast) => {
    const problem = problemOf(broadcast);
    if (problem === "") return [];
    const [id = "", change = "", of = "", , , since = ""] = broadcastRow(broadcast);
    return [`change ${id}, ${change} of ${of}, is under way since ${since}: ${problem}\n`];
  });
}

function broadcastRow(broadcast: BroadcastStatus): string[] {
  const { id, type, resourceKeys, state, copies, sinceMs } = broadcast;
  const done = copies.filter((copy) => copy.state === "appended" || copy.state === "acked");
  return [
    String(id),
    changeName(type),
    resourceKeys
      .filter((key) => key.exclusive)
      .map(keyText)
      .join(", "),
    state,
    `${done.length} of ${copies.length}`,
    new Date(Number(sinceMs)).toISOString(),
    problemOf(broadcast),
  ];
}

function problemOf({ problem, copies }: BroadcastStatus): string {
  const failed = copies.find((copy) => copy.problem !== "");
  return problem || (failed ? `${failed.vchannel}: ${failed.problem}` : "");
}

function changeName(type: MessageType): string {
  const named = Object.entries(MessageType).find(([, value]) => value === type);
  return named ? named[0] : String(type);
}

function keyText({ domain, key }: ResourceKey): string {
  return key === "" ? domain : `${domain} ${key}`;
}

function parseId(text: string): bigint {
  if (/^\d{1,19}$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError("Give the id of a broadcast.");
}
