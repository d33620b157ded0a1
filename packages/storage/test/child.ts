import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** Another process. */
export interface Child {
  pid: number;
  /** The next line that it prints; `undefined` when it has ended. */
  line(): Promise<string | undefined>;
  /** SIGSTOP, or SIGCONT. */
  freeze(): void;
  thaw(): void;
  /** Ends it at once and waits until it has. */
  kill(): Promise<void>;
}

/** Options of {@linkcode startChild}. */
export interface ChildOptions {
  /** What it runs. Default `child.node.ts`. */
  script?: string;
  /** Which user it is. Default: the same. */
  uid?: number;
  /** Variables besides those of this process. */
  env?: Record<string, string>;
}

/** Starts a script of this folder with arguments. */
export function startChild(args: string[], options: ChildOptions = {}): Child {
  const { script = "child.node.ts", uid, env = {} } = options;
  const { pathname } = new URL(script, import.meta.url);
  const child: ChildProcess = spawn(process.execPath, ["--conditions=source", pathname, ...args], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env },
    ...(uid === undefined ? {} : { uid }),
  });
  if (child.stdout === null || child.pid === undefined) throw new Error("the child did not start");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, "exit");
  return {
    pid: child.pid,
    line: async () => (await lines.next()).value,
    freeze: () => void child.kill("SIGSTOP"),
    thaw: () => void child.kill("SIGCONT"),
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
