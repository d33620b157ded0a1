/** Runs a command beside a fresh S3 server: `node --conditions=source with-s3.ts -- command…`. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { startCephRgw } from "./ceph-rgw.ts";
import { bucket, s3Environment } from "./environment.ts";

const [program, ...args] = process.argv.slice(process.argv[2] === "--" ? 3 : 2);
if (program === undefined) {
  console.error("usage: with-s3.ts -- command…");
  process.exit(2);
}

const server = await startCephRgw();
try {
  await server.createBucket(bucket);
  console.error(`with-s3: bucket ${bucket} on ${server.endpoints[0]}`);
  const env: NodeJS.ProcessEnv = { ...process.env, ...s3Environment(server) };
  delete env.AWS_SESSION_TOKEN;
  const child = spawn(program, args, { env, stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  process.exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
} finally {
  await server.stop();
}
