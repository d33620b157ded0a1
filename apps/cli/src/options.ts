/**
 * Flags: each has a name, an environment variable and a line of help.
 *
 * @module
 */

import { InvalidArgumentError, Option } from "commander";

/** Where a service listens. */
export interface ListenAddress {
  host: string;
  /** 0: the system picks one. */
  port: number;
}

/** Where clients find Millrace unless told otherwise. */
export const defaultServer = "http://127.0.0.1:8530";

/** A flag with its environment variable: `--wal <spec>` is also `MILLRACE_WAL`. */
export function flag(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.env(environmentName(option));
}

/** `--server URL`, of every command of a client. */
export function serverFlag(): Option {
  return flag("--server <url>", "where Millrace serves")
    .default(defaultServer)
    .argParser(parseBaseUrl);
}

/** `--json`, of every command of a client. */
export function jsonFlag(): Option {
  return flag("--json", "print JSON");
}

/** The environment variable of a flag: `MILLRACE_` and its name in capitals. */
export function environmentName(option: Option): string {
  return `MILLRACE_${option.name().replaceAll("-", "_").toUpperCase()}`;
}

/**
 * What a flag without a value means when its environment variable has one: empty, `0`, `false` and
 * `no` are off.
 */
export function isOff(value: string): boolean {
  return ["", "0", "false", "no"].includes(value.toLowerCase());
}

/** `HOST:PORT`, `:PORT`, `PORT` or `[IPv6]:PORT`. Throws `InvalidArgumentError`. */
export function parseListenAddress(text: string): ListenAddress {
  const match = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]*)):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65535) {
    throw new InvalidArgumentError("Give HOST:PORT, such as 127.0.0.1:8530.");
  }
  return { host: match[1] ?? (match[2] || "127.0.0.1"), port };
}

/** An http or https URL without a trailing slash. Throws `InvalidArgumentError`. */
export function parseBaseUrl(text: string): string {
  const url = URL.parse(text);
  if (!url || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new InvalidArgumentError(`Give a URL, such as ${defaultServer}.`);
  }
  return text.replace(/\/+$/, "");
}

/** One or several URLs, with commas between them. Throws `InvalidArgumentError`. */
export function parseBaseUrls(text: string): string[] {
  return [...new Set(text.split(",").map((url) => parseBaseUrl(url.trim())))];
}

/** `*`, or origins such as `https://app.example`, with commas between them. Throws `InvalidArgumentError`. */
export function parseOrigins(text: string): string[] {
  const origins = text.split(",").map((origin) => origin.trim());
  if (origins.every((origin) => origin === "*" || URL.parse(origin)?.origin === origin)) {
    return [...new Set(origins)];
  }
  throw new InvalidArgumentError("Give *, or origins such as https://app.example.");
}

/** An integer within bounds. The parser throws `InvalidArgumentError`. */
export function parseInteger(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`Give a number from ${least} to ${most}.`);
    }
    return value;
  };
}

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A duration such as `500ms`, `60s`, `5m` or `1h`, in milliseconds. Throws `InvalidArgumentError`. */
export function parseDuration(text: string): number {
  const match = /^(\d{1,9}(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  const unit = durationUnits[match?.[2] ?? ""];
  if (!match || unit === undefined) {
    throw new InvalidArgumentError("Give a duration, such as 500ms, 60s or 5m.");
  }
  return Number(match[1]) * unit;
}
