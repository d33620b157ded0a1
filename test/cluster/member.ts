/**
 * A process of a cluster, which is started again when it ends by itself, as an init system does it.
 *
 * @module
 */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { spawnMillrace } from "../harness/process.ts";
import { createLatch, type Latch } from "./latch.ts";

/** Options of {@linkcode createMember}. */
export interface MemberOptions {
  name: string;
  /** What `millrace` is started with. */
  args: readonly string[];
  env: Record<string, string>;
  /** Where it serves. */
  url: string;
  /** A file for all that it prints. */
  logFile: string;
  /** Called when it ends though nobody asked for it and it was ready. */
  onEnded: (how: string) => void;
}

/** A process of a cluster. */
export interface Member {
  name: string;
  url: string;
  /** How often it ended before it was ready, since what it needs was away. */
  failedStarts(): number;
  /** Starts it, if it does not run; resolves when it is ready. */
  start(): Promise<void>;
  /** SIGKILL; it stays away until it is started. */
  kill(): Promise<void>;
  /** SIGTERM; answers the exit code. SIGKILL, and an error, after 40 seconds. */
  stop(): Promise<number | null>;
  /** Sends a signal, such as SIGSTOP. */
  signal(signal: NodeJS.Signals): void;
}

/** Creates a process that does not run yet. */
export function createMember(options: MemberOptions): Member {
  const { name, args, env, url, logFile, onEnded } = options;
  const log = createWriteStream(logFile, { flags: "a" });
  let child: ChildProcess | undefined;
  let wanted = false;
  let ready: Latch | undefined;
  let running: Promise<void> | undefined;
  let failedStarts = 0;

  /** Runs the process once, to its end. */
  const run = async (): Promise<void> => {
    log.write(`--- ${name} starts at ${new Date().toISOString()}\n`);
    const process = spawnMillrace(args, { env });
    child = process;
    let wasReady = false;
    const lines = (stream: NodeJS.ReadableStream | null, onLine: (line: string) => void): void => {
      if (stream) createInterface({ input: stream }).on("line", onLine);
    };
    lines(process.stdout, (line) => {
      log.write(`${line}\n`);
      if (!line.includes("ready on ")) return;
      wasReady = true;
      ready?.open();
    });
    lines(process.stderr, (line) => log.write(`${line}\n`));
    const [code, signal] = (await once(process, "close")) as [number | null, string | null];
    child = undefined;
    log.write(`--- ${name} ended with ${code ?? signal}\n`);
    if (!wanted) return;
    if (wasReady) onEnded(`${name} ended by itself with ${code ?? signal}; see ${logFile}`);
    else failedStarts++;
    await sleep(200);
  };

  const supervise = async (): Promise<void> => {
    while (wanted) await run();
  };

  const end = async (signal: NodeJS.Signals): Promise<void> => {
    wanted = false;
    // One that is paused hears of nothing but this.
    if (signal !== "SIGKILL") child?.kill("SIGCONT");
    child?.kill(signal);
    await running;
    running = undefined;
  };

  return {
    name,
    url,
    failedStarts: () => failedStarts,
    start() {
      if (!wanted) {
        wanted = true;
        ready = createLatch();
        running = supervise();
      }
      return ready?.opened ?? Promise.resolve();
    },
    kill: () => end("SIGKILL"),
    async stop() {
      const stopping = child;
      if (!stopping) {
        await end("SIGKILL");
        return 0;
      }
      const late = setTimeout(() => stopping.kill("SIGKILL"), 40_000);
      await end("SIGTERM");
      clearTimeout(late);
      if (stopping.signalCode === "SIGKILL") {
        throw new Error(`${name} did not end within 40 s of SIGTERM`);
      }
      return stopping.exitCode;
    },
    signal: (signal) => void child?.kill(signal),
  };
}
