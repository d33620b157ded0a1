import { defineConfig } from "vitest/config";

/** What runs on Deno and on Bun as it does on Node; `--mode` names the runtime. */
export default defineConfig(({ mode }) => ({
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"] } },
  test: {
    include: [
      "packages/wal/test/*.test.ts",
      "test/checker/**/*.test.ts",
      "test/runtimes/**/*.test.ts",
    ],
    // They start processes of Node, leave files open as a process does that dies, or ask V8 itself.
    exclude: ["packages/wal/test/{file-crash,file-process,read-scanner,readme}.test.ts"],
    provide: { runtime: mode },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
}));
