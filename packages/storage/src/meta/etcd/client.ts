/**
 * Requests to the members of an etcd, with time limits, tokens and failover.
 *
 * @module
 */

import {
  backoffDelay,
  type Clock,
  delay,
  type Logger,
  MillraceError,
  type Random,
  silentLogger,
} from "@millrace/types";
import { closedError } from "../check.ts";
import {
  type EtcdFailure,
  etcdError,
  failureOf,
  isAmbiguous,
  isTransient,
  wantsToken,
} from "./errors.ts";
import { BodyTooLargeError, readBody, readJsonLines } from "./json-lines.ts";
import type { EtcdCredentials, EtcdLocation, EtcdMetaStoreOptions } from "./options.ts";
import { createTokens, type TokenOutcome, type Tokens, tokenOf } from "./tokens.ts";

/** A request. */
export interface EtcdCall {
  /** For messages: `read a/b`. */
  doing: string;
  /** Behind `/v3/`, such as `kv/txn`. */
  path: string;
  body: unknown;
  /** It writes, so that a lost answer leaves the outcome unknown. Default `false`. */
  writes?: boolean;
  /** How long a member may take. Default: as the store's options say. */
  requestTimeoutMs?: number;
  /** How long all attempts may take. Default: as the store's options say. */
  callTimeoutMs?: number;
  signal?: AbortSignal | undefined;
}

/** An answer. */
export interface EtcdAnswer<T> {
  message: T;
  /** An earlier attempt may have been carried out. */
  maybeRepeated: boolean;
}

/** Sends requests. */
export interface EtcdClient {
  readonly location: EtcdLocation;
  /**
   * Sends until there is an answer or the time is over. Rejects with what etcd refuses, and with
   * `RESOURCE_EXHAUSTED` and the field `limit` if the answer is too large.
   */
  call<T>(call: EtcdCall): Promise<EtcdAnswer<T>>;
  /** Sends once and answers the results of a stream as they come, the first within the time limit. */
  stream<T>(call: EtcdCall): AsyncGenerator<T>;
  /** Drops the token with which a stream was refused; `false` if no other can be had. */
  renewToken(): boolean;
  /** Ends all requests; later ones are `ON_SHUTDOWN`. */
  close(): void;
}

// A page of a listing is meant to have 4 MiB; a message of a watch is a piece of at most 2 MiB.
const maxBodyBytes = 48 * 1024 * 1024;
const maxLineBytes = 16 * 1024 * 1024;

/** Makes a client of the cluster. */
export function createEtcdClient(
  options: EtcdMetaStoreOptions,
  location: EtcdLocation,
): EtcdClient {
  return new Client(options, location);
}

type Refusal = { failure: EtcdFailure };

class Client implements EtcdClient {
  readonly location: EtcdLocation;
  readonly #tokens: Tokens | undefined;
  readonly #fetch: typeof fetch;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #requestTimeoutMs: number;
  readonly #callTimeoutMs: number;
  readonly #underWay = new Set<AbortController>();
  /** Which member is asked. */
  #member = 0;
  #closed = false;

  constructor(options: EtcdMetaStoreOptions, location: EtcdLocation) {
    const { credentials } = options;
    this.location = location;
    if (credentials !== undefined) {
      const current = typeof credentials === "object" ? async () => credentials : credentials;
      this.#tokens = createTokens(() => this.#authenticate(current));
    }
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
    this.#clock = options.clock;
    this.#random = options.random;
    this.#logger = options.logger ?? silentLogger;
    this.#requestTimeoutMs = options.requestTimeoutMs ?? 3000;
    this.#callTimeoutMs = options.callTimeoutMs ?? 10_000;
  }

  async call<T>(call: EtcdCall): Promise<EtcdAnswer<T>> {
    return await this.#underControl(call.signal, async (signal) => {
      const { callTimeoutMs = this.#callTimeoutMs, doing } = call;
      const end = this.#clock.monotonic() + callTimeoutMs;
      let maybeRepeated = false;
      for (let attempt = 1; ; attempt++) {
        const member = this.#member;
        const leftMs = end - this.#clock.monotonic();
        const outcome = await this.#attempt(call, leftMs, signal);
        if (!("failure" in outcome)) return { message: outcome.message as T, maybeRepeated };
        const { failure } = outcome;
        maybeRepeated ||= call.writes === true && isAmbiguous(failure);
        const waitMs = this.#waitMs(attempt);
        const isLast = this.#clock.monotonic() + waitMs >= end;
        if (!isTransient(failure) || isLast) throw this.#error(doing, failure, maybeRepeated);
        this.#moveOn(member);
        const { message } = failure;
        this.#logger.warn("etcd: trying again", { doing, attempt, error: message });
        if (waitMs > 0) await delay(this.#clock, waitMs, signal);
      }
    });
  }

  async *stream<T>(call: EtcdCall): AsyncGenerator<T> {
    if (this.#closed) throw closedError(this.location.name);
    const { doing } = call;
    const member = this.#member;
    const control = this.#control(call.signal);
    const limitMs = call.requestTimeoutMs ?? this.#requestTimeoutMs;
    const cancel = this.#clock.schedule(limitMs, () => control.stop(noAnswer(limitMs)));
    try {
      const outcome = await this.#post(call, control.signal);
      if ("failure" in outcome) throw this.#error(doing, outcome.failure, false);
      for await (const line of readJsonLines(outcome.response.body, maxLineBytes)) {
        cancel();
        const { result } = line as { result?: T };
        if (result === undefined) throw this.#error(doing, failureOf(200, line), false);
        yield result;
      }
    } catch (error) {
      call.signal?.throwIfAborted();
      const reason = control.signal.aborted ? control.signal.reason : error;
      if (MillraceError.is(reason)) {
        if (reason.retryable) this.#moveOn(member);
        throw reason;
      }
      this.#moveOn(member);
      throw this.#error(doing, unanswered(reason), false);
    } finally {
      cancel();
      // Also when the reader has had enough: else the server would go on sending.
      control.stop(undefined);
      control.end();
    }
  }

  renewToken(): boolean {
    this.#tokens?.drop();
    return this.#tokens !== undefined;
  }

  close(): void {
    this.#closed = true;
    const reason = closedError(this.location.name, true);
    for (const controller of this.#underWay) controller.abort(reason);
  }

  /** Runs an action whose signal is aborted with the caller's, or when the client is closed. */
  async #underControl<T>(
    outer: AbortSignal | undefined,
    action: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (this.#closed) throw closedError(this.location.name);
    outer?.throwIfAborted();
    const control = this.#control(outer);
    try {
      return await action(control.signal);
    } finally {
      control.end();
    }
  }

  #control(outer: AbortSignal | undefined): Control {
    const controller = new AbortController();
    const onAbort = (): void => controller.abort(outer?.reason);
    outer?.addEventListener("abort", onAbort, { once: true });
    if (outer?.aborted) onAbort();
    this.#underWay.add(controller);
    return {
      signal: controller.signal,
      stop: (reason) => controller.abort(reason),
      end: () => {
        this.#underWay.delete(controller);
        outer?.removeEventListener("abort", onAbort);
      },
    };
  }

  /** One attempt, its answer read to the end. */
  async #attempt(
    call: EtcdCall,
    leftMs: number,
    signal: AbortSignal,
  ): Promise<Refusal | { message: unknown }> {
    const limitMs = Math.min(leftMs, call.requestTimeoutMs ?? this.#requestTimeoutMs);
    return await this.#limited(call.doing, limitMs, signal, async (limited) => {
      const outcome = await this.#post(call, limited);
      return "failure" in outcome ? outcome : await readAnswer(outcome.response);
    });
  }

  /** Makes what is thrown, such as for want of an answer in time, a failure. */
  async #limited<T>(
    doing: string,
    limitMs: number,
    outer: AbortSignal | undefined,
    action: (signal: AbortSignal) => Promise<T>,
  ): Promise<T | Refusal> {
    const control = this.#control(outer);
    const cancel = this.#clock.schedule(limitMs, () => control.stop(noAnswer(limitMs)));
    try {
      return await action(control.signal);
    } catch (error) {
      outer?.throwIfAborted();
      // What fetch throws when it is aborted differs between runtimes; the reason is what counts.
      const reason = control.signal.aborted ? control.signal.reason : error;
      if (MillraceError.is(reason)) throw reason;
      if (reason instanceof BodyTooLargeError) throw this.#tooLarge(doing, reason);
      return { failure: unanswered(reason) };
    } finally {
      cancel();
      control.end();
    }
  }

  /** Sends a request, and again with a new token if the one that was used has become invalid. */
  async #post(call: EtcdCall, signal: AbortSignal): Promise<Refusal | { response: Response }> {
    for (let attempt = 1; ; attempt++) {
      const pending = this.#tokens?.current();
      const found = pending && (await untilAborted(pending, signal));
      if (found && "failure" in found) return found;
      const outcome = await this.#postOnce(call.path, call.body, found?.token, signal);
      const isRefused = "failure" in outcome && wantsToken(outcome.failure);
      if (!isRefused || pending === undefined || attempt > 1) return outcome;
      this.#tokens?.drop(pending);
    }
  }

  async #postOnce(
    path: string,
    body: unknown,
    token: string | undefined,
    signal: AbortSignal,
  ): Promise<Refusal | { response: Response }> {
    const headers: Record<string, string> = {
      "content-type": "application/json",
      // A member that is cut off from the others ends its watches then, and does not keep still.
      "grpc-metadata-hasleader": "true",
    };
    // The token as it is; etcd wants no scheme before it.
    if (token) headers.authorization = token;
    const response = await this.#fetch(`${this.#gateway()}/${path}`, {
      ...{ method: "POST", headers, signal, redirect: "manual" },
      body: JSON.stringify(body),
    });
    if (response.ok) return { response };
    return { failure: failureOf(response.status, await readErrorBody(response)) };
  }

  /** Its time is its own: it must not end with the call that happened to need it first. */
  async #authenticate(credentials: () => Promise<EtcdCredentials>): Promise<TokenOutcome> {
    const user = await credentials().catch((cause: unknown) => {
      const message = `${this.location.name}: cannot get the user's name and password`;
      throw new MillraceError("UNAUTHENTICATED", message, { cause });
    });
    const path = "auth/authenticate";
    const outcome = await this.#limited(path, this.#requestTimeoutMs, undefined, async (signal) => {
      const answer = await this.#postOnce(path, user, undefined, signal);
      return "failure" in answer ? answer : await readAnswer(answer.response);
    });
    return tokenOf(outcome);
  }

  #gateway(): string {
    return this.location.gateways[this.#member] ?? "";
  }

  /** Turns to the next member, unless another call has done so already. */
  #moveOn(from: number): void {
    if (this.#member === from) this.#member = (from + 1) % this.location.gateways.length;
  }

  /** None before each member was asked once. */
  #waitMs(attempt: number): number {
    const round = Math.floor(attempt / this.location.gateways.length);
    if (attempt % this.location.gateways.length !== 0) return 0;
    return backoffDelay(round - 1, this.#random, { initialMs: 50, maxMs: 1000 });
  }

  #error(doing: string, failure: EtcdFailure, maybeApplied: boolean): MillraceError {
    return etcdError(this.location, doing, failure, maybeApplied);
  }

  #tooLarge(doing: string, cause: BodyTooLargeError): MillraceError {
    const message = `${this.location.name}: cannot ${doing}: ${cause.message}`;
    const options = { field: "limit", retryable: false, cause };
    return new MillraceError("RESOURCE_EXHAUSTED", message, options);
  }
}

/** What ends a request early. */
interface Control {
  signal: AbortSignal;
  stop(reason: unknown): void;
  end(): void;
}

/** Waits for a promise, or rejects when the signal is aborted. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
  });
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function noAnswer(limitMs: number): Error {
  return new Error(`no answer within ${Math.ceil(limitMs)} ms`);
}

function unanswered(cause: unknown): EtcdFailure {
  return { status: 0, code: -1, message: reasonOf(cause), cause };
}

/** What went wrong below `fetch`: the interesting part is the cause's. */
function reasonOf(cause: unknown): string {
  let error = cause;
  while (error instanceof Error && error.cause instanceof Error) error = error.cause;
  if (!(error instanceof Error)) return String(error);
  const errno = "code" in error ? String(error.code) : "";
  return error.message === "" ? errno || error.name : error.message;
}

async function readAnswer(response: Response): Promise<Refusal | { message: unknown }> {
  const bytes = await readBody(response.body, maxBodyBytes);
  const message: unknown = JSON.parse(new TextDecoder().decode(bytes));
  // Where answers are streams, the status is sent before the outcome is known.
  const hasFailed = typeof message === "object" && message !== null && "error" in message;
  return hasFailed ? { failure: failureOf(response.status, message) } : { message };
}

/** The body of an error, or `undefined` if it is not JSON: a proxy's page, or cut. */
async function readErrorBody(response: Response): Promise<unknown> {
  const text = new TextDecoder().decode(await readBody(response.body, maxLineBytes));
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
