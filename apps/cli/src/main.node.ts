/** The `millrace` command. */

import { systemClock, systemRandom } from "@millrace/types/node";
import { Interrupted, type Io } from "./io.ts";
import { runProgram } from "./program.ts";

const interruption = new AbortController();

for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.on(name, () => {
    const interrupted = new Interrupted(name);
    // The second signal does not wait for what the first one asked to end.
    if (interruption.signal.aborted) process.exit(interrupted.exitCode);
    interruption.abort(interrupted);
  });
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // The reader has seen enough, as with `millrace tail orders | head`.
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

const io: Io = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  clock: systemClock,
  random: systemRandom,
  onHangup(listener) {
    process.on("SIGHUP", listener);
    return () => process.off("SIGHUP", listener);
  },
  signal: interruption.signal,
};

process.exit(await runProgram(process.argv.slice(2), io));
