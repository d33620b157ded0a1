/**
 * The one error of Millrace.
 *
 * @module
 */

/**
 * What went wrong, stable over versions. The first block follows the streaming codes of Milvus 2.6;
 * the rest are Millrace's own.
 */
export type ErrorCode =
  // The node that was asked does not hold the pchannel, or holds it at another term.
  | "CHANNEL_NOT_EXIST"
  | "UNMATCHED_CHANNEL_TERM"
  // The owner is going away, or another has taken over.
  | "CHANNEL_FENCED"
  | "ON_SHUTDOWN"
  | "IGNORED_OPERATION"
  | "INNER"
  | "INVALID_ARGUMENT"
  | "UNRECOVERABLE"
  | "SCHEMA_VERSION_MISMATCH"
  // The transaction was never begun, has been rolled back, or was not used for longer than its lease.
  | "TRANSACTION_EXPIRED"
  // The transaction is being committed or rolled back.
  | "INVALID_TRANSACTION_STATE"
  // The vchannel is not (or no longer) known to the owner of its pchannel.
  | "VCHANNEL_NOT_EXIST"
  | "COLLECTION_NOT_FOUND"
  | "COLLECTION_EXISTS"
  | "PARTITION_NOT_FOUND"
  | "PARTITION_EXISTS"
  | "RESOURCE_EXHAUSTED"
  // A position that was truncated.
  | "OUT_OF_RANGE"
  // Stored bytes that are damaged.
  | "DATA_LOSS"
  // A precondition on stored state did not hold (expected revision, if-absent, lock held).
  | "PRECONDITION_FAILED"
  | "NOT_FOUND"
  | "UNAUTHENTICATED"
  | "PERMISSION_DENIED"
  | "UNAVAILABLE"
  | "DEADLINE_EXCEEDED"
  | "CANCELLED"
  | "UNIMPLEMENTED"
  | "UNKNOWN";

/** What a {@linkcode MillraceError} says besides its code and message. */
export interface MillraceErrorOptions {
  /** The offending field as a path, such as `rows[3].price`. */
  field?: string;
  /** The same call may be sent again. The default follows from the code. */
  retryable?: boolean;
  /** The call may have had effects although it failed. The default is `false`. */
  maybeApplied?: boolean;
  /** What would have been right: a term, a version, the first available position. */
  expected?: string;
  /** How long to wait before a retry, in milliseconds. */
  retryAfterMs?: number;
  /** What caused it. */
  cause?: unknown;
}

const retryableCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "CHANNEL_NOT_EXIST",
  "UNMATCHED_CHANNEL_TERM",
  "CHANNEL_FENCED",
  "ON_SHUTDOWN",
  "VCHANNEL_NOT_EXIST",
  "SCHEMA_VERSION_MISMATCH",
  "RESOURCE_EXHAUSTED",
  "UNAVAILABLE",
]);

/**
 * The one error of Millrace: a stable code, a message that says what to do, and whether the call may
 * be sent again.
 *
 * @example
 * ```ts
 * throw new MillraceError("INVALID_ARGUMENT", "price must be a number, got a string", {
 *   field: "rows[3].price",
 * });
 * ```
 */
export class MillraceError extends Error {
  override readonly name = "MillraceError";
  /** Stable over versions. */
  readonly code: ErrorCode;
  /** The offending field as a path, or `undefined`. */
  readonly field: string | undefined;
  /** The same call may be sent again. */
  readonly retryable: boolean;
  /** The call may have had effects although it failed. */
  readonly maybeApplied: boolean;
  /** What would have been right, or `undefined`. */
  readonly expected: string | undefined;
  /** How long to wait before a retry, in milliseconds; 0: no advice. */
  readonly retryAfterMs: number;

  constructor(code: ErrorCode, message: string, options: MillraceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.field = options.field;
    this.retryable = options.retryable ?? retryableCodes.has(code);
    this.maybeApplied = options.maybeApplied ?? false;
    this.expected = options.expected;
    this.retryAfterMs = options.retryAfterMs ?? 0;
  }

  /** `true` if the error is a MillraceError, of any of the codes if codes are given. */
  static is(error: unknown, ...codes: ErrorCode[]): error is MillraceError {
    // By shape: two copies of this package may be loaded.
    if (!(error instanceof Error) || error.name !== "MillraceError") return false;
    return codes.length === 0 || codes.includes((error as MillraceError).code);
  }

  /** The error as it is if it is a MillraceError, else one of code `UNKNOWN` that carries it. */
  static from(error: unknown): MillraceError {
    if (MillraceError.is(error)) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new MillraceError("UNKNOWN", message, { cause: error });
  }
}
