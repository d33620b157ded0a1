/** The file backend as the conformance suites want it. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFileBackend } from "../src/backends/file.node.ts";
import type { LogBackendHarness } from "../src/conformance/mod.ts";
import { createFaultyFiles, systemError } from "./faulty-files.node.ts";

/** Logs in files of a folder that is made for each test, on a disk that can be full. */
export function createFileHarness(segmentBytes: number, seeds: number): LogBackendHarness {
  let dir = "";
  let full = false;
  const fs = createFaultyFiles({
    async write({ go }) {
      if (full) throw systemError("ENOSPC");
      return go();
    },
  });
  const create = () => createFileBackend({ dir, segmentBytes, fs });
  return {
    seeds,
    async open() {
      dir = await mkdtemp(join(tmpdir(), "millrace-wal-"));
      return create();
    },
    reopen: create,
    fill() {
      full = true;
      return () => {
        full = false;
      };
    },
    cleanUp: () => rm(dir, { recursive: true, force: true }),
  };
}
