import { defineConfig } from "vitest/config";

/** What runs on Deno and on Bun as it does on Node; `--mode` names the runtime. */
export default defineConfig(({ mode }) => ({
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"] } },
  test: {
    include: [
      "packages/wal/test/{conformance,golden,record-batch,sequencer,wal,wal-conformance}.test.ts",
      "test/checker/**/*.test.ts",
      "test/model/**/*.test.ts",
      "test/runtimes/**/*.test.ts",
    ],
    provide: { runtime: mode },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
}));
