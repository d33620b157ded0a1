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
  /** Starts a service that was killed again, with the same arguments. */
  restart(service: number): Promise<void>;
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
  /** Of {@linkcode startProcesses}: how many coordinators there are, first among the services. Default 1. */
  coordinators?: number;
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
  const commands = [args];
  return clusterOf({ services, commands, victims: [0] }, options, `http://127.0.0.1:${port}`);
}

/** Coordinators (`millrace coord`), two `millrace node` and `millrace proxy`. */
export async function startProcesses(options: ClusterOptions): Promise<Cluster> {
  const { folder, flags = [], coordinators = 1 } = options;
  const kind = coordinators > 1 ? "shared" : "file";
  const { meta = `${kind}:${join(folder, "meta")}` } = options;
  const store = options.store ?? ["--store", `file:${join(folder, "store")}`];
  const ports: number[] = [];
  for (let i = 0; i < coordinators + 3; i++) ports.push(await freePort());
  const listen = (index: number): string[] => ["--listen", `127.0.0.1:${ports[index]}`];
  const urls = ports.slice(0, coordinators).map((port) => `http://127.0.0.1:${port}`);
  const coord = ["--coord", urls.join(",")];
  const nodeArgs = (index: number): string[] => [
    "node",
    ...listen(index),
    ...coord,
    ...["--data", join(folder, `node-${index}`)],
    ...["--wal", `file:${join(folder, "wal")}`],
    ...store,
    ...flags,
  ];
  const victims = [coordinators, coordinators + 1];
  const commands = [
    ...urls.map((_url, index) => ["coord", ...listen(index), "--meta", meta]),
    ...victims.map(nodeArgs),
    ["proxy", ...listen(coordinators + 2), ...coord],
  ];
  const services: Service[] = [];
  for (const args of commands) services.push(await startService(args, options));
  const url = `http://127.0.0.1:${ports[coordinators + 2]}`;
  return clusterOf({ services, commands, victims }, options, url);
}

interface Processes {
  services: Service[];
  /** The arguments of each service. */
  commands: readonly (readonly string[])[];
  /** Those that hold data. */
  victims: readonly number[];
}

function clusterOf(processes: Processes, options: SpawnOptions, url: string): Cluster {
  const { services, commands, victims } = processes;
  let crashes = 0;
  const restart = async (service: number): Promise<void> => {
    services[service] = await startService(commands[service] ?? [], options);
  };
  return {
    url,
    services,
    restart,
    async crash() {
      const victim = victims[crashes++ % victims.length] ?? 0;
      await services[victim]?.kill();
      await restart(victim);
    },
    residentBytes: () => Math.max(...services.map((service) => service.residentBytes())),
    async stop() {
      const codes: (number | null)[] = [];
      for (const service of services.toReversed()) codes.push(await service.stop());
      return codes;
    },
  };
}
