/**
 * A Millrace to test against: one process, or four.
 *
 * @module
 */

import { createServer } from "node:net";
import { join } from "node:path";
import { type Service, type SpawnOptions, startService } from "./process.ts";

/** A running Millrace, whatever it consists of. */
export interface Cluster {
  /** Where clients connect. */
  url: string;
  services: Service[];
  /** SIGKILLs one process that holds data and starts it again with the same arguments. */
  crash(): Promise<void>;
  /** Resident memory of the largest process at this moment, in bytes. */
  residentBytes(): number;
  /** SIGTERM to all. Answers their exit codes. */
  stop(): Promise<(number | null)[]>;
}

/** Options of {@linkcode startStandalone} and {@linkcode startProcesses}. */
export interface ClusterOptions extends SpawnOptions {
  /** A folder for all of its data. */
  folder: string;
  /** Store flags such as `["--store", "s3://bucket/prefix", …]`. Default: a folder. */
  store?: readonly string[];
  /** Where the coordinator keeps metadata, as `--meta` says it. Default: a folder. */
  meta?: string;
  /** Flags for each service that is started. */
  flags?: readonly string[];
}

/** A free port of 127.0.0.1. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** `millrace standalone`. */
export async function startStandalone(options: ClusterOptions): Promise<Cluster> {
  const port = await freePort();
  const args = [
    "standalone",
    ...["--listen", `127.0.0.1:${port}`],
    ...["--data", join(options.folder, "data")],
    ...(options.store ?? []),
    ...(options.flags ?? []),
  ];
  const services = [await startService(args, options)];
  return clusterOf(services, [{ index: 0, args }], options, `http://127.0.0.1:${port}`);
}

/** `millrace coord`, two `millrace node` and `millrace proxy`. */
export async function startProcesses(options: ClusterOptions): Promise<Cluster> {
  const { folder, flags = [], meta = `file:${join(folder, "meta")}` } = options;
  const store = options.store ?? ["--store", `file:${join(folder, "store")}`];
  const ports = [await freePort(), await freePort(), await freePort(), await freePort()];
  const listen = (index: number): string[] => ["--listen", `127.0.0.1:${ports[index]}`];
  const coord = ["--coord", `http://127.0.0.1:${ports[0]}`];
  const nodeArgs = (index: number): string[] => [
    "node",
    ...listen(index),
    ...coord,
    ...["--data", join(folder, `node-${index}`)],
    ...["--wal", `file:${join(folder, "wal")}`],
    ...store,
    ...flags,
  ];
  const commands = [
    ["coord", ...listen(0), "--meta", meta],
    nodeArgs(1),
    nodeArgs(2),
    ["proxy", ...listen(3), ...coord],
  ];
  const services: Service[] = [];
  for (const args of commands) services.push(await startService(args, options));
  const victims = [1, 2].map((index) => ({ index, args: commands[index] ?? [] }));
  return clusterOf(services, victims, options, `http://127.0.0.1:${ports[3]}`);
}

function clusterOf(
  services: Service[],
  victims: { index: number; args: readonly string[] }[],
  options: SpawnOptions,
  url: string,
): Cluster {
  let crashes = 0;
  return {
    url,
    services,
    async crash() {
      const victim = victims[crashes++ % victims.length];
      const service = victim && services[victim.index];
      if (!victim || !service) throw new Error("nothing to crash");
      await service.kill();
      services[victim.index] = await startService(victim.args, options);
    },
    residentBytes: () => Math.max(...services.map((service) => service.residentBytes())),
    async stop() {
      const codes: (number | null)[] = [];
      for (const service of services.toReversed()) codes.push(await service.stop());
      return codes;
    },
  };
}
