import { expect, test } from "vitest";
import {
  checkName,
  controlChannelName,
  defaultPartition,
  isControlChannel,
  MillraceError,
  pchannelName,
  pchannelOf,
  vchannelName,
} from "../src/mod.ts";

test.each(["a", "_", "_default", "Flights2024", "x".repeat(255)])("%s is a name", (name) => {
  expect(() => checkName(name, "name")).not.toThrow();
});

test.each([
  ["", "name is empty; give it a name"],
  ["x".repeat(256), "name has 256 characters; at most 255 are allowed"],
  ["x".repeat(10_000), "name has 10000 characters; at most 255 are allowed"],
  ["a/b", 'name "a/b" is not a name'],
  ["..", 'name ".." is not a name'],
  ["a\u0000b", 'name "a\\u0000b" is not a name'],
  ["a\n", 'name "a\\n" is not a name'],
  ["1st", 'name "1st" is not a name'],
  ["$meta", 'name "$meta" is not a name'],
  ["größe", 'name "größe" is not a name'],
  ["a b", 'name "a b" is not a name'],
])("%j is not a name", (name, message) => {
  let error: unknown;
  try {
    checkName(name, "name");
  } catch (caught) {
    error = caught;
  }
  expect(MillraceError.is(error, "INVALID_ARGUMENT")).toBe(true);
  expect(error).toMatchObject({ field: "name", message: expect.stringContaining(message) });
});

test("the default partition is a name", () => {
  expect(() => checkName(defaultPartition, "partition")).not.toThrow();
});

test("a vchannel is named after its pchannel, and the pchannel found in it", () => {
  const pchannel = pchannelName("millrace", 7);
  const vchannel = vchannelName(pchannel, 449_412_345_678_901_234n, 3);
  expect(vchannel).toBe("millrace-dml_7_449412345678901234v3");
  expect(pchannelOf(vchannel)).toBe("millrace-dml_7");
  expect(pchannelOf(vchannelName("with_12v3_inside", 1n, 0))).toBe("with_12v3_inside");
});

test("a control channel is named after its pchannel, and is no vchannel of a collection", () => {
  const control = controlChannelName("millrace-dml_7");
  expect(control).toBe("millrace-dml_7_vcchan");
  expect(pchannelOf(control)).toBe("millrace-dml_7");
  expect(isControlChannel(control)).toBe(true);
  expect(isControlChannel(vchannelName("millrace-dml_7", 1n, 0))).toBe(false);
});

test.each(["millrace-dml_7", "_vcchan", "", "_1v0", "a_1v", "a_v1"])(
  "%j is not a vchannel",
  (name) => {
    expect(() => pchannelOf(name)).toThrow("is not a vchannel");
  },
);
