/**
 * Writing to standard output: with backpressure, as lines, JSON or tables.
 *
 * @module
 */

import { once } from "node:events";
import type { TextOutput } from "./io.ts";

/** Writes text and waits while the reader is slow. Rejects when `signal` is aborted. */
export async function write(output: TextOutput, text: string, signal?: AbortSignal): Promise<void> {
  if (output.write(text)) return;
  await once(output, "drain", signal ? { signal } : {});
}

/** Writes a value as indented JSON; bigints become strings. */
export async function writeJson(output: TextOutput, value: unknown): Promise<void> {
  await write(output, `${JSON.stringify(value, bigintsAsText, 2)}\n`);
}

/** Lines of a table, columns aligned, two spaces between them. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
}

/** An integer with commas between its thousands. */
export function formatCount(count: number | bigint): string {
  return count.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/** Bytes with one decimal in the largest fitting unit. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${Math.round(value)} B` : `${value.toFixed(1)} ${units[unit]}`;
}

function bigintsAsText(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}
