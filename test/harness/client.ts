/**
 * Calling a Millrace as curl would: JSON over HTTP/1.1, nothing of ours in between.
 *
 * @module
 */

/** What a failed call answered. */
export class CallError extends Error {
  /** The Connect code, such as `invalid_argument`. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Calls a unary method of `millrace.v1.ProxyService` with a JSON body. */
export async function call(
  url: string,
  method: string,
  body: unknown,
  signal?: AbortSignal,
): Promise<Record<string, unknown>> {
  const response = await fetch(`${url}/millrace.v1.ProxyService/${method}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    ...(signal && { signal }),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  if (response.ok) return answer;
  throw new CallError(String(answer.code), String(answer.message));
}

/** Calls until it succeeds; for servers that are killed meanwhile. Rejects after `limitMs`. */
export async function callUntilDone(
  url: string,
  method: string,
  body: unknown,
  limitMs = 60_000,
): Promise<Record<string, unknown>> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    try {
      return await call(url, method, body, AbortSignal.timeout(10_000));
    } catch (error) {
      const final = error instanceof CallError && !["unavailable", "aborted"].includes(error.code);
      if (final || performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
