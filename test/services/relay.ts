/**
 * A relay to a server that can be cut, as a network can.
 *
 * @module
 */

import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** A TCP relay on a port of the loopback interface. */
export interface Relay {
  /** The server's URL, through the relay. */
  url: string;
  /** Ends all connections and refuses new ones until {@linkcode Relay.restore}. */
  cut(): Promise<void>;
  /** Listens again, on the same port. */
  restore(): Promise<void>;
  close(): Promise<void>;
}

/** Starts a relay to the server at a URL. */
export async function startRelay(target: string): Promise<Relay> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  const keep = (socket: Socket, other: Socket): void => {
    sockets.add(socket);
    // Either end that goes takes the other along; what went wrong is the client's to notice.
    socket.on("error", () => other.destroy());
    socket.on("close", () => {
      sockets.delete(socket);
      other.destroy();
    });
  };
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    keep(near, far);
    keep(far, near);
    near.pipe(far).pipe(near);
  });
  const listen = async (port: number): Promise<void> => {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
  };
  const cut = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  await listen(0);
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    cut,
    restore: () => listen(address.port),
    close: async () => {
      if (server.listening) await cut();
    },
  };
}
