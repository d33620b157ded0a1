/**
 * Broadcasts that others ask for, and what operators are told of those that are under way.
 *
 * @module
 */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { AbortForce, Broadcaster, BroadcastPlan, TaskInfo } from "@millrace/broadcaster";
import { MillraceError } from "@millrace/types";
import {
  type BroadcastRequest,
  type BroadcastResponse,
  BroadcastResponseSchema,
  type BroadcastStatusSchema,
  MessageType,
} from "@millrace/types/gen";
import type { Catalog } from "./catalog.ts";
import { checkIdempotencyKey, collectionKey } from "./ddl.ts";

const maxResourceKeys = 60;

/** Options of {@linkcode broadcast}. */
export interface BroadcastOptions {
  broadcaster: Broadcaster;
  catalog: Catalog;
}

/** Broadcasts a message for a client; see BroadcastService.Broadcast. */
export async function broadcast(
  { broadcaster, catalog }: BroadcastOptions,
  request: BroadcastRequest,
  signal: AbortSignal,
): Promise<BroadcastResponse> {
  const { message, vchannels, idempotencyKey, resourceKeys } = request;
  if (message?.type !== MessageType.MANUAL_FLUSH) {
    throw invalid("message.type", "must be MANUAL_FLUSH; ask the catalog for changes of it");
  }
  checkIdempotencyKey(idempotencyKey);
  if (resourceKeys.length > maxResourceKeys) {
    throw invalid("resource_keys", `has more than ${maxResourceKeys} keys`);
  }
  const { header, payload } = message;
  const plan = (): BroadcastPlan => {
    // Under the locks: none of the collections can be dropped meanwhile.
    for (const [index, vchannel] of vchannels.entries()) {
      if (collectionOf(catalog, vchannel) === undefined) {
        throw new MillraceError("VCHANNEL_NOT_EXIST", `there is no vchannel ${vchannel}`, {
          field: `vchannels[${index}]`,
        });
      }
    }
    return { header, payload, vchannels };
  };
  const names = new Set(vchannels.map((vchannel) => collectionOf(catalog, vchannel) ?? ""));
  names.delete("");
  const result = await broadcaster.broadcast({
    type: message.type,
    keys: [
      ...[...names].map((name) => collectionKey(name, "shared")),
      ...resourceKeys.map(({ domain, key, exclusive }) => ({
        domain,
        key,
        mode: exclusive ? ("exclusive" as const) : ("shared" as const),
      })),
    ],
    idempotencyKey,
    plan,
    signal,
  });
  return create(BroadcastResponseSchema, {
    broadcastId: result?.id ?? 0n,
    copies: [...(result?.results ?? [])].map(([vchannel, { id, tick }]) => ({
      vchannel,
      id: { sequence: BigInt(id.sequence), index: id.index },
      tick,
    })),
    duplicate: result?.duplicate ?? false,
  });
}

/** What `AbortBroadcastRequest.force` asks for. */
export function abortForce(force: string): { force?: AbortForce } {
  if (force === "") return {};
  if (force === "finish" || force === "forget") return { force };
  throw invalid("force", `must be empty, finish or forget, got ${JSON.stringify(force)}`);
}

/** A task as operators see it. */
export function broadcastStatus(task: TaskInfo): MessageInitShape<typeof BroadcastStatusSchema> {
  const { id, message, keys, state, copies, since, problem } = task;
  return {
    id,
    type: message.type as MessageType,
    resourceKeys: keys.map(({ domain, key, mode }) => {
      return { domain, key, exclusive: mode === "exclusive" };
    }),
    state,
    copies: copies.map(({ vchannel, state, failures, problem }) => {
      return { vchannel, state, failures, problem };
    }),
    sinceMs: BigInt(Math.round(since)),
    problem,
  };
}

function collectionOf(catalog: Catalog, vchannel: string): string | undefined {
  return catalog.all().find(({ vchannels }) => vchannels.includes(vchannel))?.name;
}

function invalid(field: string, problem: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", `${field} ${problem}`, { field });
}
