import { expect, inject, test } from "vitest";

declare module "vitest" {
  interface ProvidedContext {
    runtime: string;
  }
}

test("these tests run on the runtime that was asked for", () => {
  const runtime = "Deno" in globalThis ? "deno" : "Bun" in globalThis ? "bun" : "node";
  expect(runtime).toBe(inject("runtime"));
});
