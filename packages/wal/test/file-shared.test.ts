import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createSeededRandom } from "@millrace/types/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createFileBackend, type FileSystem, nodeFileSystem } from "../src/backends/file.node.ts";
import { createFileFixture, range, sequencesOf } from "./file-fixture.node.ts";
import { textsOf } from "./helpers.ts";

const script = fileURLToPath(new URL("./shared-owner.node.ts", import.meta.url));
const pchannels = ["a", "b", "c"];
let dir: string;
let owners: Owner[];
/** Per pchannel, the names that were acknowledged, by sequence. */
let acknowledged: Map<string, Map<number, string>>;
/** The pchannels and terms of which something was acknowledged. */
let active: Set<string>;
let progress: () => void;

interface Owner {
  child: ChildProcess;
  exited: Promise<number | null>;
}

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "millrace-shared-"));
  owners = [];
  acknowledged = new Map(pchannels.map((pchannel) => [pchannel, new Map()]));
  active = new Set();
  progress = () => undefined;
});
afterEach(async () => {
  for (const { child } of owners) child.kill("SIGKILL");
  await Promise.all(owners.map(({ exited }) => exited));
  await rm(dir, { recursive: true, force: true });
});

function startOwner(): Owner {
  const child = spawn(process.execPath, ["--conditions=source", script, dir], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(child, "close").then(([code]) => code as number | null);
  if (child.stdout) createInterface({ input: child.stdout }).on("line", noteLine);
  const owner = { child, exited };
  owners.push(owner);
  return owner;
}

function noteLine(line: string): void {
  const [pchannel = "", sequence, name = ""] = line.split(" ");
  acknowledged.get(pchannel)?.set(Number(sequence), name);
  active.add(`${pchannel} ${name.split("/")[0]}`);
  progress();
}

/** Resolves when something of this term was acknowledged; rejects if its owner ends by itself. */
function reached(owner: Owner, pchannel: string, term: number): Promise<void> {
  return new Promise((resolve, reject) => {
    owner.exited.then((code) => reject(new Error(`the owner ended with ${code}`)), reject);
    progress = () => {
      if (active.has(`${pchannel} ${term}`)) resolve();
    };
    progress();
  });
}

test("any of several processes may take over any log of a folder, whoever is killed meanwhile", async () => {
  const random = createSeededRandom(7);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random.next() * items.length)] as T;
  let living = [startOwner(), startOwner(), startOwner()];
  for (let term = 1; term <= 32; term++) {
    const pchannel = pick(pchannels);
    const owner = pick(living);
    owner.child.stdin?.write(`${pchannel} ${term}\n`);
    await reached(owner, pchannel, term);
    if (term % 8 !== 0) continue;
    const killed = pick(living);
    killed.child.kill("SIGKILL");
    await killed.exited;
    living = [...living.filter((other) => other !== killed), startOwner()];
  }
  for (const { child, exited } of living) {
    child.kill("SIGKILL");
    expect(await exited).toBeNull();
  }

  const backend = createFileBackend({ dir });
  for (const [pchannel, names] of acknowledged) {
    const log = await backend.open(pchannel, 1000);
    const { first, next } = log.bounds();
    expect(first).toBeGreaterThan(0);
    const read = new Map<number, string>();
    for await (const batch of log.read(first)) {
      read.set(batch.sequence, (textsOf(batch)[0] ?? "").replace(/\.+$/, ""));
    }
    expect([...read.keys()]).toEqual(Array.from({ length: next - first }, (_, i) => first + i));
    expect(new Set(read.values()).size).toBe(read.size);
    for (const [sequence, name] of names) {
      if (sequence >= first) expect(read.get(sequence), `${pchannel} ${sequence}`).toBe(name);
    }
    await log.close();
  }
});

test("an owner may follow while the one before it is truncating", async () => {
  const fixture = await createFileFixture();
  let resume: () => void = () => undefined;
  const resumed = new Promise<void>((resolve) => {
    resume = resolve;
  });
  const waiting: FileSystem = {
    ...nodeFileSystem,
    async open(path, mode) {
      if (path.includes("first-")) await resumed;
      return nodeFileSystem.open(path, mode);
    },
  };
  const old = await fixture.open(1, { fs: waiting, segmentBytes: 4096 });
  await fixture.fill(old, 12, 1000);
  const truncating = old.truncate(9);
  const fs: FileSystem = {
    ...nodeFileSystem,
    async list(path) {
      if (path === fixture.folder(1)) {
        resume();
        await truncating;
      }
      return nodeFileSystem.list(path);
    },
  };
  const next = await fixture.open(2, { fs });
  expect(next.bounds()).toEqual({ first: 9, next: 12 });
  await fixture.fill(next, 14);
  expect(await sequencesOf(next)).toEqual(range(9, 14));
  await fixture.close();
});

test("an owner may truncate what the one before it has truncated further meanwhile", async () => {
  const fixture = await createFileFixture();
  await fixture.fill(await fixture.open(1, { segmentBytes: 4096 }), 12, 1000);
  const dropping = createGate();
  const fs: FileSystem = {
    ...nodeFileSystem,
    async open(path, mode) {
      if (path.includes("first-")) await dropping.pass();
      return nodeFileSystem.open(path, mode);
    },
  };
  const second = await fixture.open(2, { fs, segmentBytes: 4096 });
  await fixture.fill(second, 20, 1000);
  const truncating = second.truncate(18);
  await dropping.reached;
  const third = await fixture.open(3, { segmentBytes: 4096 });
  expect(third.bounds().first).toBe(0);
  dropping.open();
  await truncating;
  await third.truncate(7);
  const { first, next } = third.bounds();
  expect(first).toBeGreaterThan(11);
  expect(await sequencesOf(third)).toEqual(range(first, next));
  await fixture.close();
});

test("what was kept is found, also while a former owner carries it on", async () => {
  const fixture = await createFileFixture();
  const first = await fixture.open(1, { segmentBytes: 4096 });
  await fixture.fill(first, 5, 1000);
  await first.keep?.(new TextEncoder().encode("five"));
  await first.close();
  const carrying = createGate();
  const keptPath = join(fixture.folder(2), "kept");
  const held: FileSystem = {
    ...nodeFileSystem,
    async open(path, mode) {
      if (path.startsWith(keptPath) && mode === "create") await carrying.pass();
      return nodeFileSystem.open(path, mode);
    },
  };
  const second = await fixture.open(2, { fs: held, segmentBytes: 4096 });
  await fixture.fill(second, 12, 1000);
  const truncating = second.truncate(11);
  await carrying.reached;
  let looks = 0;
  const fs: FileSystem = {
    ...nodeFileSystem,
    async open(path, mode) {
      // Looked for once to find the end, then for what it says.
      const last = path === keptPath && ++looks === 2;
      try {
        return await nodeFileSystem.open(path, mode);
      } finally {
        if (last) {
          carrying.open();
          await truncating;
        }
      }
    },
  };
  const third = await fixture.open(3, { fs });
  expect(looks).toBe(3);
  expect(new TextDecoder().decode(third.kept)).toBe("five");
  await fixture.close();
});

test("a batch that a reader has seen stays, though its owner was followed before it could acknowledge it", async () => {
  const fixture = await createFileFixture();
  const written = createGate();
  const fenced = createGate();
  let holding = false;
  const held: FileSystem = {
    ...nodeFileSystem,
    async open(path, mode) {
      const file = await nodeFileSystem.open(path, mode);
      return {
        ...file,
        async write(parts, position) {
          const bytes = await file.write(parts, position);
          if (holding) await written.pass();
          return bytes;
        },
      };
    },
  };
  const old = await fixture.open(1, { fs: held });
  await fixture.fill(old, 2);
  holding = true;
  const late = expect(old.append(fixture.batch(1, 2))).rejects.toMatchObject({
    code: "CHANNEL_FENCED",
  });
  await written.reached;
  const reader = await fixture.openReader();
  expect(await sequencesOf(reader)).toEqual([0, 1, 2]);
  const following: FileSystem = {
    ...nodeFileSystem,
    async list(path) {
      // The fence stands, the end is not yet looked for.
      if (path === fixture.folder(1)) await fenced.pass();
      return nodeFileSystem.list(path);
    },
  };
  const opening = fixture.open(2, { fs: following });
  await fenced.reached;
  written.open();
  await late;
  await old.close();
  fenced.open();
  const next = await opening;
  expect(await sequencesOf(next)).toEqual([0, 1, 2]);
  expect(await sequencesOf(reader)).toEqual([0, 1, 2]);
  await fixture.close();
});

/** Where something waits until the gate is opened. */
function createGate(): { reached: Promise<void>; pass(): Promise<void>; open(): void } {
  let arrive: () => void = () => undefined;
  let open: () => void = () => undefined;
  const reached = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return {
    reached,
    pass() {
      arrive();
      return opened;
    },
    open: () => open(),
  };
}
