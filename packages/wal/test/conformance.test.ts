import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFileBackend } from "../src/backends/file.node.ts";
import { describeLogBackend } from "../src/conformance/mod.ts";
import { createMemoryBackend } from "../src/mod.ts";

describeLogBackend("memory", { open: createMemoryBackend });

for (const segmentBytes of [4096, undefined]) {
  let dir = "";
  const create = () => createFileBackend({ dir, ...(segmentBytes ? { segmentBytes } : {}) });
  describeLogBackend(`file, segments of ${segmentBytes ?? "default"} bytes`, {
    async open() {
      dir = await mkdtemp(join(tmpdir(), "millrace-wal-"));
      return create();
    },
    reopen: create,
    cleanUp: () => rm(dir, { recursive: true, force: true }),
  });
}
