/**
 * Loaded into a node by `--import`: on SIGUSR2 its heartbeats begin to get lost, while all other calls go
 * through, and on the next SIGUSR2 that ends.
 *
 * @module
 */

import http2, { type ClientHttp2Session, type OutgoingHttpHeaders } from "node:http2";
import { syncBuiltinESMExports } from "node:module";

let losing = false;
process.on("SIGUSR2", () => {
  losing = !losing;
});

const { connect } = http2;
const losingConnect = (...args: Parameters<typeof connect>): ClientHttp2Session => {
  const session = connect(...args);
  const request = session.request.bind(session) as ClientHttp2Session["request"];
  session.request = ((headers?: OutgoingHttpHeaders, ...rest: [never]) => {
    const isLost = losing && String(headers?.[":path"]).endsWith("/Heartbeat");
    return request({ ...headers, ...(isLost && { ":path": "/lost" }) }, ...rest);
  }) as ClientHttp2Session["request"];
  return session;
};
Object.assign(http2, { connect: losingConnect });
syncBuiltinESMExports();
