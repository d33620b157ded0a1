import { describeLogBackend } from "../src/conformance/mod.ts";
import { createMemoryBackend } from "../src/mod.ts";
import { createFileHarness } from "./file-harness.node.ts";

describeLogBackend("memory", { open: createMemoryBackend });
describeLogBackend("file, segments of 4 KiB", createFileHarness(4096, 30));
describeLogBackend("file, segments of 64 MiB", createFileHarness(64 * 1024 * 1024, 10));
