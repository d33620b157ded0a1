/**
 * Telling HTTP/2 from HTTP/1.1 on a fresh connection.
 *
 * @module
 */

import type { Socket } from "node:net";

/** How the client preface of HTTP/2 begins; no method of HTTP/1.1 does. */
const preface = "PRI";

/** How long a connection may stay silent before its first bytes, in milliseconds. */
const silenceMs = 60_000;

/**
 * Waits for a connection's first bytes, leaves them in place, and says which protocol they speak.
 * A connection that ends or stays silent before is closed, and `decided` is not called.
 */
export function sniffProtocol(socket: Socket, decided: (protocol: "h1" | "h2") => void): void {
  let head = "";
  const stop = (): void => {
    socket.setTimeout(0);
    socket.off("timeout", destroy);
    socket.off("end", destroy);
    socket.off("data", onData);
  };
  const destroy = (): void => {
    stop();
    socket.destroy();
  };
  const chunks: Uint8Array[] = [];
  const onData = (chunk: Uint8Array): void => {
    chunks.push(chunk);
    head += String.fromCharCode(...chunk.subarray(0, preface.length));
    const isPrefix = preface.startsWith(head.slice(0, preface.length));
    if (isPrefix && head.length < preface.length) return;
    stop();
    socket.pause();
    for (const seen of chunks.reverse()) socket.unshift(seen);
    decided(isPrefix ? "h2" : "h1");
    // The server has put its listeners on by now; without this, what was put back stays there.
    process.nextTick(() => socket.resume());
  };
  socket.setTimeout(silenceMs);
  socket.on("timeout", destroy);
  socket.on("end", destroy);
  socket.on("data", onData);
}
