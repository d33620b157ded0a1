/** What a call is refused with. */

import { expect } from "vitest";
import { MillraceError } from "../src/mod.ts";

/** The path and message that `call` is refused with, as INVALID_ARGUMENT. */
export function failure(call: () => unknown): { field: string | undefined; message: string } {
  try {
    call();
  } catch (error) {
    if (!MillraceError.is(error)) throw error;
    expect(error.code).toBe("INVALID_ARGUMENT");
    return { field: error.field, message: error.message };
  }
  throw new Error("the call was not refused");
}
