import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFileBackend } from "../src/backends/file.node.ts";
import { describeWal } from "../src/conformance/mod.ts";
import { createMemoryBackend } from "../src/mod.ts";

describeWal("memory", { open: createMemoryBackend });

let dir = "";
const create = () => createFileBackend({ dir, segmentBytes: 4096 });
describeWal("files", {
  async open() {
    dir = await mkdtemp(join(tmpdir(), "millrace-wal-"));
    return create();
  },
  reopen: create,
  cleanUp: () => rm(dir, { recursive: true, force: true }),
});
