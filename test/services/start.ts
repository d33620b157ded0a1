/** Starts the servers once for the whole run of `npm run test:services`. */

import { startCephRgw } from "./ceph-rgw.ts";
import { bucket, s3Environment } from "./environment.ts";

/** Called by Vitest before the first test; what it answers is called after the last. */
export default async function start(): Promise<() => Promise<void>> {
  const server = await startCephRgw({ gateways: 2 });
  try {
    await server.createBucket(bucket);
  } catch (error) {
    await server.stop();
    throw error;
  }
  delete process.env.AWS_SESSION_TOKEN;
  Object.assign(process.env, s3Environment(server));
  return server.stop;
}
