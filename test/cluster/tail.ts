/**
 * A client that tails a collection through one proxy and goes on where it was when the stream breaks,
 * or when it breaks it itself.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@connectrpc/connect";
import { MillraceError, pchannelOf, type Random } from "@millrace/types";
import { type ProxyService, TailFrom, type TailPosition } from "@millrace/types/gen";
import { createLatch } from "./latch.ts";
import { isExpected, nameOfColumns, type Record, type Target } from "./record.ts";

/** Options of {@linkcode createTail}. */
export interface TailOptions {
  /** Of its readers, in histories. */
  name: string;
  proxy: Client<typeof ProxyService>;
  target: Target;
  record: Record;
  random: Random;
  /** How often it breaks the stream itself, per message. */
  breaks: number;
}

/** A client that tails. */
export interface Tail {
  /** How many messages it has got, and how often it went on where it was. */
  totals: { messages: number; resumed: number };
  /** Tails until it is stopped. */
  run(): Promise<void>;
  /** Resolves when it has got another message. */
  more(): Promise<void>;
  /** Resolves when it has got the last message of each vchannel. */
  until(last: ReadonlyMap<string, string>): Promise<void>;
  /** Writes down that it has got everything, and ends. */
  stop(): void;
}

/** A proxy says something every 5 seconds. */
const silenceMs = 12_000;

/** Creates a client that begins with the earliest message. */
export function createTail(options: TailOptions): Tail {
  const { name, proxy, target, record, random } = options;
  const { collection, vchannels } = target;
  const totals = { messages: 0, resumed: 0 };
  const positions = new Map<string, TailPosition>();
  const lastNames = new Map<string, string>();
  const ended = new AbortController();
  let readers = new Map<string, string>();
  let streams = 0;
  let onMessage = (): void => undefined;

  const tell = (vchannel: string, event: Parameters<typeof eventOf>[1]): void => {
    record.events.push(eventOf(vchannel, event));
  };

  function begin(): void {
    const stream = streams++;
    readers = new Map(vchannels.map((each) => [each, `${name}.${stream} of ${each}`]));
    for (const [vchannel, reader] of readers) {
      const position = positions.get(vchannel);
      const from = position ? ({ after: position.tick, since: 0 } as const) : "earliest";
      tell(vchannel, { kind: "read", reader, view: "deliveries", from, vchannel });
    }
  }

  function take(position: TailPosition, messageName: string): void {
    const { vchannel, tick, id } = position;
    const reader = readers.get(vchannel);
    if (reader === undefined || !id) {
      record.surprise(`${name} got a message of ${vchannel} without a place in it`);
      return;
    }
    positions.set(vchannel, position);
    lastNames.set(vchannel, messageName);
    totals.messages++;
    const place = { sequence: Number(id.sequence), index: id.index };
    const delivery = { tick, id: place, names: [messageName] };
    tell(vchannel, { kind: "delivery", reader, delivery });
    onMessage();
  }

  async function stream(): Promise<void> {
    const broken = new AbortController();
    const signal = AbortSignal.any([ended.signal, broken.signal]);
    let silence = setTimeout(() => broken.abort(), silenceMs);
    begin();
    try {
      const from = TailFrom.EARLIEST;
      const request = { collection, from, positions: [...positions.values()] };
      for await (const { event } of proxy.tail(request, { signal })) {
        clearTimeout(silence);
        silence = setTimeout(() => broken.abort(), silenceMs);
        if (event.case === "heartbeat") {
          for (const position of event.value.positions) {
            const known = positions.get(position.vchannel);
            if (!known || position.tick > known.tick) positions.set(position.vchannel, position);
          }
        } else if (event.case === "message" && event.value.position && event.value.columns) {
          take(event.value.position, nameOfColumns(event.value.columns));
          if (random.next() < options.breaks) return;
        }
      }
    } finally {
      clearTimeout(silence);
      broken.abort();
    }
  }

  return {
    totals,
    async run() {
      while (!ended.signal.aborted) {
        try {
          await stream();
        } catch (reason) {
          const error = MillraceError.from(reason);
          if (!ended.signal.aborted && !isExpected(error)) {
            record.surprise(`${name} failed with ${error.code}: ${error.message}`);
          }
          await sleep(100);
        }
        totals.resumed++;
      }
    },
    more() {
      const done = createLatch();
      onMessage = done.open;
      return done.opened;
    },
    until(last) {
      const done = createLatch();
      onMessage = () => {
        const isThere = vchannels.every((each) => lastNames.get(each) === last.get(each));
        if (isThere) done.open();
      };
      onMessage();
      return done.opened;
    },
    stop() {
      ended.abort();
      for (const [vchannel, reader] of readers) tell(vchannel, { kind: "complete", reader });
    },
  };
}

function eventOf(
  vchannel: string,
  event: Extract<Record["events"][number], { kind: "read" }>["event"],
): Extract<Record["events"][number], { kind: "read" }> {
  return { kind: "read", pchannel: pchannelOf(vchannel), event };
}
