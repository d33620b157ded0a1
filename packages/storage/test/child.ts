import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** Another process that runs `child.node.ts`. */
export interface Child {
  pid: number;
  /** The next line that it prints; `undefined` when it has ended. */
  line(): Promise<string | undefined>;
  /** Ends it at once and waits until it has. */
  kill(): Promise<void>;
}

const script = new URL("./child.node.ts", import.meta.url).pathname;

/** Starts `child.node.ts` with arguments, as another user if one is named. */
export function startChild(args: string[], uid?: number): Child {
  const child: ChildProcess = spawn(process.execPath, ["--conditions=source", script, ...args], {
    stdio: ["pipe", "pipe", "inherit"],
    ...(uid === undefined ? {} : { uid }),
  });
  if (child.stdout === null || child.pid === undefined) throw new Error("the child did not start");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, "exit");
  return {
    pid: child.pid,
    line: async () => (await lines.next()).value,
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
