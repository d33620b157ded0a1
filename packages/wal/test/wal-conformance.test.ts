import { describeWal } from "../src/conformance/mod.ts";
import { createMemoryBackend } from "../src/mod.ts";
import { createFileHarness } from "./file-harness.node.ts";

describeWal("memory", { open: createMemoryBackend });
describeWal("files", createFileHarness(4096, 30));
