/**
 * The network of a cluster: a way of its own from each process to each server that it talks to, which can
 * be cut, held up or slowed down.
 *
 * @module
 */

import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createLatch } from "./latch.ts";

/** In which direction bytes go: to the server, or back from it. */
export type Direction = "there" | "back";

/** What is wrong with a way; nothing if all is absent. */
export interface Trouble {
  /** Connections are reset, and new ones too. */
  cut?: boolean;
  /** Nothing goes through in these directions; it does later. */
  held?: readonly Direction[];
  /** Everything takes so many milliseconds more, in each direction. */
  delayMs?: number;
}

/** A way from one process to a server. */
export interface Link {
  from: string;
  to: string;
  /** Where it begins, on the loopback interface. */
  port: number;
  /** Puts trouble in place of what there was. */
  set(trouble: Trouble): void;
}

/** All ways that there are. */
export interface Network extends AsyncDisposable {
  /** Lays a way to the server at a port. */
  link(from: string, to: string, port: number): Promise<Link>;
  /** The ways that begin or end at both, in either direction; `undefined` stands for all. */
  between(one: string, other?: string): Link[];
  /** The ways from those whose names begin so to those whose names begin so. */
  links(from: string, to: string): Link[];
  heal(): void;
}

/** Creates a network without ways. */
export function createNetwork(): Network {
  const links: (Link & { close(): Promise<void> })[] = [];
  return {
    async link(from, to, port) {
      const link = await openLink(from, to, port);
      links.push(link);
      return link;
    },
    between: (one, other) =>
      links.filter(({ from, to }) =>
        other === undefined
          ? from === one || to === one
          : (from === one && to === other) || (from === other && to === one),
      ),
    links: (from, to) =>
      links.filter((link) => link.from.startsWith(from) && link.to.startsWith(to)),
    heal() {
      for (const link of links) link.set({});
    },
    async [Symbol.asyncDispose]() {
      for (const link of links) await link.close();
    },
  };
}

async function openLink(
  from: string,
  to: string,
  target: number,
): Promise<Link & { close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  let trouble: Trouble = {};
  let changed = createLatch();

  /** Resolves when bytes may go. */
  const free = async (direction: Direction): Promise<void> => {
    while (trouble.held?.includes(direction)) await changed.opened;
  };

  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.setNoDelay(true);
    // What went wrong is seen by whoever reads or writes.
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  };

  /** Hands on what comes, chunk by chunk, and how it ends. */
  const carry = (source: Socket, sink: Socket, direction: Direction): void => {
    let last: Promise<void> = Promise.resolve();
    const next = (step: () => Promise<void> | void): void => {
      last = last.then(() => free(direction)).then(step);
    };
    source.on("data", (chunk: Buffer) => {
      source.pause();
      next(async () => {
        if (trouble.delayMs) await sleep(trouble.delayMs);
        await free(direction);
        await new Promise<void>((resolve) => sink.write(chunk, () => resolve()));
        source.resume();
      });
    });
    source.on("end", () => next(() => void sink.end()));
    source.on("close", () => {
      // If the end was not an orderly one, neither is that of the other side.
      if (!source.readableEnded) next(() => void sink.resetAndDestroy());
    });
  };

  const server = createServer({ allowHalfOpen: true }, (near) => {
    keep(near);
    if (trouble.cut) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ port: target, host: "127.0.0.1", allowHalfOpen: true });
    keep(far);
    carry(near, far, "there");
    carry(far, near, "back");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");

  const set = (next: Trouble): void => {
    trouble = next;
    changed.open();
    changed = createLatch();
    if (trouble.cut) for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    from,
    to,
    port: address.port,
    set,
    async close() {
      const closed = once(server, "close");
      server.close();
      set({ cut: true });
      await closed;
    },
  };
}
