/**
 * What etcd says in Millrace's words.
 *
 * @module
 */

import { type ErrorCode, MillraceError } from "@millrace/types";
import type { EtcdLocation } from "./options.ts";

/** An answer that is not a success, or none at all. */
export interface EtcdFailure {
  /** Of HTTP; 0: no answer. */
  status: number;
  /** Of gRPC; -1: there is none. */
  code: number;
  message: string;
  cause?: unknown;
}

/** Codes of gRPC that are asked for here. */
const codes = {
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** Reads the body of an error; answers of gateways and of proxies before them differ. */
export function failureOf(status: number, body: unknown): EtcdFailure {
  const unnamed = { status, code: -1, message: `status ${status}` };
  if (typeof body !== "object" || body === null) return unnamed;
  const fields = body as Record<string, unknown>;
  // In a stream the error is an object.
  if (typeof fields.error === "object") return failureOf(status, fields.error);
  const code = fields.code ?? fields.grpc_code;
  const message = fields.message ?? fields.error;
  if (typeof code !== "number" || typeof message !== "string") return unnamed;
  return { status, code, message };
}

/** Reads why a watch was ended by the server: text only. */
export function cancelFailure(reason: string): EtcdFailure {
  const names: [RegExp, number][] = [
    [/permission ?denied/i, codes.permissionDenied],
    [/unauthenticated|invalid auth token/i, codes.unauthenticated],
    [/user name is empty|auth store is old/i, codes.invalidArgument],
  ];
  const code = names.find(([pattern]) => pattern.test(reason))?.[1] ?? codes.unavailable;
  return { status: 200, code, message: reason };
}

/** `true` if a new token may help. */
export function wantsToken({ code, message }: EtcdFailure): boolean {
  if (code === codes.unauthenticated) return true;
  return /user name is empty|auth store is old|invalid auth token/.test(message);
}

/** `true` if users are not in use, so that no token is needed. */
export function needsNoToken({ message }: EtcdFailure): boolean {
  return message.includes("authentication is not enabled");
}

/** `true` if the lease has ended. */
export function isLeaseGone({ code, message }: EtcdFailure): boolean {
  return code === codes.notFound && message.includes("lease");
}

/** `true` if another member, or the same a little later, may do it. */
export function isTransient({ status, code, message }: EtcdFailure): boolean {
  if (code === codes.resourceExhausted) return message.includes("too many requests");
  if (code === -1) return status === 0 || status === 429 || (status >= 500 && status !== 501);
  return (
    code === codes.cancelled ||
    code === codes.unknown ||
    code === codes.deadlineExceeded ||
    code === codes.internal ||
    code === codes.unavailable
  );
}

/** `true` if the request may have been carried out all the same. */
export function isAmbiguous(failure: EtcdFailure): boolean {
  const isTurnedAway = failure.code === codes.resourceExhausted || failure.status === 429;
  return isTransient(failure) && !isTurnedAway;
}

const badUser = "check the user's name and password";
const known: [RegExp, ErrorCode, string][] = [
  [/invalid user ID or password/, "UNAUTHENTICATED", badUser],
  [/user name is empty/, "UNAUTHENTICATED", "it wants a user; give a name and a password"],
  [/auth store is old/, "UNAUTHENTICATED", "its users change; try again"],
  [
    /database space exceeded/,
    "RESOURCE_EXHAUSTED",
    "it is full; compact, defragment and disarm it",
  ],
  [/request is too large/, "INVALID_ARGUMENT", "it takes no request so large; raise its limit"],
];

const byCode: Record<number, [ErrorCode, string]> = {
  [codes.invalidArgument]: ["INVALID_ARGUMENT", "it does not accept the request"],
  [codes.notFound]: ["NOT_FOUND", "there is no such thing"],
  [codes.permissionDenied]: ["PERMISSION_DENIED", "the user may not do that; check its roles"],
  [codes.resourceExhausted]: ["RESOURCE_EXHAUSTED", "it asks for fewer requests"],
  [codes.failedPrecondition]: ["PRECONDITION_FAILED", "it is not in a state for that"],
  [codes.outOfRange]: ["OUT_OF_RANGE", "it does not know that revision (any more)"],
  [codes.unimplemented]: ["UNIMPLEMENTED", "it does not know this kind of request"],
  [codes.unauthenticated]: ["UNAUTHENTICATED", `it does not accept the token; ${badUser}`],
};

/** The error of a failure; it names the store, never a password or token. */
export function etcdError(
  location: EtcdLocation,
  doing: string,
  failure: EtcdFailure,
  maybeApplied: boolean,
): MillraceError {
  const transient = isTransient(failure);
  const [code, advice] = meaningOf(failure, transient);
  return new MillraceError(
    code,
    `${location.name}: cannot ${doing}: ${advice} (${failure.message})`,
    { retryable: transient, maybeApplied, cause: failure.cause },
  );
}

function meaningOf(failure: EtcdFailure, transient: boolean): [ErrorCode, string] {
  const found = known.find(([pattern]) => pattern.test(failure.message));
  if (found) return [found[1], found[2]];
  const meant = byCode[failure.code];
  if (meant) return meant;
  if (failure.status === 0) {
    return ["UNAVAILABLE", "no answer; check that etcd runs and can be reached"];
  }
  if (transient) return ["UNAVAILABLE", "it has trouble; try again later"];
  return ["UNIMPLEMENTED", "this is not the JSON gateway of an etcd from 3.4 on"];
}
