/**
 * Starting `millrace` as a real process, and ending it.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const entry = fileURLToPath(new URL("../../apps/cli/src/main.node.ts", import.meta.url));

/** How a command ended. */
export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Options of {@linkcode run} and {@linkcode startService}. */
export interface SpawnOptions {
  /** Added to the environment. */
  env?: Record<string, string>;
  /** Written to standard input, which is then closed. */
  input?: string | Uint8Array;
  /** Takes each line of standard error as it comes. */
  onStderr?: (line: string) => void;
  /** Takes each line of standard output as it comes. */
  onStdout?: (line: string) => void;
}

/** The environment of the tests, without what is meant for the tests alone. */
function surroundings(): NodeJS.ProcessEnv {
  const variables = Object.entries(process.env);
  return Object.fromEntries(variables.filter(([name]) => !name.startsWith("MILLRACE_TEST_")));
}

/** Starts `millrace` with arguments. */
export function spawnMillrace(args: readonly string[], options: SpawnOptions = {}): ChildProcess {
  const child = spawn(process.execPath, ["--conditions=source", entry, ...args], {
    env: { ...surroundings(), ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(options.input ?? "");
  return child;
}

/** Runs a command to its end and answers what it printed. */
export async function run(
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<CommandResult> {
  const child = spawnMillrace(args, options);
  const stdout = collect(child.stdout, options.onStdout);
  const stderr = collect(child.stderr, options.onStderr);
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout: (await stdout).join("\n"), stderr: (await stderr).join("\n") };
}

/** A running service. */
export interface Service {
  /** Where it serves. */
  url: string;
  pid: number;
  child: ChildProcess;
  /** What it wrote to standard error so far, by line; at most the last 1000. */
  log: string[];
  /** Resident memory at this moment, in bytes. */
  residentBytes(): number;
  /** SIGTERM, and waits for its end. Answers the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL, and waits for its end. */
  kill(): Promise<void>;
}

/** Starts a service and waits until it says that it is ready. Rejects with its log if it ends. */
export async function startService(
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<Service> {
  const child = spawnMillrace(args, options);
  const log: string[] = [];
  void collect(child.stderr, (line) => {
    log.push(line);
    if (log.length > 1000) log.shift();
    options.onStderr?.(line);
  });
  const url = await new Promise<string>((resolve, reject) => {
    void collect(child.stdout, (line) => {
      options.onStdout?.(line);
      const match = /ready on (http:\/\/\S+)/.exec(line);
      if (match?.[1]) resolve(match[1]);
    });
    child.once("close", (code) => {
      reject(new Error(`millrace ${args[0]} ended with ${code}: ${log.join("\n")}`));
    });
  });
  const pid = child.pid ?? 0;
  const ended = once(child, "close").then(([code]) => code as number | null);
  return {
    url,
    pid,
    child,
    log,
    residentBytes: () => residentBytes(pid),
    async stop() {
      child.kill("SIGTERM");
      return await ended;
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Resident memory of a process in bytes; 0 if it is gone or the system does not tell. */
export function residentBytes(pid: number): number {
  try {
    const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    return Number(match?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

async function collect(
  stream: NodeJS.ReadableStream | null,
  onLine?: (line: string) => void,
): Promise<string[]> {
  const lines: string[] = [];
  if (!stream) return lines;
  for await (const line of createInterface({ input: stream })) {
    if (onLine) onLine(line);
    else lines.push(line);
  }
  return lines;
}
