/**
 * A Ceph of one node as a real S3 server: a monitor, a storage daemon that keeps everything in memory,
 * and gateways, on free ports of the loopback interface.
 *
 * @module
 */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { AwsClient } from "aws4fetch";
import { endProcess, freePorts, hasEnded } from "./processes.ts";

/** A running S3 server. */
export interface S3Server extends AsyncDisposable {
  /** One URL for each gateway, all of the same buckets. */
  endpoints: string[];
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** Makes a bucket; a success if there is one. */
  createBucket(name: string): Promise<void>;
  /** Ends all processes and removes the data. */
  stop(): Promise<void>;
}

/** Options of {@linkcode startCephRgw}. */
export interface CephRgwOptions {
  /** How many gateways. Default 1. */
  gateways?: number;
}

const run = promisify(execFile);

/** Starts a Ceph with gateways; takes about 10 seconds, and fails after 90. */
export async function startCephRgw(options: CephRgwOptions = {}): Promise<S3Server> {
  const ceph = await createCeph();
  try {
    await ceph.startCluster();
    const keys = await ceph.createUser();
    const endpoints: string[] = [];
    for (let i = 0; i < (options.gateways ?? 1); i++) endpoints.push(await ceph.startGateway(i));
    return {
      endpoints,
      region: "us-east-1",
      ...keys,
      createBucket: (name) => createBucket(endpoints[0] ?? "", keys, name),
      stop: ceph.stop,
      [Symbol.asyncDispose]: ceph.stop,
    };
  } catch (error) {
    await ceph.stop();
    throw error;
  }
}

interface Ceph {
  startCluster(): Promise<void>;
  createUser(): Promise<{ accessKeyId: string; secretAccessKey: string }>;
  startGateway(index: number): Promise<string>;
  stop(): Promise<void>;
}

async function createCeph(): Promise<Ceph> {
  const dir = await mkdtemp(join(tmpdir(), "millrace-ceph-"));
  const deadline = performance.now() + 90_000;
  const children: ChildProcess[] = [];
  const conf = join(dir, "ceph.conf");
  const keyring = join(dir, "keyring");
  const asRoot = process.getuid?.() === 0 ? ["--setuser", "root", "--setgroup", "root"] : [];
  const env = { ...process.env, CEPH_CONF: conf };
  const [monitorV2 = 0, monitorV1 = 0] = await freePorts(2);
  const monitorAddress = `[v2:127.0.0.1:${monitorV2},v1:127.0.0.1:${monitorV1}]`;

  const command = async (program: string, ...args: string[]): Promise<string> => {
    const timeout = Math.max(1, Math.ceil(deadline - performance.now()));
    try {
      return (await run(program, args, { env, timeout, killSignal: "SIGKILL" })).stdout;
    } catch (error) {
      throw hintAt(error, program);
    }
  };

  const daemon = (name: string, program: string, ...args: string[]): ChildProcess => {
    const log = openSync(join(dir, `${name}.out`), "a");
    // Ends with this process, even if that is killed.
    const wrapped = ["--pdeathsig", "KILL", program, "-f", ...args, ...asRoot];
    const child = spawn("setpriv", wrapped, { env, stdio: ["ignore", log, log] });
    closeSync(log);
    children.push(child);
    return child;
  };

  const until = async (
    what: string,
    child: ChildProcess,
    holds: () => Promise<boolean>,
  ): Promise<void> => {
    for (;;) {
      if (await holds().catch(() => false)) return;
      const gone = hasEnded(child);
      if (gone || performance.now() > deadline) {
        throw new Error(`${what} ${gone ? "has ended" : "is not up in time"}\n${await tail(dir)}`);
      }
      await sleep(200);
    }
  };

  return {
    async startCluster() {
      const id = randomUUID();
      await mkdir(join(dir, "mon"));
      await mkdir(join(dir, "osd"));
      await writeFile(conf, configuration(dir, id, monitorAddress));
      await createKeys(command, keyring);
      const map = join(dir, "monmap");
      await command("monmaptool", "--create", "--fsid", id, "--addv", "a", monitorAddress, map);
      await command(
        "ceph-mon",
        "-i",
        "a",
        "--mkfs",
        "--monmap",
        map,
        "--keyring",
        keyring,
        ...asRoot,
      );
      const monitor = daemon("mon", "ceph-mon", "-i", "a");
      await until("ceph-mon", monitor, async () => {
        await command("ceph", "--connect-timeout", "5", "-s");
        return true;
      });
      const osdId = randomUUID();
      await command("ceph", "osd", "new", osdId);
      await command("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osdId, ...asRoot);
      const osd = daemon("osd", "ceph-osd", "-i", "0");
      await until("ceph-osd", osd, async () =>
        (await command("ceph", "osd", "stat")).includes("1 up"),
      );
    },
    async createUser() {
      const accessKeyId = `AK${randomBytes(8).toString("hex").toUpperCase()}`;
      const secretAccessKey = randomBytes(20).toString("hex");
      await command(
        "radosgw-admin",
        ...[
          "-n",
          "client.rgw",
          "user",
          "create",
          "--uid",
          "millrace",
          "--display-name",
          "millrace",
        ],
        ...["--access-key", accessKeyId, "--secret-key", secretAccessKey],
      );
      return { accessKeyId, secretAccessKey };
    },
    async startGateway(index) {
      const [port = 0] = await freePorts(1);
      const frontend = `beast endpoint=127.0.0.1:${port}`;
      const endpoint = `http://127.0.0.1:${port}`;
      const log = join(dir, `rgw${index}.log`);
      const gateway = daemon(
        `rgw${index}`,
        "radosgw",
        ...["-n", "client.rgw", "--rgw-frontends", frontend, "--log-file", log],
      );
      await until("radosgw", gateway, async () => {
        const answer = await fetch(endpoint, { signal: AbortSignal.timeout(2000) });
        await answer.arrayBuffer();
        return true;
      });
      return endpoint;
    },
    async stop() {
      for (const child of children.reverse()) await endProcess(child);
      await rm(dir, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

async function createKeys(
  command: (program: string, ...args: string[]) => Promise<string>,
  keyring: string,
): Promise<void> {
  const all = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
  const gateway = ["--cap", "mon", "allow rw", "--cap", "osd", "allow rwx"];
  const osd = ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"];
  const tool = (...args: string[]) => command("ceph-authtool", keyring, "--gen-key", ...args);
  await tool("--create-keyring", "-n", "mon.", "--cap", "mon", "allow *");
  await tool("-n", "client.admin", ...all);
  await tool("-n", "client.rgw", ...gateway);
  await tool("-n", "osd.0", ...osd);
}

function configuration(dir: string, id: string, monitorAddress: string): string {
  return `[global]
fsid = ${id}
mon host = ${monitorAddress}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = ${dir}/keyring
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
mon warn on pool no redundancy = false
# The defaults stop the monitor on a disk that is fuller than 95 %.
mon data avail crit = 1
mon data avail warn = 2
run dir = ${dir}
log file = ${dir}/$name.log
admin socket = ${dir}/$name.$pid.asok
ms bind ipv6 = false
[mon.a]
mon data = ${dir}/mon
[osd]
osd objectstore = memstore
memstore device bytes = 4294967296
osd data = ${dir}/osd
osd class load list = *
osd class default list = *
[client.rgw]
rgw thread pool size = 64
rgw enable usage log = false
`;
}

async function createBucket(
  endpoint: string,
  keys: { accessKeyId: string; secretAccessKey: string },
  name: string,
): Promise<void> {
  const client = new AwsClient({ ...keys, region: "us-east-1", service: "s3", retries: 3 });
  const answer = await client.fetch(`${endpoint}/${name}`, { method: "PUT" });
  const body = await answer.text();
  if (!answer.ok) throw new Error(`cannot create bucket ${name}: ${answer.status} ${body}`);
}

async function tail(dir: string): Promise<string> {
  const read = async (name: string): Promise<string> => {
    const text = await readFile(join(dir, `${name}.out`), "utf8").catch(() => "");
    return text === "" ? "" : `${name}: ${text.slice(-1000)}`;
  };
  return (await Promise.all(["mon", "osd", "rgw0", "rgw1"].map(read))).join("");
}

function hintAt(error: unknown, program: string): Error {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") {
    return new Error(`${program} is not installed; run test/services/install.sh`);
  }
  return error instanceof Error ? error : new Error(String(error));
}
