import { expect, test } from "vitest";
import { decodeBase64, encodeBase64 } from "../src/meta/etcd/base64.ts";

test("base64 is that of others, for every length and byte", () => {
  const all = Uint8Array.from({ length: 1000 }, (_, i) => i * 7 + (i >> 8));
  for (const length of [0, 1, 2, 3, 4, 5, 255, 256, 998, 999, 1000]) {
    const bytes = all.subarray(0, length);
    expect(encodeBase64(bytes)).toBe(Buffer.from(bytes).toString("base64"));
    expect(decodeBase64(encodeBase64(bytes))).toEqual(bytes);
  }
});

test("what is not base64 is refused", () => {
  expect(() => decodeBase64("a*b=")).toThrow();
});
