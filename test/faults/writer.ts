/**
 * Starting {@linkcode WriterOrder | writers} as processes of their own.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Position } from "@millrace/types";
import type { WriterOrder } from "./writer.node.ts";

const script = fileURLToPath(new URL("./writer.node.ts", import.meta.url));

/** What a writer says. */
export interface WriterEvents {
  submit(name: string): void;
  acknowledge(name: string, place: Position, duplicate: boolean): void;
}

/** A process that writes. */
export interface Writer {
  /** Tells it to begin. */
  begin(order: WriterOrder, events: WriterEvents): void;
  /** Resolves when it has opened the log, or has ended without. */
  opened: Promise<void>;
  /** Resolves when the process is gone and all it said was heard; with its error, if it had one. */
  ended: Promise<string>;
  signal(name: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void;
  /** Lets it exit in the midst of its work. */
  stop(): void;
}

/** Starts a writer that waits for its order, by way of a command that runs another, if one is given. */
export function startWriter(cache: string, within: readonly string[] = []): Writer {
  const [command = "", ...words] = [...within, process.execPath, "--conditions=source", script];
  const child: ChildProcess = spawn(command, words, {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, NODE_COMPILE_CACHE: cache },
  });
  let events: WriterEvents | undefined;
  let reason = "";
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const { stdin, stdout } = child;
  if (!stdin || !stdout) throw new Error("the process has no pipes");
  // It may be killed before it has read.
  stdin.on("error", () => undefined);
  const lines = createInterface({ input: stdout });
  lines.on("line", (line) => {
    const [word = "", name = "", sequence, index, again] = line.split(" ");
    if (word === "opened") open();
    else if (word === "submit") events?.submit(name);
    else if (word === "ack") {
      const place = { sequence: Number(sequence), index: Number(index) };
      events?.acknowledge(name, place, again === "again");
    } else if (word === "end") reason = line.slice(word.length + 1);
  });
  const ended = Promise.all([once(child, "close"), once(lines, "close")]).then(() => {
    open();
    return reason;
  });
  return {
    begin(order, heard) {
      events = heard;
      stdin.write(`${JSON.stringify(order)}\n`);
    },
    opened,
    ended,
    signal: (name) => void child.kill(name),
    stop: () => void stdin.end(),
  };
}
