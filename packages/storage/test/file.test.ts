import { chmod, link, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fileError } from "../src/file/files.node.ts";
import { createFileMetaStore, createFileObjectStore, lockFolder } from "../src/file.node.ts";
import { type Child, startChild } from "./child.ts";
import { createTempFolder } from "./temp.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array | undefined): string => new TextDecoder().decode(data);

let folder: Awaited<ReturnType<typeof createTempFolder>>;
let children: Child[];

beforeEach(async () => {
  folder = await createTempFolder();
  children = [];
});

afterEach(async () => {
  for (const child of children) await child.kill();
  await folder.remove();
});

function start(args: string[], uid?: number): Child {
  const child = startChild(args, uid === undefined ? {} : { uid });
  children.push(child);
  return child;
}

describe("a folder's lock", () => {
  test("keeps other processes and other callers out, and says who has it", async () => {
    const child = start(["lock", folder.path]);
    expect(await child.line()).toBe("locked");
    await expect(lockFolder(folder.path)).rejects.toMatchObject({
      code: "PRECONDITION_FAILED",
      expected: String(child.pid),
      message: expect.stringContaining(`${folder.path} is in use by process ${child.pid}`),
    });
  });

  test("ends with a process that is killed", async () => {
    const child = start(["lock", folder.path]);
    expect(await child.line()).toBe("locked");
    await child.kill();
    const lock = await lockFolder(folder.path);
    const next = start(["lock", folder.path]);
    expect(await next.line()).toContain(`PRECONDITION_FAILED the folder ${folder.path} is in use`);
    await lock.release();
    await lock.release();
    expect(await start(["lock", folder.path]).line()).toBe("locked");
  });

  test("is not held by a process that has the dead holder's id", async () => {
    const stale = { pid: process.pid, start: "another boot/1", nonce: "0123456789abcdef" };
    await writeFile(join(folder.path, ".millrace-lock"), JSON.stringify(stale));
    await (await lockFolder(folder.path)).release();
  });

  test.each(["", "{", "null", '{"pid":"x"}'])(
    "is free when power failed in it: %j",
    async (left) => {
      await writeFile(join(folder.path, ".millrace-lock"), left);
      await (await lockFolder(folder.path)).release();
    },
  );

  test("goes to one of many who find a dead holder, and a dead successor", async () => {
    const path = join(folder.path, ".millrace-lock");
    const dead = { pid: 4_000_000, start: "x/1", nonce: "1111111111111111" };
    await writeFile(path, JSON.stringify(dead));
    // Another died while it was about to take over.
    const second = { ...dead, nonce: "2222222222222222" };
    await writeFile(`${path}-${dead.nonce}`, JSON.stringify(second));
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, () => lockFolder(folder.path)),
    );
    const locks = results.flatMap((result) =>
      result.status === "fulfilled" ? [result.value] : [],
    );
    expect(locks).toHaveLength(1);
    await locks[0]?.release();
    expect(await readdir(folder.path)).toEqual([]);
  });
});

describe("a folder that cannot be used", () => {
  test("is an error that names it", async () => {
    const file = join(folder.path, "file");
    await writeFile(file, "x");
    for (const dir of [file, join(file, "below")]) {
      for (const open of [createFileObjectStore, createFileMetaStore]) {
        await expect(open({ dir })).rejects.toMatchObject({
          code: "INVALID_ARGUMENT",
          message: expect.stringContaining(dir),
        });
      }
      await expect(lockFolder(dir)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  });

  test("is an error when this user may not write to it", async () => {
    const dir = join(folder.path, "closed");
    await mkdir(dir);
    await chmod(dir, 0o555);
    await chmod(folder.path, 0o755);
    // Nothing is closed to root, so that the child is nobody then.
    const uid = process.getuid?.() === 0 ? 65_534 : undefined;
    for (const kind of ["objects", "meta"]) {
      const line = await start(["open", dir, kind], uid).line();
      expect(line).toMatch(
        /^PERMISSION_DENIED cannot use the folder .*closed: .*access \(EACCES\)/,
      );
    }
  });

  test.each([
    ["ENOSPC", "RESOURCE_EXHAUSTED", "the disk is full"],
    ["EDQUOT", "RESOURCE_EXHAUSTED", "quota"],
    ["EROFS", "PERMISSION_DENIED", "read-only"],
    ["EIO", "UNAVAILABLE", "I/O error"],
  ])("says what %s means", (errno, code, message) => {
    const error = Object.assign(new Error("system"), { code: errno });
    expect(fileError("write", error)).toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });
});

describe("objects in a folder", () => {
  test("are files that other tools can read", async () => {
    const store = await createFileObjectStore({ dir: folder.path });
    await store.put("tables/t/_partition=p/part 0.parquet", bytes("PAR1"));
    const path = join(folder.path, "tables/t/_partition=p/part 0.parquet");
    expect(await readFile(path, "utf8")).toBe("PAR1");
    await store.delete("tables/t/_partition=p/part 0.parquet");
    await store.close();
    expect(await readdir(folder.path)).toEqual([".millrace-tmp"]);
    expect(await readdir(join(folder.path, ".millrace-tmp"))).toEqual([]);
  });

  test("cannot be folders of others", async () => {
    const store = await createFileObjectStore({ dir: folder.path });
    const clash = { code: "INVALID_ARGUMENT", field: "key" };
    await store.put("a/b", bytes("x"));
    await store.put("file", bytes("x"));
    for (const options of [{}, { ifAbsent: true }]) {
      await expect(store.put("a", bytes("x"), options)).rejects.toMatchObject(clash);
      await expect(store.put("file/x", bytes("x"), options)).rejects.toMatchObject(clash);
      await expect(store.put("file/x/y", bytes("x"), options)).rejects.toMatchObject(clash);
    }
    expect(await store.get("a")).toBeUndefined();
    await store.delete("a");
    expect(text((await store.get("a/b"))?.body)).toBe("x");
    await store.delete("a/b");
    await store.put("a", bytes("x"), { ifAbsent: true });
    await store.close();
  });

  test("have a new etag with each write, however fast they follow", async () => {
    const store = await createFileObjectStore({ dir: folder.path });
    const etags = new Set<string>();
    for (let i = 0; i < 200; i++) etags.add((await store.put("key", bytes("same"))).etag);
    expect(etags.size).toBe(200);
    await store.close();
  });

  test("lose no update of several processes", async () => {
    const store = await createFileObjectStore({ dir: folder.path });
    await store.put("counter", bytes("0"));
    const counters = [1, 2, 3].map(() => start(["count", folder.path, "30"]));
    for (const counter of counters) expect(await counter.line()).toBe("counted");
    expect(text((await store.get("counter"))?.body)).toBe("90");
    await store.close();
  });

  test("are whole after a writer is killed, and what it left is removed", async () => {
    for (let round = 0; round < 3; round++) {
      const writer = start(["write", folder.path]);
      expect(await writer.line()).toBe("writing");
      let last = -1;
      while (last < 2) last = Number(await writer.line());
      await writer.kill();
      const store = await createFileObjectStore({ dir: folder.path });
      const parts = text((await store.get("stable"))?.body)
        .trimEnd()
        .split(" ");
      expect(parts).toHaveLength(20_000);
      expect(new Set(parts).size).toBe(1);
      expect(Number(parts[0])).toBeGreaterThanOrEqual(last);
      await store.close();
      expect(await readdir(join(folder.path, ".millrace-tmp"))).toEqual([]);
    }
  });

  test("are not listed when others put links or odd files beside them", async () => {
    const store = await createFileObjectStore({ dir: folder.path });
    await store.put("a", bytes("x"));
    await symlink("/etc", join(folder.path, "etc"));
    await link(join(folder.path, "a"), join(folder.path, "hard"));
    const keys: string[] = [];
    for await (const info of store.list()) keys.push(info.key);
    expect(keys).toEqual(["a", "hard"]);
    await store.close();
  });
});

describe("metadata in a folder", () => {
  test("is there after the store is opened again, with other revisions", async () => {
    const first = await createFileMetaStore({ dir: folder.path });
    const revision = await first.put("a", bytes("1"));
    await first.put("a/b", bytes("2"));
    await first.put("gone", bytes("3"));
    await first.delete("gone");
    await first.lease("leader", { value: bytes("first") });
    await first.close();
    const second = await createFileMetaStore({ dir: folder.path });
    const entries = await second.list("");
    expect(entries.map(({ key, value }) => [key, text(value)])).toEqual([
      ["a", "1"],
      ["a/b", "2"],
    ]);
    const stale = second.put("a", bytes("x"), { expected: revision });
    await expect(stale).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    expect(await second.lease("leader", { value: bytes("second") })).toBeDefined();
    await second.close();
  });

  test("belongs to one process", async () => {
    const store = await createFileMetaStore({ dir: folder.path });
    const line = await start(["open", folder.path, "meta"]).line();
    expect(line).toContain(`PRECONDITION_FAILED the folder ${folder.path} is in use by process`);
    await store.close();
    expect(await start(["open", folder.path, "meta"]).line()).toBe("opened");
  });
});
