/**
 * Harness: what the author of a backend hands in to have it tested.
 *
 * @module
 */

import type { LogBackend } from "../log.ts";

/** How the tests of a log get at a backend. */
export interface LogBackendHarness {
  /** Creates a backend over storage that is empty. */
  open(): Promise<LogBackend> | LogBackend;
  /**
   * A second backend over the storage of the last `open`, as another process would have it. Default:
   * the same backend.
   */
  reopen?(): Promise<LogBackend> | LogBackend;
  /**
   * Makes appends be refused for lack of room (`RESOURCE_EXHAUSTED`) until the function that it answers
   * is called. Absent: the backend never runs out of room, or it cannot be provoked.
   */
  fill?(): Promise<() => void> | (() => void);
  /** How many random histories are tried. Default 30. */
  seeds?: number;
  /** Frees the storage of the last `open`. */
  cleanUp?(): Promise<void> | void;
}
