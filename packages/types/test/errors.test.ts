import { expect, test } from "vitest";
import { MillraceError } from "../src/mod.ts";

test("an error carries code, message and advice", () => {
  const cause = new Error("socket closed");
  const error = new MillraceError("UNMATCHED_CHANNEL_TERM", "the term is 4, not 3", {
    field: "term",
    maybeApplied: true,
    expected: "4",
    retryAfterMs: 50,
    cause,
  });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({
    name: "MillraceError",
    code: "UNMATCHED_CHANNEL_TERM",
    message: "the term is 4, not 3",
    field: "term",
    retryable: true,
    maybeApplied: true,
    expected: "4",
    retryAfterMs: 50,
    cause,
  });
});

test("whether a call may be repeated follows from the code unless it is said", () => {
  expect(new MillraceError("INVALID_ARGUMENT", "no").retryable).toBe(false);
  expect(new MillraceError("UNAVAILABLE", "later").retryable).toBe(true);
  expect(new MillraceError("RESOURCE_EXHAUSTED", "later").retryable).toBe(true);
  expect(new MillraceError("UNAVAILABLE", "never", { retryable: false }).retryable).toBe(false);
  expect(new MillraceError("DATA_LOSS", "again", { retryable: true }).retryable).toBe(true);
});

test("is tells MillraceErrors and their codes apart, those of another copy of the package too", () => {
  const error = new MillraceError("NOT_FOUND", "no such key");
  expect(MillraceError.is(error)).toBe(true);
  expect(MillraceError.is(error, "NOT_FOUND", "OUT_OF_RANGE")).toBe(true);
  expect(MillraceError.is(error, "OUT_OF_RANGE")).toBe(false);
  expect(MillraceError.is(new Error("no"))).toBe(false);
  expect(MillraceError.is({ name: "MillraceError", code: "NOT_FOUND" })).toBe(false);
  const foreign = Object.assign(new Error("x"), { name: "MillraceError", code: "NOT_FOUND" });
  expect(MillraceError.is(foreign, "NOT_FOUND")).toBe(true);
});

test("from keeps MillraceErrors and wraps everything else", () => {
  const error = new MillraceError("NOT_FOUND", "no such key");
  expect(MillraceError.from(error)).toBe(error);
  const cause = new TypeError("x is not a function");
  expect(MillraceError.from(cause)).toMatchObject({
    code: "UNKNOWN",
    message: cause.message,
    cause,
  });
  expect(MillraceError.from("plain text")).toMatchObject({
    code: "UNKNOWN",
    message: "plain text",
  });
});
