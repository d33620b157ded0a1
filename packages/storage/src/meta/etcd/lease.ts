/**
 * Leases by etcd's own: the key ends with the lease that it was put with.
 *
 * @module
 */

import { type Clock, MillraceError } from "@millrace/types";
import { type HeldLease, holdLease, leaseLost } from "../hold.ts";
import type { EtcdClient } from "./client.ts";
import { absent, type Entries } from "./entries.ts";
import type { LeaseResponse } from "./messages.ts";

/** What the store's leases share. */
export interface LeaseContext {
  client: EtcdClient;
  entries: Entries;
  clock: Clock;
}

/** Takes a lease, or answers `undefined` while another holds it. */
export async function takeEtcdLease(
  context: LeaseContext,
  key: string,
  content: { value: Uint8Array; ttlMs: number },
): Promise<HeldLease | undefined> {
  const { client, entries, clock } = context;
  const { value, ttlMs } = content;
  const found = await entries.peek(key);
  if (found?.lease !== undefined) return undefined;
  const start = clock.monotonic();
  const id = await grant(client, key, ttlMs);
  const base = found?.mod_revision ?? absent;
  const written = await entries.write(key, value, base, { lease: id, ttlMs });
  if ("revision" in written) return hold(context, key, { id, ttlMs, start });
  await revoke(client, key, id).catch((error: unknown) => {
    // Nobody renews it, so it ends by itself.
    if (!MillraceError.is(error)) throw error;
  });
  return undefined;
}

function hold(
  { client, entries, clock }: LeaseContext,
  key: string,
  lease: { id: string; ttlMs: number; start: number },
): HeldLease {
  const { name } = client.location;
  const { id, ttlMs, start } = lease;
  // Time for a second member before the renewal is given up and begun again.
  const limits = { requestTimeoutMs: ttlMs / 6, callTimeoutMs: ttlMs / 3 };
  return holdLease({
    ...{ name, key, ttlMs, start, clock },
    async renew(signal) {
      const [answer, kv] = await Promise.all([
        client.call<{ result?: LeaseResponse }>({
          doing: `renew the lease ${key}`,
          path: "lease/keepalive",
          body: { ID: id },
          ...limits,
          signal,
        }),
        entries.peek(key, signal, limits),
      ]);
      if (Number(answer.message.result?.TTL ?? 0) <= 0) {
        throw leaseLost(name, key, "etcd has ended it");
      }
      if (kv?.lease !== id) throw leaseLost(name, key, "another has written over it");
    },
    giveUp: () => revoke(client, key, id),
  });
}

async function grant(client: EtcdClient, key: string, ttlMs: number): Promise<string> {
  const doing = `grant a lease for ${key}`;
  // A grant whose answer was lost ends by itself.
  const { message } = await client.call<LeaseResponse>({
    doing,
    path: "lease/grant",
    body: { TTL: String(Math.ceil(ttlMs / 1000)) },
  });
  if (message.ID !== undefined) return message.ID;
  throw new MillraceError("INNER", `${client.location.name}: cannot ${doing}: it has no id`);
}

async function revoke(client: EtcdClient, key: string, id: string): Promise<void> {
  try {
    await client.call({ doing: `end the lease ${key}`, path: "lease/revoke", body: { ID: id } });
  } catch (error) {
    // It has ended already.
    if (!MillraceError.is(error, "NOT_FOUND")) throw error;
  }
}
