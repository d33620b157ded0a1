import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"] } },
  test: {
    include: [
      "packages/*/test/**/*.test.ts",
      "apps/*/test/**/*.test.ts",
      "bench/test/**/*.test.ts",
      "test/repo/**/*.test.ts",
      "test/checker/**/*.test.ts",
      "test/model/**/*.test.ts",
      "test/simulation/**/*.test.ts",
      "test/e2e/**/*.test.ts",
      "test/faults/**/*.test.ts",
    ],
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
