/**
 * The URL of a service, known before it serves.
 *
 * @module
 */

import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { usageError } from "../errors.ts";
import type { ListenAddress } from "../options.ts";

/** The address with a port in place of 0: a free one, which nothing keeps others from taking. */
export async function withPort(address: ListenAddress): Promise<ListenAddress> {
  if (address.port !== 0) return address;
  const server = createServer();
  server.listen(0, address.host);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return { host: address.host, port };
}

/** How others reach an address. Throws an error of usage if it stands for all of this machine's. */
export function urlOf({ host, port }: ListenAddress): string {
  if (isWildcard(host)) {
    throw usageError(
      `--listen ${host}:${port} is no address for others: name one with --advertise`,
    );
  }
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** How this process reaches an address of its own. */
export function localUrlOf(address: ListenAddress): string {
  return urlOf(isWildcard(address.host) ? { ...address, host: "127.0.0.1" } : address);
}

function isWildcard(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}
