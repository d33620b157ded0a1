import fc from "fast-check";
import { expect, test } from "vitest";
import { createInterner } from "../src/interner.ts";

test("an interner answers with the very bytes, and with one object for values in a row", () => {
  const values = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 50 });
  fc.assert(
    fc.property(values, (parts) => {
      const intern = createInterner();
      for (const part of [...parts, ...parts]) {
        const bytes = new Uint8Array([1, ...part, 2]);
        const first = intern(bytes, 1, 1 + part.length);
        expect([...first]).toEqual([...part]);
        if (part.length <= 32) expect(intern(bytes.slice(), 1, 1 + part.length)).toBe(first);
      }
    }),
  );
});
