/**
 * From an error to the one line that a user reads, and to an exit code.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { CommanderError } from "commander";
import { Interrupted } from "./io.ts";

/** How often `cause` is followed for a message. */
const causeDepth = 4;

/** An error of usage: the command exits with 2. */
export function usageError(message: string): CommanderError {
  return new CommanderError(2, "millrace.usage", message);
}

/** An operation that failed for a reason on this machine; the command exits with 1. */
export function failure(message: string, cause?: unknown): MillraceError {
  return new MillraceError("UNKNOWN", message, cause === undefined ? {} : { cause });
}

/** 0 for a request for help, 2 for wrong usage, 130 or 143 for a signal, else 1. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof Interrupted) return error.exitCode;
  return 1;
}

/** What is wrong, in one line without control characters. */
export function describeError(error: unknown): string {
  if (error instanceof CommanderError) return oneLine(error.message.replace(/^error: /, ""));
  const system = systemErrorOf(error);
  // A MillraceError has a message made for people; a bare system error has not.
  if (system !== undefined && !MillraceError.is(error)) return oneLine(describeSystemError(system));
  return oneLine(error instanceof Error ? error.message : String(error));
}

/** The system's error behind an error, such as `ENOENT`, or `undefined`. */
export function systemErrorOf(error: unknown): NodeJS.ErrnoException | undefined {
  let current = error;
  for (let depth = 0; depth < causeDepth && current instanceof Error; depth++) {
    const candidate = current as NodeJS.ErrnoException;
    if (typeof candidate.code === "string" && typeof candidate.syscall === "string") {
      return candidate;
    }
    current = current.cause;
  }
  return undefined;
}

const systemReasons: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EADDRINUSE: "the address is in use by another process",
  EADDRNOTAVAIL: "the address is not one of this machine's",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "the connection was reset",
  EISDIR: "it is a folder",
  EMFILE: "too many open files",
  ENOENT: "no such file or folder",
  ENOSPC: "no space left on the device",
  ENOTDIR: "a part of the path is not a folder",
  ENOTFOUND: "no such host",
  EPERM: "not permitted",
  EROFS: "the file system is read-only",
};

/** What a system's error means, such as `permission denied`. */
export function systemReason(error: NodeJS.ErrnoException): string {
  return systemReasons[error.code ?? ""] ?? error.message;
}

function describeSystemError(error: NodeJS.ErrnoException): string {
  const about = error.path ?? error.syscall;
  return about ? `${about}: ${systemReason(error)}` : systemReason(error);
}

function oneLine(text: string): string {
  return text
    .replace(/\s+/g, " ")
    .replace(/\p{Cc}/gu, "?")
    .trim();
}
