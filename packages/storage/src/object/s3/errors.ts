/**
 * What S3 says in Millrace's words.
 *
 * @module
 */

import { type ErrorCode, MillraceError } from "@millrace/types";
import type { S3Location } from "./options.ts";
import { parseXml, textOf } from "./xml.ts";

/** An answer that is not a success. */
export interface S3Failure {
  status: number;
  /** Such as `NoSuchKey`; "" if the answer has none. */
  code: string;
}

/** The code in an error's body, or "". */
export function errorCodeOf(body: Uint8Array): string {
  try {
    const root = parseXml(new TextDecoder().decode(body.subarray(0, 65_536)));
    return root.name === "Error" ? textOf(root, "Code") : "";
  } catch (error) {
    // A proxy's page or a cut body: the status must do.
    if (MillraceError.is(error)) return "";
    throw error;
  }
}

const retryableCodes = new Set([
  "InternalError",
  "SlowDown",
  "ServiceUnavailable",
  "RequestTimeout",
  "OperationAborted",
  "ConditionalRequestConflict",
]);

/** `true` if the same request may succeed a little later. */
export function isTransient({ status, code }: S3Failure): boolean {
  return status === 429 || (status >= 500 && status !== 501) || retryableCodes.has(code);
}

/** `true` if the request may have been carried out all the same. */
export function isAmbiguous({ status, code }: S3Failure): boolean {
  return status < 300 || (status >= 500 && status !== 501 && code !== "SlowDown");
}

const badKeys = "check the access key, the secret and the region";
const known: Record<string, [ErrorCode, string]> = {
  NoSuchBucket: ["NOT_FOUND", "there is no such bucket; create it, or use another"],
  InvalidAccessKeyId: ["UNAUTHENTICATED", `the access key is not known there; ${badKeys}`],
  SignatureDoesNotMatch: ["UNAUTHENTICATED", `the signature does not match; ${badKeys}`],
  AuthorizationHeaderMalformed: ["UNAUTHENTICATED", `the signature is not accepted; ${badKeys}`],
  ExpiredToken: ["UNAUTHENTICATED", "the session token has expired; get a new one"],
  InvalidToken: ["UNAUTHENTICATED", "the session token is not valid; get a new one"],
  RequestTimeTooSkewed: ["UNAUTHENTICATED", "this machine's clock is wrong; set it right"],
  AccessDenied: ["PERMISSION_DENIED", "these keys may not do that; check the bucket's policy"],
  AllAccessDisabled: ["PERMISSION_DENIED", "all access to the bucket is disabled"],
  QuotaExceeded: ["RESOURCE_EXHAUSTED", "the quota is used up"],
  EntityTooLarge: ["INVALID_ARGUMENT", "the object is larger than the store allows"],
  NotImplemented: ["UNIMPLEMENTED", "the store does not know this kind of request"],
  PreconditionFailed: ["PRECONDITION_FAILED", "a condition does not hold"],
};

const byStatus: Record<number, [ErrorCode, string]> = {
  301: ["INVALID_ARGUMENT", "the bucket is elsewhere; check the region and the endpoint"],
  307: ["INVALID_ARGUMENT", "the bucket is elsewhere; check the region and the endpoint"],
  401: ["UNAUTHENTICATED", `the keys are not accepted; ${badKeys}`],
  403: ["PERMISSION_DENIED", `these keys may not do that; ${badKeys}, and the bucket's policy`],
  404: ["NOT_FOUND", "there is no such bucket or object"],
  411: ["UNIMPLEMENTED", "the store wants a length that was not sent"],
  412: ["PRECONDITION_FAILED", "a condition does not hold"],
  429: ["RESOURCE_EXHAUSTED", "the store asks for fewer requests"],
  501: ["UNIMPLEMENTED", "the store does not know this kind of request"],
  507: ["RESOURCE_EXHAUSTED", "the store is full"],
};

/** The error of an answer; it names bucket and endpoint, never a key or secret. */
export function s3Error(
  location: S3Location,
  doing: string,
  failure: S3Failure,
  maybeApplied: boolean,
): MillraceError {
  const transient = isTransient(failure);
  const [code, advice] = known[failure.code] ??
    byStatus[failure.status] ?? [
      transient ? "UNAVAILABLE" : "UNKNOWN",
      transient ? "the store has trouble; try again later" : "the store refused",
    ];
  const detail = failure.code === "" ? "" : ` ${failure.code}`;
  return new MillraceError(
    code,
    `${doing} in bucket ${location.bucket} at ${location.host}: ${advice} (${failure.status}${detail})`,
    { retryable: transient, maybeApplied },
  );
}

/** The error of a request that got no answer. */
export function unreachable(
  location: S3Location,
  doing: string,
  cause: unknown,
  maybeApplied: boolean,
): MillraceError {
  return new MillraceError(
    "UNAVAILABLE",
    `${doing} in bucket ${location.bucket}: no answer from ${location.host} (${reasonOf(cause)}); check that the server runs and can be reached`,
    { maybeApplied, cause },
  );
}

/** What went wrong below `fetch`: the interesting part is the cause's. */
function reasonOf(cause: unknown): string {
  let error = cause;
  while (error instanceof Error && error.cause instanceof Error) error = error.cause;
  if (!(error instanceof Error)) return String(error);
  const errno = "code" in error ? String(error.code) : "";
  return error.message === "" ? errno || error.name : error.message;
}
