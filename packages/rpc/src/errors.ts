/**
 * MillraceError on the wire: a Connect code, and an ErrorDetail that carries the rest.
 *
 * @module
 */

import { Code, ConnectError } from "@connectrpc/connect";
import { type ErrorCode, MillraceError, type MillraceErrorOptions } from "@millrace/types";
import { type ErrorDetail, ErrorDetailSchema } from "@millrace/types/gen";

const connectCodes: Record<ErrorCode, Code> = {
  CHANNEL_NOT_EXIST: Code.Unavailable,
  UNMATCHED_CHANNEL_TERM: Code.Unavailable,
  CHANNEL_FENCED: Code.Unavailable,
  ON_SHUTDOWN: Code.Unavailable,
  UNAVAILABLE: Code.Unavailable,
  IGNORED_OPERATION: Code.FailedPrecondition,
  UNRECOVERABLE: Code.FailedPrecondition,
  PRECONDITION_FAILED: Code.FailedPrecondition,
  SCHEMA_VERSION_MISMATCH: Code.Aborted,
  TRANSACTION_EXPIRED: Code.Aborted,
  INVALID_TRANSACTION_STATE: Code.FailedPrecondition,
  INNER: Code.Internal,
  INVALID_ARGUMENT: Code.InvalidArgument,
  VCHANNEL_NOT_EXIST: Code.NotFound,
  COLLECTION_NOT_FOUND: Code.NotFound,
  PARTITION_NOT_FOUND: Code.NotFound,
  NOT_FOUND: Code.NotFound,
  COLLECTION_EXISTS: Code.AlreadyExists,
  PARTITION_EXISTS: Code.AlreadyExists,
  RESOURCE_EXHAUSTED: Code.ResourceExhausted,
  OUT_OF_RANGE: Code.OutOfRange,
  DATA_LOSS: Code.DataLoss,
  UNAUTHENTICATED: Code.Unauthenticated,
  PERMISSION_DENIED: Code.PermissionDenied,
  DEADLINE_EXCEEDED: Code.DeadlineExceeded,
  CANCELLED: Code.Canceled,
  UNIMPLEMENTED: Code.Unimplemented,
  UNKNOWN: Code.Unknown,
};

const errorCodes: Record<Code, ErrorCode> = {
  [Code.Canceled]: "CANCELLED",
  [Code.Unknown]: "UNKNOWN",
  [Code.InvalidArgument]: "INVALID_ARGUMENT",
  [Code.DeadlineExceeded]: "DEADLINE_EXCEEDED",
  [Code.NotFound]: "NOT_FOUND",
  [Code.AlreadyExists]: "PRECONDITION_FAILED",
  [Code.PermissionDenied]: "PERMISSION_DENIED",
  [Code.ResourceExhausted]: "RESOURCE_EXHAUSTED",
  [Code.FailedPrecondition]: "PRECONDITION_FAILED",
  [Code.Aborted]: "UNAVAILABLE",
  [Code.OutOfRange]: "OUT_OF_RANGE",
  [Code.Unimplemented]: "UNIMPLEMENTED",
  [Code.Internal]: "INNER",
  [Code.Unavailable]: "UNAVAILABLE",
  [Code.DataLoss]: "DATA_LOSS",
  [Code.Unauthenticated]: "UNAUTHENTICATED",
};

/** What a client is told of an error that is not a MillraceError: nothing of its inside. */
const innerMessage = "internal error; the server's log says more";

/**
 * The Connect error that carries an error to a client. A MillraceError keeps its code, message and
 * advice; a ConnectError stays as it is; an aborted signal becomes `CANCELLED` or
 * `DEADLINE_EXCEEDED`; anything else becomes `INNER`, without its message or stack.
 */
export function toConnectError(error: unknown): ConnectError {
  if (MillraceError.is(error)) return fromMillrace(error);
  if (error instanceof ConnectError) return error;
  if (error instanceof Error && error.name === "AbortError") {
    return fromMillrace(new MillraceError("CANCELLED", "the call was cancelled", { cause: error }));
  }
  if (error instanceof Error && error.name === "TimeoutError") {
    return fromMillrace(
      new MillraceError("DEADLINE_EXCEEDED", "the call took too long", { cause: error }),
    );
  }
  return fromMillrace(new MillraceError("INNER", innerMessage, { cause: error }));
}

function fromMillrace(error: MillraceError): ConnectError {
  const value = errorToDetail(error);
  return new ConnectError(
    error.message,
    connectCodes[error.code] ?? Code.Unknown,
    undefined,
    [{ desc: ErrorDetailSchema, value }],
    error,
  );
}

/** An error's fields as the message that carries them, for protocols with errors in band. */
export function errorToDetail(error: MillraceError): Omit<ErrorDetail, "$typeName" | "$unknown"> {
  return {
    code: error.code,
    message: error.message,
    field: error.field ?? "",
    retryable: error.retryable,
    maybeApplied: error.maybeApplied,
    expected: error.expected ?? "",
    retryAfterMs: error.retryAfterMs,
  };
}

/** The error that a detail in band carries; the inverse of {@linkcode errorToDetail}. */
export function errorFromDetail(detail: ErrorDetail, cause?: unknown): MillraceError {
  return fromDetail(detail, detail.message, cause);
}

function fromDetail(detail: ErrorDetail, message: string, cause: unknown): MillraceError {
  const options: MillraceErrorOptions = {
    retryable: detail.retryable,
    maybeApplied: detail.maybeApplied,
    retryAfterMs: detail.retryAfterMs,
  };
  if (detail.field !== "") options.field = detail.field;
  if (detail.expected !== "") options.expected = detail.expected;
  if (cause !== undefined) options.cause = cause;
  const known = detail.code in connectCodes;
  return new MillraceError(known ? (detail.code as ErrorCode) : "UNKNOWN", message, options);
}

/** Failures before a connection stood: the server never saw the call. */
const notSent: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

/**
 * The MillraceError of whatever a client's call failed with. What the server said comes back as it
 * was thrown there. A failure of the network is `UNAVAILABLE`, retryable, and `maybeApplied` unless
 * the connection was never made; a call that was given up is `CANCELLED` or `DEADLINE_EXCEEDED`, and
 * `maybeApplied`.
 */
export function fromConnectError(error: unknown, signal?: AbortSignal): MillraceError {
  if (MillraceError.is(error)) return error;
  const connect = ConnectError.from(error);
  const detail = connect.findDetails(ErrorDetailSchema)[0];
  if (detail) return fromDetail(detail, connect.rawMessage, connect);
  if (signal?.aborted && connect.code === Code.Canceled) {
    const cause = signal.reason;
    return new MillraceError("CANCELLED", "the call was cancelled", { maybeApplied: true, cause });
  }
  if (connect.code === Code.DeadlineExceeded) {
    const message = "the call was not answered in time";
    return new MillraceError("DEADLINE_EXCEEDED", message, { maybeApplied: true, cause: connect });
  }
  if (isNetworkFailure(connect)) {
    return new MillraceError("UNAVAILABLE", `the connection failed: ${connect.rawMessage}`, {
      maybeApplied: !causes(connect).some((cause) => notSent.has(codeOf(cause))),
      cause: connect,
    });
  }
  return new MillraceError(errorCodes[connect.code], connect.rawMessage, { cause: connect });
}

/**
 * Whether the transport made the error itself because the connection broke. A stream that is reset
 * or a body that ends early shows as any of several codes, depending on where the break fell.
 */
function isNetworkFailure(error: ConnectError): boolean {
  if (error.code === Code.Unavailable || error.code === Code.Aborted) return true;
  if (error.code === Code.Canceled) return true;
  if (causes(error).some((cause) => /^(E[A-Z]+|ERR_HTTP2_|ERR_STREAM_)/.test(codeOf(cause)))) {
    return true;
  }
  if (error.cause instanceof TypeError && /fetch|network|load failed/i.test(error.cause.message)) {
    return true;
  }
  return /stream closed with error code|protocol error: (missing|promised|incomplete)|premature/i.test(
    error.rawMessage,
  );
}

function causes(error: Error): Error[] {
  const chain: Error[] = [];
  let next: unknown = error;
  while (next instanceof Error && !chain.includes(next)) {
    chain.push(next);
    next = next.cause;
  }
  return chain;
}

function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : "";
}
