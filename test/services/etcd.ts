/**
 * An etcd of one member or more, on free ports of the loopback interface, with its data in a temporary
 * folder.
 *
 * @module
 */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { freePorts, hasEnded, killProcess } from "./processes.ts";

/** A running etcd. */
export interface EtcdServer extends AsyncDisposable {
  /** One URL for each member. */
  endpoints: string[];
  /** The same by TLS, if it was asked for. */
  tls?: { endpoints: string[]; caFile: string };
  /** Asks a member's gateway; `path` is behind `/v3/`. Throws if it refuses. */
  ask(path: string, body: object, options?: { member?: number; token?: string }): Promise<unknown>;
  /** SIGKILLs a member. */
  kill(member?: number): Promise<void>;
  /** Starts a member that was killed, with its data, and waits until it answers. */
  start(member?: number): Promise<void>;
  /** Stops a member's process with SIGSTOP, or lets it go on. */
  freeze(member?: number): void;
  thaw(member?: number): void;
  /** Ends all processes and removes the data. */
  stop(): Promise<void>;
}

/** Options of {@linkcode startEtcd}. */
export interface EtcdOptions {
  /** How many members. Default 1. */
  members?: number;
  /** Serve by TLS as well, with a certificate that is made for this run. Default `false`. */
  tls?: boolean;
  /** More flags for each member. */
  flags?: readonly string[];
  /** How long the start may take, in milliseconds. Default 30000. */
  timeoutMs?: number;
}

interface Member {
  url: string;
  tlsUrl: string;
  args: string[];
  log: string;
  child: ChildProcess | undefined;
}

const run = promisify(execFile);

/** Starts an etcd; takes about a second. */
export async function startEtcd(options: EtcdOptions = {}): Promise<EtcdServer> {
  const { timeoutMs = 30_000, tls = false } = options;
  const dir = await mkdtemp(join(tmpdir(), "millrace-etcd-"));
  const members = await plan(dir, options);
  const caFile = join(dir, "cert.pem");

  const ask: EtcdServer["ask"] = async (path, body, { member = 0, token } = {}) => {
    const answer = await fetch(`${members[member]?.url}/v3/${path}`, {
      method: "POST",
      headers: token === undefined ? {} : { authorization: token },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(5000),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`etcd refuses ${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  };

  const launch = (member: Member): void => {
    const log = openSync(member.log, "a");
    // Ends with this process, even if that is killed.
    const wrapped = ["--pdeathsig", "KILL", "etcd", ...member.args];
    member.child = spawn("setpriv", wrapped, { stdio: ["ignore", log, log] });
    closeSync(log);
  };

  const untilReady = async (index: number): Promise<void> => {
    const member = members[index];
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const isUp = await ask("kv/range", { key: "AA==" }, { member: index }).then(
        () => true,
        // With users it asks for a token: so it answers.
        (error: Error) => error.message.includes("user name is empty"),
      );
      if (isUp) return;
      const isGone = member?.child === undefined || hasEnded(member.child);
      if (isGone || performance.now() > deadline) {
        const log = await readFile(member?.log ?? "", "utf8").catch(() => "");
        const what = isGone ? "has ended" : "is not up in time";
        throw new Error(
          `etcd ${what}; is it installed? (test/services/install.sh)\n${log.slice(-2000)}`,
        );
      }
      await sleep(50);
    }
  };

  const stop = async (): Promise<void> => {
    for (const { child } of members) if (child !== undefined) await killProcess(child);
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  };

  const childOf = (index: number): ChildProcess => {
    const child = members[index]?.child;
    if (child === undefined || hasEnded(child)) throw new Error(`member ${index} does not run`);
    return child;
  };

  try {
    if (tls) await makeCertificate(dir);
    for (const member of members) launch(member);
    for (const index of members.keys()) await untilReady(index);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    endpoints: members.map((member) => member.url),
    ...(tls ? { tls: { endpoints: members.map((member) => member.tlsUrl), caFile } } : {}),
    ask,
    kill: (index = 0) => killProcess(childOf(index)),
    async start(index = 0) {
      const member = members[index];
      if (member === undefined) throw new Error(`there is no member ${index}`);
      launch(member);
      await untilReady(index);
    },
    freeze: (index = 0) => void childOf(index).kill("SIGSTOP"),
    thaw: (index = 0) => void childOf(index).kill("SIGCONT"),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function plan(dir: string, options: EtcdOptions): Promise<Member[]> {
  const { members: count = 1, tls = false, flags = [] } = options;
  const ports = await freePorts(3 * count);
  const urlOf = (port: number): string => `http://127.0.0.1:${ports[port]}`;
  const peers = Array.from({ length: count }, (_, index) => urlOf(3 * index + 1));
  const cluster = peers.map((peer, index) => `m${index}=${peer}`).join(",");
  return peers.map((peer, index) => {
    const url = urlOf(3 * index);
    const tlsUrl = urlOf(3 * index + 2).replace("http:", "https:");
    const urls = tls ? `${url},${tlsUrl}` : url;
    const files = ["--cert-file", join(dir, "cert.pem"), "--key-file", join(dir, "key.pem")];
    const args = [
      ...["--name", `m${index}`, "--data-dir", join(dir, `data-${index}`)],
      ...["--listen-client-urls", urls, "--advertise-client-urls", urls],
      ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
      ...["--initial-cluster", cluster, "--logger", "zap", "--log-level", "warn"],
      ...(tls ? files : []),
      ...flags,
    ];
    return { url, tlsUrl, args, log: join(dir, `m${index}.log`), child: undefined };
  });
}

/** A certificate for 127.0.0.1 that is its own authority. */
async function makeCertificate(dir: string): Promise<void> {
  await run("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
    ...["-keyout", join(dir, "key.pem"), "-out", join(dir, "cert.pem"), "-days", "2"],
    ...["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
  ]);
}
