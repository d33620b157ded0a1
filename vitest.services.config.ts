import { defineConfig } from "vitest/config";

/** Tests that need real servers; `test/services/start.ts` starts them once for the whole run. */
export default defineConfig({
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"] } },
  test: {
    include: ["packages/*/test/**/*.services.ts", "test/services/**/*.services.ts"],
    globalSetup: ["test/services/start.ts"],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
