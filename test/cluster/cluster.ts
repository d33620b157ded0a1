/**
 * A cluster of real processes, with a way of its own between any two of them: two coordinators, three
 * nodes and two proxies, an etcd, and an S3 server or a folder for tables.
 *
 * @module
 */

import { mkdir } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { bucket, s3Environment } from "../services/environment.ts";
import { type EtcdServer, startEtcd } from "../services/etcd.ts";
import type { S3Server } from "../services/ceph-rgw.ts";
import { createMember, type Member } from "./member.ts";
import { createNetwork, type Network } from "./network.ts";
import { inTime } from "./waiting.ts";

/** A running cluster. */
export interface ChaosCluster {
  /** `coord-0`, `coord-1`. */
  coords: Member[];
  /** `node-0`, `node-1`, `node-2`. */
  nodes: Member[];
  /** `proxy-0`, `proxy-1`. */
  proxies: Member[];
  /** All of them. */
  members: Member[];
  etcd: EtcdServer;
  network: Network;
  /** Where the nodes keep the log. */
  walFolder: string;
  /** Ends all processes: by SIGTERM, which must end each with 0. */
  stop(): Promise<void>;
  /** Ends all processes that still run. */
  destroy(): Promise<void>;
}

/** Options of {@linkcode startCluster}. */
export interface ChaosClusterOptions {
  /** For all data and logs. */
  folder: string;
  /** Where tables lie; without it in a folder. */
  s3?: S3Server | undefined;
  /** Called when a process ends though nobody asked for it. */
  onEnded: (how: string) => void;
  /** Processes reach each other without ways that can be broken: for measuring. Default `false`. */
  direct?: boolean;
  /** Modules that processes load first, by name. */
  preloads?: Readonly<{ [name: string]: readonly string[] }>;
}

/** What others call an etcd and an S3 server in the network. */
export const etcdName = "etcd";
export const s3Name = "s3";

const preload = new URL("./routes.ts", import.meta.url).href;

/** Starts a cluster; resolves when all processes are ready. */
export async function startCluster(options: ChaosClusterOptions): Promise<ChaosCluster> {
  const { folder, s3, onEnded } = options;
  await mkdir(join(folder, "logs"), { recursive: true });
  await mkdir(join(folder, "store"), { recursive: true });
  const walFolder = join(folder, "wal");
  const etcd = await startEtcd();
  const network = createNetwork();
  const servers = new Map<string, number>([[etcdName, portOf(etcd.endpoints[0])]]);
  if (s3) servers.set(s3Name, portOf(s3.endpoints[0]));
  for (const name of names) servers.set(name, await stablePort());

  const s3Env = s3 ? s3Environment(s3) : {};
  const coords = namesOf("coord").map((name) => `http://127.0.0.1:${servers.get(name)}`);
  const argsOf = (name: string): string[] => {
    const listen = ["--listen", `127.0.0.1:${servers.get(name)}`];
    switch (roleOf(name)) {
      case "coord":
        return ["coord", ...listen, "--meta", `etcd://127.0.0.1:${servers.get(etcdName)}/chaos`];
      case "node":
        return [
          ...["node", ...listen, "--coord", coords.join(",")],
          ...["--data", join(folder, name), "--wal", `file:${walFolder}`],
          ...["--store", s3 ? `s3://${bucket}/chaos` : `file:${join(folder, "store")}`],
        ];
      default:
        return ["proxy", ...listen, "--coord", coords.join(",")];
    }
  };

  const create = async (name: string): Promise<Member> => {
    const routes: Record<string, number> = {};
    for (const to of options.direct ? [] : reachedBy(name)) {
      const port = servers.get(to);
      if (port !== undefined) routes[port] = (await network.link(name, to, port)).port;
    }
    const imports = [preload, ...(options.preloads?.[name] ?? [])];
    return createMember({
      name,
      args: argsOf(name),
      env: {
        ...s3Env,
        NODE_OPTIONS: imports.map((url) => `--import ${url}`).join(" "),
        MILLRACE_TEST_ROUTES: JSON.stringify(routes),
      },
      url: `http://127.0.0.1:${servers.get(name)}`,
      logFile: join(folder, "logs", `${name}.log`),
      onEnded,
    });
  };
  const members: Member[] = [];
  for (const name of names) members.push(await create(name));
  const ofRole = (role: string): Member[] => members.filter(({ name }) => roleOf(name) === role);
  const destroy = async (): Promise<void> => {
    await Promise.all(members.map((member) => member.kill()));
    await network[Symbol.asyncDispose]();
    await etcd.stop();
  };
  try {
    // A coordinator leads before those come that ask for one.
    const start = async (): Promise<void> => {
      await members[0]?.start();
      await Promise.all(members.map((member) => member.start()));
    };
    await inTime(60_000, "all processes are ready", start());
  } catch (error) {
    await destroy();
    throw error;
  }
  return {
    ...{ members, coords: ofRole("coord"), nodes: ofRole("node"), proxies: ofRole("proxy") },
    ...{ etcd, network, walFolder, destroy },
    async stop() {
      for (const role of ["proxy", "node", "coord"]) {
        for (const member of ofRole(role)) {
          const code = await member.stop();
          if (code !== 0) throw new Error(`${member.name} ended with ${code} after SIGTERM`);
        }
      }
    },
  };
}

const names = [...["coord-0", "coord-1", "node-0", "node-1", "node-2"], ...["proxy-0", "proxy-1"]];

/** Whom a process connects to. */
function reachedBy(name: string): string[] {
  const others = (role: string): string[] => namesOf(role).filter((other) => other !== name);
  switch (roleOf(name)) {
    case "coord":
      return [...others("coord"), ...others("node"), etcdName];
    case "node":
      return [...others("coord"), s3Name];
    default:
      return [...others("coord"), ...others("node")];
  }
}

function namesOf(role: string): string[] {
  return names.filter((name) => roleOf(name) === role);
}

/** The role of a process, such as `node` of `node-1`. */
export function roleOf(name: string): string {
  return name.replace(/-\d+$/, "");
}

let lastPort = 12_000 + (process.pid % 1000) * 10;

/** A free port that no connection takes while its process is away: systems give those above 32767. */
async function stablePort(): Promise<number> {
  for (;;) {
    const port = lastPort++;
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

function portOf(url = ""): number {
  return Number(new URL(url).port);
}
