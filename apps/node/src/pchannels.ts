/**
 * The pchannels of a node: opened and closed one step after the other, the highest term wins.
 *
 * @module
 */

import { type Logger, MillraceError } from "@millrace/types";
import type { OpenPchannel } from "./pchannel.ts";

/** Options of {@linkcode createPchannels}. */
export interface PchannelsOptions {
  /** Opens a pchannel; ends when the signal is aborted. */
  open: (name: string, term: number, signal: AbortSignal) => Promise<OpenPchannel>;
  /** Told when a pchannel has failed by itself and was closed. */
  onFailure: (name: string, term: number, error: MillraceError) => void;
  logger: Logger;
}

/** The pchannels of a node. */
export interface Pchannels {
  /**
   * Opens a pchannel at a term, after closing it at a lower one. `IGNORED_OPERATION` if a higher term
   * is known, or the term was removed.
   */
  assign(name: string, term: number): Promise<void>;
  /** Closes a pchannel if it is held at this term or a lower one. */
  remove(name: string, term: number): Promise<void>;
  /** What is open, by name. */
  list(): OpenPchannel[];
  /** `CHANNEL_NOT_EXIST` if it is not open, `UNMATCHED_CHANNEL_TERM` if it is at another term. */
  find(name: string, term: number): OpenPchannel;
  /** Closes all. What was assigned before counts as removed. */
  closeAll(): Promise<void>;
  /** As `closeAll`, and takes nothing on any more. */
  close(): Promise<void>;
}

interface Slot {
  /** The latest intent: this term, wanted or not. */
  term: number;
  wanted: boolean;
  held: OpenPchannel | undefined;
  /** Aborts the opening that is under way. */
  cancel: AbortController | undefined;
  /** The last step; steps of one pchannel follow one another. */
  tail: Promise<unknown>;
}

/** The pchannels of a node. */
export function createPchannels(options: PchannelsOptions): Pchannels {
  const { open, onFailure, logger } = options;
  const slots = new Map<string, Slot>();
  let closing = false;

  const slotOf = (name: string): Slot => {
    let slot = slots.get(name);
    if (!slot) {
      slot = {
        term: 0,
        wanted: false,
        held: undefined,
        cancel: undefined,
        tail: Promise.resolve(),
      };
      slots.set(name, slot);
    }
    return slot;
  };

  const enqueue = <T>(slot: Slot, step: () => Promise<T>): Promise<T> => {
    const result = slot.tail.then(step);
    slot.tail = result.catch(() => undefined);
    return result;
  };

  const closeHeld = async (slot: Slot): Promise<void> => {
    const { held } = slot;
    slot.held = undefined;
    await held?.close();
  };

  const watch = (slot: Slot, pchannel: OpenPchannel): void => {
    const { name, term, signal } = pchannel;
    const onFailed = (): void => {
      if (slot.held !== pchannel) return;
      const error = MillraceError.from(signal.reason);
      logger.error("pchannel failed", { pchannel: name, term, code: error.code, error });
      enqueue(slot, async () => {
        if (slot.held !== pchannel) return;
        await closeHeld(slot);
        onFailure(name, term, error);
      }).catch((reason: unknown) => {
        logger.error("closing a failed pchannel failed", { pchannel: name, term, error: reason });
      });
    };
    if (signal.aborted) onFailed();
    else signal.addEventListener("abort", onFailed, { once: true });
  };

  const openStep = async (slot: Slot, name: string, term: number): Promise<void> => {
    if (!slot.wanted || slot.term !== term) throw ignored(name, term, slot.term);
    if (slot.held?.term === term) return;
    await closeHeld(slot);
    const cancel = new AbortController();
    slot.cancel = cancel;
    try {
      const pchannel = await open(name, term, cancel.signal);
      slot.held = pchannel;
      watch(slot, pchannel);
    } finally {
      slot.cancel = undefined;
    }
  };

  const pchannels: Pchannels = {
    async assign(name, term) {
      if (closing) throw new MillraceError("ON_SHUTDOWN", "the node is shutting down");
      const slot = slotOf(name);
      if (term < slot.term || (term === slot.term && !slot.wanted)) {
        throw ignored(name, term, slot.term);
      }
      if (term > slot.term) {
        slot.term = term;
        slot.wanted = true;
        slot.cancel?.abort(ignored(name, term, term));
      }
      await enqueue(slot, () => openStep(slot, name, term));
    },
    async remove(name, term) {
      const slot = slotOf(name);
      if (term >= slot.term) {
        slot.term = term;
        slot.wanted = false;
        slot.cancel?.abort(new MillraceError("ON_SHUTDOWN", `${name} is removed`));
      }
      await enqueue(slot, async () => {
        if (slot.held && slot.held.term <= term) await closeHeld(slot);
      });
    },
    list: () => [...slots.values()].flatMap(({ held }) => (held ? [held] : [])),
    find(name, term) {
      const held = slots.get(name)?.held;
      if (!held) {
        throw new MillraceError("CHANNEL_NOT_EXIST", `this node does not hold ${name}`);
      }
      if (held.term !== term) {
        throw new MillraceError(
          "UNMATCHED_CHANNEL_TERM",
          `${name} is held at term ${held.term}, not ${term}`,
          { expected: String(held.term) },
        );
      }
      return held;
    },
    async closeAll() {
      await Promise.all([...slots].map(([name, slot]) => pchannels.remove(name, slot.term)));
    },
    async close() {
      closing = true;
      await pchannels.closeAll();
    },
  };
  return pchannels;
}

function ignored(name: string, term: number, known: number): MillraceError {
  const why = term < known ? `term ${known} is known` : "it was removed since";
  return new MillraceError("IGNORED_OPERATION", `${name} at term ${term} is out of date: ${why}`, {
    expected: String(known),
  });
}
