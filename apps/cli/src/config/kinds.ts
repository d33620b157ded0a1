/**
 * The kinds of values that settings have: how each is read, and how it is shown.
 *
 * @module
 */

import { parseBaseUrl, parseBaseUrls, parseListenAddress, parseOrigins } from "../options.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "./units.ts";

/** A kind of values. */
export interface Kind<T> {
  /** What a value must be, such as `64 KiB to 64 MiB`. */
  readonly expects: string;
  /**
   * Reads what a file (text or a list of texts), a variable or a flag (text, or `true`) gives; `undefined`
   * if it is no such value.
   */
  read(raw: unknown): T | undefined;
  /** As it may be written in a file. */
  show(value: T): string;
  /** For JSON. */
  plain(value: T): unknown;
  /** Values are not shown, not in errors either. */
  readonly secret: boolean;
}

/** Bytes. */
export function size(least: number, most: number): Kind<number> {
  return numeric(parseSize, formatSize, least, most);
}

/** Bytes, or `unlimited`, which is infinite. */
export function sizeOrUnlimited(least: number, most: number): Kind<number> {
  const limited = size(least, most);
  const infinite = Number.POSITIVE_INFINITY;
  return {
    ...limited,
    expects: `${limited.expects}, or unlimited`,
    read: (raw) => (raw === "unlimited" ? infinite : limited.read(raw)),
    show: (value) => (value === infinite ? "unlimited" : limited.show(value)),
    plain: (value) => (value === infinite ? "unlimited" : value),
  };
}

/** Milliseconds. */
export function duration(least: number, most: number): Kind<number> {
  return numeric(parseDuration, formatDuration, least, most);
}

/** A whole number. */
export function count(least: number, most: number): Kind<number> {
  return numeric(parseDecimal, String, least, most);
}

/** A number that need not be whole. */
export function fraction(least: number, most: number): Kind<number> {
  return numeric(parseDecimal, String, least, most, false);
}

/** `true` or `false`. */
export function toggle(): Kind<boolean> {
  const on = ["true", "yes", "on", "1"];
  const off = ["false", "no", "off", "0"];
  return {
    expects: "true or false",
    read(raw) {
      const word = String(raw).toLowerCase();
      if (on.includes(word)) return true;
      return off.includes(word) ? false : undefined;
    },
    show: String,
    plain: (value) => value,
    secret: false,
  };
}

/** One of some words. */
export function choice<T extends string>(...words: readonly T[]): Kind<T> {
  return {
    expects: words.join(", ").replace(/, ([^,]*)$/, " or $1"),
    read: (raw) => words.find((word) => word === raw),
    show: (value) => value,
    plain: (value) => value,
    secret: false,
  };
}

/** Text; one that `parse` throws for is refused. */
export function text(expects: string, parse: (text: string) => unknown = String): Kind<string> {
  return {
    expects,
    read(raw) {
      if (typeof raw !== "string" || raw === "") return undefined;
      return attempt(() => parse(raw)) === undefined ? undefined : raw;
    },
    show: withoutPassword,
    plain: withoutPassword,
    secret: false,
  };
}

/** Where to serve, as `HOST:PORT`. */
export function listenAddress(): Kind<string> {
  return text("HOST:PORT, such as 127.0.0.1:8530", parseListenAddress);
}

/** An http or https URL; it is kept without a slash at its end. */
export function url(): Kind<string> {
  return {
    ...text("a URL, such as http://127.0.0.1:8530"),
    read: (raw) => attempt(() => parseBaseUrl(String(raw))),
  };
}

/** URLs: a list, or one text with commas between them. */
export function urls(): Kind<readonly string[]> {
  return list("one or several URLs, such as http://127.0.0.1:8531", parseBaseUrls);
}

/** Origins of pages: a list, or one text with commas between them; `*` is all. */
export function origins(): Kind<readonly string[]> {
  return list("*, or origins such as https://app.example", parseOrigins);
}

function list(
  expects: string,
  parse: (text: string) => readonly string[],
): Kind<readonly string[]> {
  return {
    expects,
    read: (raw) => attempt(() => parse(Array.isArray(raw) ? raw.join(",") : `${raw}`)),
    show: (value) => value.map(withoutPassword).join(","),
    plain: (value) => value.map(withoutPassword),
    secret: false,
  };
}

/** Text that is not shown. */
export function secret(expects: string): Kind<string> {
  const hidden = (): string => "********";
  return { ...text(expects), show: hidden, plain: hidden, secret: true };
}

function numeric(
  parse: (text: string) => number | undefined,
  show: (value: number) => string,
  least: number,
  most: number,
  whole = true,
): Kind<number> {
  return {
    expects: `${show(least)} to ${show(most)}`,
    read(raw) {
      const value = typeof raw === "string" ? parse(raw) : raw;
      if (typeof value !== "number" || !(value >= least && value <= most)) return undefined;
      return whole && !Number.isInteger(value) ? undefined : value;
    },
    show,
    plain: (value) => value,
    secret: false,
  };
}

function parseDecimal(text: string): number | undefined {
  return /^(?:\d{1,15}(?:\.\d{1,15})?|\.\d{1,15})$/.test(text) ? Number(text) : undefined;
}

function attempt<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch {
    return undefined;
  }
}

/** `http://user:password@host` without the password. */
export function withoutPassword(value: string): string {
  return value.replace(/^([a-z0-9+.-]+:\/\/[^/@:]*:)[^/@]*@/i, "$1********@");
}
