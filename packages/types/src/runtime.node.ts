/**
 * The real clock, randomness and a line logger, for Node, Deno and Bun.
 *
 * @module
 */

import { randomBytes } from "node:crypto";
import { type Live, readLive } from "./live.ts";
import type { Clock, Logger, Random } from "./runtime.ts";

/** The system's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

/** The system's randomness. */
export const systemRandom: Random = {
  next: () => Math.random(),
  bytes: (length) => new Uint8Array(randomBytes(length)),
};

const levels = ["debug", "info", "warn", "error"] as const;

/** How much a line matters. */
export type LogLevel = (typeof levels)[number];

/** Options of {@linkcode createLineLogger}. */
export interface LineLoggerOptions {
  /** The least level that is written. Default `info`. */
  level?: Live<LogLevel>;
  /** Takes one line, without its end. Default: standard error. */
  write?: (line: string) => void;
}

/** A logger that writes one JSON object a line. */
export function createLineLogger(options: LineLoggerOptions = {}): Logger {
  const { write = (line) => process.stderr.write(`${line}\n`) } = options;
  const least = readLive(options.level ?? "info");
  const at = (name: LogLevel) => {
    return (message: string, fields: Record<string, unknown> = {}) => {
      if (levels.indexOf(name) < levels.indexOf(least())) return;
      const entry = { time: new Date().toISOString(), level: name, message, ...fields };
      write(JSON.stringify(entry, replacer));
    };
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function replacer(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Error) return value.message;
  return value;
}
