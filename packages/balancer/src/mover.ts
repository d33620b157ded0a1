/**
 * Takes one pchannel from where it is to where it should be, each step saved before it is taken.
 *
 * @module
 */

import type { MetaEntry, MetaStore } from "@millrace/storage";
import { type Clock, MillraceError } from "@millrace/types";
import {
  beginAssign,
  beginRelease,
  decodeRecord,
  encodeRecord,
  type FormerOwner,
  finishAssign,
  formerRemoved,
  isSameRun,
  type Owner,
  type PchannelRecord,
  prefer,
  uninitialized,
} from "./channel-state.ts";
import type { NodeHealth } from "./node-health.ts";

/** A node that is alive. */
export interface BalancerNode extends Owner {
  /** It is shutting down: its pchannels are to move away. */
  draining: boolean;
  /** Aborted when this run of the node is dead: its lease ended, or it was started again. */
  gone: AbortSignal;
}

/** How nodes are told. Calls end when the signal is aborted. */
export interface NodeCalls {
  /** Opens the pchannel at the term; resolves when it can be written. */
  assign(node: Owner, pchannel: string, term: number, signal: AbortSignal): Promise<void>;
  /** Closes the pchannel if the node holds it at this term or a lower one. */
  remove(node: Owner, pchannel: string, term: number, signal: AbortSignal): Promise<void>;
}

/** Options of {@linkcode Mover.move}. */
export interface MoveOptions {
  /** An operator wants it there, and there it is to stay. */
  preferred: boolean;
}

/** A pchannel's record, and what is known of its copy in the MetaStore. */
export interface SavedRecord {
  record: PchannelRecord;
  /** Of the saved record; `null`: it is not saved yet. */
  revision: string | null;
  /** A save failed, so what is saved is not known. */
  stale: boolean;
  /** Terms up to here are known to be used, from what nodes answered. */
  floor: number;
}

/** Options of {@linkcode createMover}. */
export interface MoverOptions {
  meta: MetaStore;
  /** Key prefix of the records. */
  prefix: string;
  calls: NodeCalls;
  /** Learns how nodes do with what they are given. */
  health: NodeHealth;
  /** The nodes that are alive now. */
  nodes: () => readonly BalancerNode[];
  /** Called after each save. Must not throw. */
  onChange: () => void;
  clock: Clock;
  /** How long one Assign or Remove may take, in milliseconds. */
  operationTimeoutMs: number;
  /** Ends whatever is under way. */
  signal: AbortSignal;
}

/** Moves pchannels; one call at a time for each of them. */
export interface Mover {
  /** Takes in what is saved of a pchannel; `undefined`: nothing. */
  adopt(saved: SavedRecord, entry: MetaEntry | undefined): void;
  /** Saves what `next` makes of the record, under the revision that the last one has. */
  save(saved: SavedRecord, next: (record: PchannelRecord) => PchannelRecord): Promise<void>;
  /** Gives the pchannel to a node; without one takes it from its owner. Every attempt is a term. */
  move(saved: SavedRecord, target: BalancerNode | undefined, options: MoveOptions): Promise<void>;
}

/** Node errors that say: it does not hold the pchannel at this term or a lower one. */
const notHeld = ["IGNORED_OPERATION", "UNMATCHED_CHANNEL_TERM", "CHANNEL_NOT_EXIST"] as const;

/** Creates a {@linkcode Mover}. */
export function createMover(options: MoverOptions): Mover {
  const { meta, prefix, calls, health, nodes, clock, operationTimeoutMs, signal } = options;

  const adopt = (saved: SavedRecord, entry: MetaEntry | undefined): void => {
    const { name } = saved.record;
    saved.record = entry ? decodeRecord(entry.key, entry.value) : uninitialized(name);
    saved.revision = entry?.revision ?? null;
    saved.stale = false;
  };

  const save: Mover["save"] = async (saved, next) => {
    if (saved.stale) adopt(saved, await meta.get(`${prefix}${saved.record.name}`, { signal }));
    const record = next(saved.record);
    if (record === saved.record) return;
    saved.stale = true;
    saved.revision = await meta.put(`${prefix}${record.name}`, encodeRecord(record), {
      expected: saved.revision,
      signal,
    });
    saved.record = record;
    saved.stale = false;
    options.onChange();
  };

  const bounded = async (
    node: BalancerNode,
    call: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> => {
    const deadline = new AbortController();
    const cancel = clock.schedule(operationTimeoutMs, () =>
      deadline.abort(
        new MillraceError(
          "DEADLINE_EXCEEDED",
          `node ${node.nodeId} did not answer within ${operationTimeoutMs} ms`,
        ),
      ),
    );
    try {
      await call(AbortSignal.any([signal, node.gone, deadline.signal]));
    } finally {
      cancel();
    }
  };

  const remove = async (name: string, owner: FormerOwner): Promise<void> => {
    const node = nodes().find((n) => isSameRun(n, owner));
    // A dead run holds nothing that counts: the log fences it.
    if (node === undefined) return;
    try {
      await bounded(node, (limit) => calls.remove(node, name, owner.term, limit));
    } catch (error) {
      if (node.gone.aborted || MillraceError.is(error, ...notHeld)) return;
      throw error;
    }
  };

  const assign = async (saved: SavedRecord, node: BalancerNode): Promise<void> => {
    const { name, term } = saved.record;
    try {
      await bounded(node, (limit) => calls.assign(node, name, term, limit));
      health.succeeded(node.incarnation);
    } catch (error) {
      if (!signal.aborted) health.failed(node.incarnation, error);
      saved.floor = Math.max(saved.floor, higherTerm(error));
      throw error;
    }
  };

  return {
    adopt,
    save,
    async move(saved, target, { preferred }) {
      await save(saved, (record) => {
        if (!target) return beginRelease(record);
        const next = beginAssign(record, ownerOf(target), saved.floor);
        return preferred ? prefer(next, target) : next;
      });
      const { name, former } = saved.record;
      await Promise.all(former.map((owner) => remove(name, owner)));
      if (target) {
        // Saved with the next state: until then the store says that more owners may hold it, no fewer.
        saved.record = formerRemoved(saved.record);
        await assign(saved, target);
      }
      await save(saved, (record) =>
        target ? finishAssign(record, clock.now()) : formerRemoved(record),
      );
    },
  };
}

function ownerOf({ nodeId, incarnation, address }: Owner): Owner {
  return { nodeId, incarnation, address };
}

/** The higher term that a node said it knows; 0 if it did not say so. */
function higherTerm(error: unknown): number {
  if (!MillraceError.is(error, "CHANNEL_FENCED", "IGNORED_OPERATION")) return 0;
  const term = Number(error.expected);
  return Number.isSafeInteger(term) ? term : 0;
}
