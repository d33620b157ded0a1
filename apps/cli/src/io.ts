/**
 * What a command touches outside of its arguments.
 *
 * @module
 */

import type { Readable, Writable } from "node:stream";
import type { Clock, Random } from "@millrace/types";

/** A stream to write text to. */
export interface TextOutput extends Writable {
  /** A terminal. */
  isTTY?: boolean;
  /** Width of the terminal in characters. */
  columns?: number;
}

/** The streams, the clock and the signal of one run of `millrace`. */
export interface Io {
  stdin: Readable;
  stdout: TextOutput;
  stderr: TextOutput;
  clock: Clock;
  random: Random;
  /** Calls a listener at each SIGHUP; answers what ends that. Without a listener it ends the process. */
  onHangup: (listener: () => void) => () => void;
  /** Aborted by the first SIGINT or SIGTERM; its reason is an {@linkcode Interrupted}. */
  signal: AbortSignal;
}

/** Why a run ends early: the user or the system asked for it. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  /** What a shell expects of a command that this signal ended: 130 or 143. */
  readonly exitCode: number;

  constructor(signal: "SIGINT" | "SIGTERM") {
    super("interrupted");
    this.exitCode = signal === "SIGINT" ? 130 : 143;
  }
}
