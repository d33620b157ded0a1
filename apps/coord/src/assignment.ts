/**
 * Who owns what, told to those who ask.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import type { Balancer, PchannelRecord } from "@millrace/balancer";
import { type Clock, type Logger, MillraceError, withTimeLimit } from "@millrace/types";
import {
  type DiscoverResponse,
  DiscoverResponseSchema,
  type ReportErrorRequest,
} from "@millrace/types/gen";
import type { Changes } from "./changes.ts";
import type { Members } from "./members.ts";
import type { Nodes } from "./nodes.ts";
import type { ServingOwner } from "./vchannel-append.ts";

/** Options of {@linkcode createAssignment}. */
export interface AssignmentOptions {
  /** Number of this coordinator, from 1. */
  epoch: number;
  balancer: Balancer;
  members: Members;
  nodes: Nodes;
  /** Grows with each change of assignments, nodes or the catalog. */
  changes: Changes;
  /** Grows with each change of the catalog, over restarts too. */
  catalogRevision: () => bigint;
  clock: Clock;
  logger: Logger;
}

/** Assignments, for others. */
export interface Assignment {
  /** The owner of a pchannel at this moment. */
  ownerOf(pchannel: string): ServingOwner | undefined;
  /** A snapshot at once, one after each change (the latest, if the reader is slow), and one every second. */
  discover(signal: AbortSignal): AsyncIterable<DiscoverResponse>;
  /** Moves the pchannel if its owner is asked and does not hold it. Ignored if the term is stale. */
  reportError(request: ReportErrorRequest): Promise<void>;
  /** As reportError, in the background. */
  suspect(pchannel: string, term: number): void;
  /** Ends the streams. */
  close(): void;
}

const heartbeatMs = 1000;
/** How long an owner that was reported may take to say that it is well, in milliseconds. */
const verifyMs = 2000;

/** Creates an {@linkcode Assignment}. */
export function createAssignment(options: AssignmentOptions): Assignment {
  const { epoch, balancer, members, nodes, changes, catalogRevision, clock, logger } = options;
  const closing = new AbortController();
  const verifying = new Map<string, Promise<void>>();

  const recordOf = (pchannel: string): PchannelRecord | undefined =>
    balancer.records().find((record) => record.name === pchannel);

  const served = (record: PchannelRecord | undefined): ServingOwner | undefined => {
    const { state, owner, term } = record ?? {};
    if (state !== "assigned" || term === undefined) return undefined;
    const member = members
      .alive()
      .find((m) => m.nodeId === owner?.nodeId && m.incarnation === owner.incarnation);
    return member && { address: member.address, term };
  };

  const snapshot = (): DiscoverResponse => {
    const assigned = balancer.records().filter((record) => record.state === "assigned");
    return create(DiscoverResponseSchema, {
      version: { coordinator: BigInt(epoch), revision: BigInt(changes.revision) },
      nodes: members.alive().map((member) => ({
        nodeId: member.nodeId,
        address: member.address,
        pchannels: assigned
          .filter(
            ({ owner }) =>
              owner?.nodeId === member.nodeId && owner.incarnation === member.incarnation,
          )
          .map(({ name, term }) => ({ name, term: BigInt(term) })),
      })),
      catalogRevision: catalogRevision(),
    });
  };

  const isWell = async (address: string, pchannel: string, term: number): Promise<boolean> => {
    try {
      const wals = await withTimeLimit(clock, verifyMs, closing.signal, (signal) =>
        nodes.collectStatus(address, signal),
      );
      return wals.some((wal) => wal.name === pchannel && wal.term === BigInt(term));
    } catch (error) {
      logger.info("a node that was reported does not answer", { pchannel, address, error });
      return false;
    }
  };

  const verify = async (pchannel: string, term: number): Promise<void> => {
    const owner = served(recordOf(pchannel));
    if (owner === undefined || owner.term !== term) return;
    if (await isWell(owner.address, pchannel, term)) return;
    if (closing.signal.aborted) return;
    logger.warn("a pchannel is not served by its owner", { pchannel, term });
    await balancer.markUnavailable(pchannel, term);
  };

  /** Many clients report one failure: it is looked at once. */
  const verifyOnce = (pchannel: string, term: number): Promise<void> => {
    const key = `${pchannel}@${term}`;
    const running = verifying.get(key);
    if (running) return running;
    const started = verify(pchannel, term).finally(() => verifying.delete(key));
    verifying.set(key, started);
    return started;
  };

  return {
    ownerOf: (pchannel) => served(recordOf(pchannel)),
    async *discover(caller) {
      const signal = AbortSignal.any([caller, closing.signal]);
      while (!signal.aborted) {
        const seen = changes.revision;
        yield snapshot();
        await changes.wait(seen, heartbeatMs, signal);
      }
    },
    async reportError({ pchannel }) {
      const record = pchannel && recordOf(pchannel.name);
      if (record === undefined) {
        throw new MillraceError("INVALID_ARGUMENT", "pchannel.name is not a pchannel", {
          field: "pchannel.name",
        });
      }
      if (pchannel?.term === BigInt(record.term)) await verifyOnce(record.name, record.term);
    },
    suspect(pchannel, term) {
      verifyOnce(pchannel, term).catch((error: unknown) =>
        logger.warn("a report could not be followed up", { pchannel, term, error }),
      );
    },
    close: () => closing.abort(),
  };
}
