/**
 * Locks between the processes of one machine that survive the death of their holder.
 *
 * A lock is a file that names its holder. It appears whole, by `link`. One whose holder is dead is
 * replaced by `rename`, and only by the process that holds the lock on that replacement, whose name
 * contains the dead holder's: so of many that find a dead holder one replaces it, and none can
 * mistake a fresh lock for the stale one that it saw. That process may die too; its lock is broken
 * in the same way.
 *
 * @module
 */

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { link, readdir, readFile, rename, rm, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { MillraceError } from "@millrace/types";
import { errnoOf, fileError, openFolder } from "./files.node.ts";

/** Who holds a lock: a process is named by its id and its start, since ids are used again. */
export interface Holder {
  pid: number;
  /** When the process started, in the system's words. */
  start: string;
  /** Different for every holder, also of one process. */
  nonce: string;
}

/** A folder that this process has for itself. */
export interface FolderLock {
  /** Gives it up. */
  release(): Promise<void>;
}

const lockName = ".millrace-lock";
const cardName = ".millrace-card";

/**
 * Takes a folder for this process alone; makes it if it is missing. The lock ends with
 * {@linkcode FolderLock.release} or with the process, however that ends. It works between processes
 * that see each other's ids: one machine, one container.
 *
 * Throws `PRECONDITION_FAILED` with the folder and the holder's pid while it is taken.
 *
 * @example
 * ```ts
 * const lock = await lockFolder("./millrace-data");
 * try {
 *   await serve();
 * } finally {
 *   await lock.release();
 * }
 * ```
 */
export async function lockFolder(dir: string): Promise<FolderLock> {
  await openFolder(dir);
  const path = join(dir, lockName);
  const card = await createCard(dir);
  try {
    const other = await tryLock(path, card);
    if (other !== undefined) {
      throw new MillraceError(
        "PRECONDITION_FAILED",
        `the folder ${dir} is in use by process ${other.pid}; stop that process or use another folder`,
        { expected: String(other.pid) },
      );
    }
  } catch (error) {
    throw fileError(`lock the folder ${dir}`, error);
  } finally {
    await card.discard();
  }
  let released = false;
  return {
    async release() {
      if (released) return;
      released = true;
      await rm(path, { force: true });
    },
  };
}

/** A file that names this process and of which locks are made. */
export interface Card {
  holder: Holder;
  path: string;
  discard(): Promise<void>;
}

/** Writes the card of a new holder into a folder. */
export async function createCard(dir: string): Promise<Card> {
  const nonce = randomBytes(8).toString("hex");
  const start = await processStart(process.pid);
  const holder: Holder = { pid: process.pid, start: start ?? "", nonce };
  const path = join(dir, `${cardName}-${nonce}`);
  try {
    // In two steps: a card that is half written would look like that of a dead holder.
    const draft = join(dir, `${nonce}-card`);
    await writeFile(draft, JSON.stringify(holder), { flag: "wx" });
    await rename(draft, path);
  } catch (error) {
    throw fileError(`write to the folder ${dir}`, error);
  }
  return { holder, path, discard: () => rm(path, { force: true }) };
}

/** Removes the cards in a folder whose holders are dead, and all files named after them. */
export async function removeDeadCards(dir: string): Promise<void> {
  const names = await readdir(dir);
  for (const name of names.filter((name) => name.startsWith(`${cardName}-`))) {
    const holder = await readHolder(join(dir, name));
    if (holder === undefined || (await isAlive(holder))) continue;
    const nonce = name.slice(cardName.length + 1);
    for (const left of names.filter((other) => other.startsWith(`${nonce}-`))) {
      await rm(join(dir, left), { force: true });
    }
    await rm(join(dir, name), { force: true });
  }
}

/** Removes the locks in a folder whose names begin so and whose holders are dead. */
export async function removeDeadLocks(dir: string, prefix: string, card: Card): Promise<void> {
  for (const name of (await readdir(dir)).filter((name) => name.startsWith(prefix))) {
    const path = join(dir, name);
    if ((await tryLock(path, card)) === undefined) await unlock(path);
  }
}

/** Takes the lock at a path for the holder of the card, or answers who has it. */
export async function tryLock(path: string, card: Card): Promise<Holder | undefined> {
  for (;;) {
    try {
      await link(card.path, path);
      return undefined;
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
    }
    const other = await readHolder(path);
    if (other === undefined) continue;
    if (await isAlive(other)) return other;
    const replaced = await replaceDead(path, other, card);
    if (replaced === "mine") return undefined;
    if (replaced !== "gone") return replaced;
  }
}

/** Gives up a lock that this process holds. */
export async function unlock(path: string): Promise<void> {
  await unlink(path);
}

async function replaceDead(
  path: string,
  dead: Holder,
  card: Card,
): Promise<"mine" | "gone" | Holder> {
  const right = `${path}-${dead.nonce}`;
  const breaker = await tryLock(right, card);
  if (breaker !== undefined) return breaker;
  try {
    const now = await readHolder(path);
    if (now?.nonce !== dead.nonce) return "gone";
    const copy = `${card.path}-new`;
    await link(card.path, copy);
    await rename(copy, path);
    return "mine";
  } finally {
    await unlock(right);
  }
}

async function readHolder(path: string): Promise<Holder | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
  return parseHolder(text);
}

function parseHolder(text: string): Holder {
  const found = parseJson(text);
  if (typeof found === "object" && found !== null) {
    const { pid, start, nonce } = found as Partial<Holder>;
    const isNonce = typeof nonce === "string" && /^[0-9a-f]+$/.test(nonce);
    if (typeof pid === "number" && typeof start === "string" && isNonce) {
      return { pid, start, nonce };
    }
  }
  // A lock appears whole, so one that cannot be read was cut by a power failure: its holder is gone.
  return { pid: 0, start: "", nonce: "unreadable" };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `true` if the process that took the lock still runs. */
async function isAlive(holder: Holder): Promise<boolean> {
  if (holder.pid <= 0) return false;
  return holder.start !== "" && (await processStart(holder.pid)) === holder.start;
}

const run = promisify(execFile);

/** When a process started, in the system's words; `undefined` if there is none. */
async function processStart(pid: number): Promise<string | undefined> {
  if (process.platform !== "linux") return await startByPs(pid);
  try {
    const [boot, stat] = await Promise.all([
      readFile("/proc/sys/kernel/random/boot_id", "utf8"),
      readFile(`/proc/${pid}/stat`, "utf8"),
    ]);
    // The name in parentheses may hold anything, so count from behind it: start is field 22. A zombie
    // (field 3) has closed all of its files.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z") return undefined;
    return `${boot.trim()}/${fields[19]}`;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT" || errno === "ESRCH") return undefined;
    throw error;
  }
}

async function startByPs(pid: number): Promise<string | undefined> {
  try {
    const { stdout } = await run("ps", ["-o", "lstart=", "-p", String(pid)]);
    return stdout.trim() || undefined;
  } catch {
    // ps fails when there is no such process.
    return undefined;
  }
}
