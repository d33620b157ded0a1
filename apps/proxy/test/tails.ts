/** What the tests of tails share. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { pchannelOf } from "@millrace/types";
import { DataType, TailFrom, type TailRequestSchema, type TailResponse } from "@millrace/types/gen";
import { expect, onTestFinished } from "vitest";
import { type Cluster, type ClusterOptions, startCluster } from "./cluster.ts";

export const schema = {
  fields: [
    { name: "id", type: DataType.INT64, primaryKey: true },
    { name: "text", type: DataType.VARCHAR, maxLength: 60_000, nullable: true },
  ],
};

/** A cluster with the collection `c`. */
export async function start(shards = 1, options?: ClusterOptions) {
  const cluster = await startCluster(options);
  const { collection } = await cluster.client.createCollection({ name: "c", schema, shards });
  const vchannels = collection?.vchannels ?? [];
  return { cluster, vchannels, pchannel: pchannelOf(vchannels[0] ?? "") };
}

/** A tail whose events are collected as they come. */
export function openTail(
  cluster: Cluster,
  request: MessageInitShape<typeof TailRequestSchema> = {},
) {
  const controller = new AbortController();
  onTestFinished(() => controller.abort());
  const events: TailResponse["event"][] = [];
  const ended = (async () => {
    const { signal } = controller;
    const all = { collection: "c", from: TailFrom.EARLIEST, json: true, ...request };
    for await (const { event } of cluster.client.tail(all, { signal })) events.push(event);
  })();
  ended.catch(() => undefined);
  const messages = () => events.flatMap((event) => (event.case === "message" ? [event.value] : []));
  const ids = () => messages().flatMap(({ rows }) => rows.map(({ id }) => id));
  /** Moves time on until the condition holds. */
  const until = async (condition: () => boolean): Promise<void> => {
    for (let step = 0; step < 2000 && !condition(); step++) await cluster.clock.advance(10);
    if (!condition()) expect.fail(`not reached; the tail has ${JSON.stringify(ids())}`);
  };
  return { events, messages, ids, until, ended, abort: () => controller.abort() };
}

/** Inserts rows with these ids into `c`. */
export const insert = (cluster: Cluster, ...ids: number[]) =>
  cluster.client.insert({ collection: "c", rows: ids.map((id) => ({ id })) });

/** Inserts while a pchannel moves: time goes on until it is done. */
export async function insertDuring(cluster: Cluster, id: number): Promise<void> {
  let done = false;
  const call = insert(cluster, id).finally(() => {
    done = true;
  });
  call.catch(() => undefined);
  for (let step = 0; step < 1000 && !done; step++) await cluster.clock.advance(10);
  await call;
}
