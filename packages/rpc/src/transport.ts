/**
 * How services reach each other.
 *
 * @module
 */

import type { Transport } from "@connectrpc/connect";

/** The transport to a server, by its base URL such as `http://127.0.0.1:8531`. */
export type TransportFor = (address: string) => Transport;
