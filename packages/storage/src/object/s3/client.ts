/**
 * Signed requests to an S3 server, with a deadline and bounded retries.
 *
 * @module
 */

import { AwsV4Signer } from "aws4fetch";
import {
  backoffDelay,
  type Clock,
  delay,
  type Logger,
  MillraceError,
  type Random,
  silentLogger,
} from "@millrace/types";
import { concatBytes } from "../../keys.ts";
import { errorCodeOf, isAmbiguous, isTransient, s3Error, unreachable } from "./errors.ts";
import type { S3Credentials, S3Location, S3ObjectStoreOptions } from "./options.ts";

/** A request to the bucket. */
export interface S3Request {
  /** For messages: `cannot read a/b`. */
  doing: string;
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** The whole key, with the store's prefix. Default: the bucket itself. */
  key?: string;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: Uint8Array;
  /** Codes of status that are an answer, not an error. Those below 300 always are. */
  accept?: readonly number[];
  signal?: AbortSignal | undefined;
}

/** An answer, its body read to the end. */
export interface S3Answer {
  status: number;
  /** The error's code if the status is not a success. */
  code: string;
  headers: Headers;
  body: Uint8Array;
  /** An earlier attempt got no answer, so it may have been carried out. */
  maybeRepeated: boolean;
}

/** Sends requests. */
export interface S3Client {
  readonly location: S3Location;
  send(request: S3Request): Promise<S3Answer>;
  /** Ends all requests; later ones are `ON_SHUTDOWN`. */
  close(): void;
}

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const maxRetryAfterMs = 30_000;

/** Makes a client of the bucket. */
export function createS3Client(options: S3ObjectStoreOptions, location: S3Location): S3Client {
  return new Client(options, location);
}

class Client implements S3Client {
  readonly location: S3Location;
  readonly #credentials: () => Promise<S3Credentials>;
  readonly #fetch: typeof fetch;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #timeoutMs: number;
  readonly #maxAttempts: number;
  readonly #underWay = new Set<AbortController>();
  #signingKeys = new Map<string, ArrayBuffer>();
  #closed = false;

  constructor(options: S3ObjectStoreOptions, location: S3Location) {
    const { credentials } = options;
    this.location = location;
    this.#credentials = typeof credentials === "function" ? credentials : async () => credentials;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
    this.#clock = options.clock;
    this.#random = options.random;
    this.#logger = options.logger ?? silentLogger;
    this.#timeoutMs = options.requestTimeoutMs ?? 30_000;
    this.#maxAttempts = options.maxAttempts ?? 5;
  }

  async send(request: S3Request): Promise<S3Answer> {
    if (this.#closed) throw this.#closedError(false);
    request.signal?.throwIfAborted();
    const stop = new AbortController();
    const unfollow = follow(request.signal, stop);
    this.#underWay.add(stop);
    try {
      return await this.#sendUntil(request, stop.signal);
    } finally {
      this.#underWay.delete(stop);
      unfollow();
    }
  }

  close(): void {
    this.#closed = true;
    for (const stop of this.#underWay) stop.abort(this.#closedError(true));
  }

  #closedError(maybeApplied: boolean): MillraceError {
    const options = { retryable: false, maybeApplied };
    return new MillraceError("ON_SHUTDOWN", `${this.location.name} is closed`, options);
  }

  async #sendUntil(request: S3Request, signal: AbortSignal): Promise<S3Answer> {
    const { doing, accept = [] } = request;
    const changes = request.method !== "GET" && request.method !== "HEAD";
    let maybeRepeated = false;
    for (let attempt = 1; ; attempt++) {
      const last = attempt >= this.#maxAttempts;
      let waitMs = backoffDelay(attempt - 1, this.#random, { initialMs: 100, maxMs: 5000 });
      let outcome: Omit<S3Answer, "maybeRepeated">;
      try {
        outcome = await this.#attempt(request, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (MillraceError.is(error)) throw error;
        maybeRepeated ||= changes;
        if (last) throw unreachable(this.location, doing, error, maybeRepeated);
        this.#logger.warn("s3: no answer, trying again", { doing, attempt, error });
        await delay(this.#clock, waitMs, signal);
        continue;
      }
      const isAnswer = outcome.status < 300 ? outcome.code === "" : accept.includes(outcome.status);
      if (isAnswer && !isTransient(outcome)) return { ...outcome, maybeRepeated };
      maybeRepeated ||= changes && isAmbiguous(outcome);
      if (!isTransient(outcome) || last) {
        throw s3Error(this.location, doing, outcome, maybeRepeated);
      }
      waitMs = Math.max(waitMs, retryAfterMs(outcome.headers));
      const { status, code } = outcome;
      this.#logger.warn("s3: trying again", { doing, attempt, status, code });
      await delay(this.#clock, waitMs, signal);
    }
  }

  async #attempt(
    request: S3Request,
    signal: AbortSignal,
  ): Promise<Omit<S3Answer, "maybeRepeated">> {
    const controller = new AbortController();
    const unfollow = follow(signal, controller);
    const deadline = createDeadline(this.#clock, this.#timeoutMs, controller);
    try {
      const { url, init } = await this.#sign(request);
      deadline.extend();
      const response = await this.#fetch(url, { ...init, signal: controller.signal });
      const body = await readBody(response, request.method, deadline.extend);
      const mayFail = response.status >= 300 || mayHideError(request, body);
      const code = mayFail ? errorCodeOf(body) : "";
      return { status: response.status, code, headers: response.headers, body };
    } catch (error) {
      // What fetch throws when it is aborted differs between runtimes; the reason is what counts.
      throw controller.signal.aborted ? controller.signal.reason : error;
    } finally {
      deadline.end();
      unfollow();
    }
  }

  async #sign(request: S3Request): Promise<{ url: string; init: RequestInit }> {
    const { method, key, query = {}, body } = request;
    const path = key === undefined ? "" : `/${key.split("/").map(encodeStrictly).join("/")}`;
    const search = Object.entries(query)
      .map(([name, value]) => `${encodeStrictly(name)}=${encodeStrictly(value)}`)
      .join("&");
    const url = `${this.location.bucketUrl}${path}${search === "" ? "" : `?${search}`}`;
    const hash = body === undefined ? emptyHash : await sha256Hex(body);
    const credentials = await this.#currentCredentials();
    // Signing keys change every day and with the credentials; old ones need not be kept.
    if (this.#signingKeys.size > 16) this.#signingKeys = new Map();
    const signer = new AwsV4Signer({
      ...credentials,
      method,
      url,
      headers: { ...request.headers, "x-amz-content-sha256": hash },
      service: "s3",
      region: this.location.region,
      cache: this.#signingKeys,
      datetime: new Date(this.#clock.now()).toISOString().replace(/[:-]|\.\d{3}/g, ""),
    });
    const signed = await signer.sign();
    return {
      url,
      init: {
        method,
        headers: signed.headers,
        redirect: "manual",
        ...(body === undefined ? {} : { body: body as Uint8Array<ArrayBuffer> }),
      },
    };
  }

  async #currentCredentials(): Promise<S3Credentials> {
    try {
      return await this.#credentials();
    } catch (cause) {
      throw new MillraceError(
        "UNAUTHENTICATED",
        `cannot get the keys for bucket ${this.location.bucket} at ${this.location.host}`,
        { cause },
      );
    }
  }
}

interface Deadline {
  /** Begins the time anew. */
  extend(): void;
  end(): void;
}

function createDeadline(clock: Clock, ms: number, controller: AbortController): Deadline {
  const expire = (): void => controller.abort(new Error(`no answer within ${ms} ms`));
  let cancel = clock.schedule(ms, expire);
  return {
    extend() {
      cancel();
      cancel = clock.schedule(ms, expire);
    },
    end: () => cancel(),
  };
}

async function readBody(
  response: Response,
  method: string,
  onChunk: () => void,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  if (response.body !== null) {
    for await (const chunk of response.body) {
      onChunk();
      chunks.push(chunk);
      length += chunk.length;
    }
  }
  const announced = response.headers.get("content-length");
  const plain = response.headers.get("content-encoding") === null;
  if (method !== "HEAD" && plain && announced !== null && Number(announced) !== length) {
    throw new Error(`the answer was cut: ${length} of ${announced} bytes`);
  }
  const [only] = chunks;
  return chunks.length === 1 && only !== undefined ? only : concatBytes(chunks, length);
}

/** S3 may begin an answer to a POST with 200 and find out later that it fails; the body then says so. */
function mayHideError(request: S3Request, body: Uint8Array): boolean {
  return request.method === "POST" && body.length > 0;
}

/** Aborts the controller with the signal, until the function that it answers is called. */
function follow(signal: AbortSignal | undefined, controller: AbortController): () => void {
  const onAbort = (): void => controller.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted) onAbort();
  return () => signal?.removeEventListener("abort", onAbort);
}

function retryAfterMs(headers: Headers): number {
  const seconds = Number(headers.get("retry-after") ?? 0);
  return seconds > 0 ? Math.min(seconds * 1000, maxRetryAfterMs) : 0;
}

/** Encodes as signatures want it: all but letters, digits and `-._~`. */
function encodeStrictly(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

async function sha256Hex(bytes: Uint8Array): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return toHex(new Uint8Array(hash));
}

/** Bytes as lower-case hexadecimal digits. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
