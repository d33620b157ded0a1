/**
 * gzip of requests and responses by the web's own streams.
 *
 * @module
 */

import { Code, ConnectError } from "@connectrpc/connect";
import type { Compression } from "@connectrpc/connect/protocol";

/**
 * gzip. Bytes that are not gzip, or end early, are `INVALID_ARGUMENT`; what unpacks to more than is
 * allowed is `RESOURCE_EXHAUSTED`, before it is held in memory.
 */
export const gzip: Compression = {
  name: "gzip",
  compress: (bytes) => collect(pump(bytes, new CompressionStream("gzip")), Infinity),
  async decompress(bytes, maxBytes) {
    if (bytes.length === 0) return new Uint8Array(0);
    try {
      return await collect(pump(bytes, new DecompressionStream("gzip")), maxBytes);
    } catch (error) {
      if (error instanceof ConnectError) throw error;
      throw new ConnectError(
        "the gzip data is broken: check how the body was compressed",
        Code.InvalidArgument,
        undefined,
        undefined,
        error,
      );
    }
  },
};

function pump(bytes: Uint8Array, through: GenericTransformStream): ReadableStream<Uint8Array> {
  return new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(through);
}

async function collect(
  stream: ReadableStream<Uint8Array>,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = stream.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    length += next.value.length;
    if (length > maxBytes) {
      await reader.cancel();
      throw new ConnectError(
        `the data unpacks to more than the ${maxBytes} bytes that are allowed`,
        Code.ResourceExhausted,
      );
    }
    chunks.push(next.value);
  }
  const all = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}
