/**
 * How far an insert is: a bar on a terminal, plain lines otherwise.
 *
 * @module
 */

import type { Clock } from "@millrace/types";
import type { TextOutput } from "./io.ts";
import { formatBytes, formatCount } from "./output.ts";

/** How far it is. */
export interface ProgressState {
  /** Acknowledged by the server. */
  rows: number;
  /** Of the file, read. */
  bytes: number;
  /** Of the file, if it is known. */
  totalBytes: number | undefined;
}

/** Options of {@linkcode startProgress}. */
export interface ProgressOptions {
  output: TextOutput;
  clock: Clock;
  state: () => ProgressState;
}

/** A display of progress. */
export interface Progress {
  /** Writes a line, above the bar if there is one. */
  note(text: string): void;
  /** Ends the display and wipes the bar. */
  stop(): void;
}

const barIntervalMs = 100;
const lineIntervalMs = 1000;
const barWidth = 24;

/** Shows the state until it is stopped. */
export function startProgress(options: ProgressOptions): Progress {
  const { output, clock, state } = options;
  const bar = output.isTTY === true;
  const started = clock.monotonic();
  const seconds = (): number => (clock.monotonic() - started) / 1000;
  const line = (): string => {
    const now = state();
    return bar ? formatBar(now, seconds(), output.columns ?? 80) : formatLine(now, seconds());
  };
  let cancel: () => void;
  const tick = (): void => {
    output.write(bar ? `\r\u001b[K${line()}` : `${line()}\n`);
    cancel = clock.schedule(bar ? barIntervalMs : lineIntervalMs, tick);
  };
  cancel = clock.schedule(bar ? barIntervalMs : lineIntervalMs, tick);
  return {
    note(text) {
      output.write(bar ? `\r\u001b[K${text}\n` : `${text}\n`);
    },
    stop() {
      cancel();
      if (bar) output.write("\r\u001b[K");
    },
  };
}

/** `1,234 rows, 617 rows/s, 1.0 MiB of 4.0 MiB, 512.0 KiB/s` */
export function formatLine(state: ProgressState, seconds: number): string {
  const { rows, bytes, totalBytes } = state;
  const total = totalBytes === undefined ? "" : ` of ${formatBytes(totalBytes)}`;
  return [
    `${formatCount(rows)} rows`,
    `${formatCount(perSecond(rows, seconds))} rows/s`,
    `${formatBytes(bytes)}${total}`,
    `${formatBytes(perSecond(bytes, seconds))}/s`,
  ].join(", ");
}

function formatBar(state: ProgressState, seconds: number, columns: number): string {
  const { bytes, totalBytes } = state;
  const text = formatLine(state, seconds);
  if (!totalBytes) return text.slice(0, columns - 1);
  const part = Math.min(1, bytes / totalBytes);
  const filled = Math.round(part * barWidth);
  const bar = `[${"█".repeat(filled)}${"░".repeat(barWidth - filled)}]`;
  return `${bar} ${Math.floor(part * 100)}% ${text}`.slice(0, columns - 1);
}

function perSecond(amount: number, seconds: number): number {
  return seconds > 0 ? amount / seconds : 0;
}
