/**
 * Calls to whichever of several servers is the active one.
 *
 * @module
 */

import type { Transport } from "@connectrpc/connect";
import { type Clock, type ErrorCode, MillraceError } from "@millrace/types";
import { fromConnectError } from "./errors.ts";
import type { TransportFor } from "./transport.ts";

/** Options of {@linkcode createActiveTransport}. */
export interface ActiveTransportOptions {
  /** Base URLs of servers, at least one. Others are learnt from answers. */
  addresses: readonly string[];
  transportFor: TransportFor;
  clock: Clock;
}

/** How long nobody is believed who says that a server leads which did not answer in time, in milliseconds. */
const doubtMs = 1000;

/** What a server that is away, or is not the active one, fails with. */
const awayCodes: readonly ErrorCode[] = ["UNAVAILABLE", "ON_SHUTDOWN"];

/**
 * A transport to the active one of several servers. A server that is not active answers `UNAVAILABLE`
 * with the active one's address as `expected`: the next call goes there, but not at once if that one has
 * just failed to answer in time. After a server that does not answer, the next one of the list is asked.
 *
 * A unary call that had no effect is made at other servers at once, at each of them once at most; what
 * fails then is for the caller to try again a little later. When a call is answered by another server
 * than before, calls and streams that are under way at the former one end with `UNAVAILABLE`: it is
 * deposed, and may never answer.
 */
export function createActiveTransport(options: ActiveTransportOptions): Transport {
  const { addresses, transportFor, clock } = options;
  const calls = new Set<Call>();
  let turn = 0;
  let current = addresses[0] ?? "";
  /** Who answered last. */
  let active: string | undefined;
  /** Who did not answer in time, and until when that counts, on the monotonic clock. */
  let doubted = { address: "", until: 0 };

  const onAnswer = (address: string): void => {
    if (active === address) return;
    active = address;
    current = address;
    for (const call of calls) {
      if (call.address !== address) call.leave(address);
    }
  };

  const onFailure = (address: string, error: MillraceError, signal?: AbortSignal): void => {
    if (current !== address) return;
    const { code, expected } = error;
    const late = isOverdue(error, signal);
    if (late) doubted = { address, until: clock.monotonic() + doubtMs };
    if (code === "UNAVAILABLE" && expected !== undefined && URL.canParse(expected)) {
      const isDoubted = expected === doubted.address && clock.monotonic() < doubted.until;
      if (!isDoubted) current = expected;
    } else if (late || awayCodes.includes(code)) {
      turn = (turn + 1) % addresses.length;
      current = addresses[turn] ?? address;
    }
  };

  const begin = (signal: AbortSignal | undefined): Call => {
    const call = createCall(current, signal);
    calls.add(call);
    return call;
  };

  const end = (call: Call): void => {
    calls.delete(call);
    call.end();
  };

  return {
    async unary(method, signal, ...rest) {
      for (let left = addresses.length + 1; ; left--) {
        const call = begin(signal);
        try {
          const transport = transportFor(call.address);
          const response = await transport.unary(method, call.signal, ...rest);
          onAnswer(call.address);
          return response;
        } catch (reason) {
          const error = call.errorOf(reason);
          onFailure(call.address, error, signal);
          const isElsewhere = awayCodes.includes(error.code) && current !== call.address;
          if (!isElsewhere || error.maybeApplied || signal?.aborted || left <= 1) throw error;
        } finally {
          end(call);
        }
      }
    },
    async stream(method, signal, ...rest) {
      const call = begin(signal);
      const failed = (reason: unknown): MillraceError => {
        const error = call.errorOf(reason);
        onFailure(call.address, error, signal);
        return error;
      };
      try {
        const transport = transportFor(call.address);
        const response = await transport.stream(method, call.signal, ...rest);
        const onMessage = (): void => onAnswer(call.address);
        const onEnd = (): void => end(call);
        return { ...response, message: watched(response.message, { onMessage, failed, onEnd }) };
      } catch (reason) {
        end(call);
        throw failed(reason);
      }
    },
  };
}

/** A call that is under way. */
interface Call {
  readonly address: string;
  /** Aborted with the caller's, and when the server is left. */
  readonly signal: AbortSignal;
  /** Ends it: another server is active. */
  leave(active: string): void;
  /** What it failed with. */
  errorOf(reason: unknown): MillraceError;
  end(): void;
}

function createCall(address: string, outer: AbortSignal | undefined): Call {
  const controller = new AbortController();
  let left: MillraceError | undefined;
  const onAbort = (): void => controller.abort(outer?.reason);
  if (outer?.aborted) onAbort();
  outer?.addEventListener("abort", onAbort, { once: true });
  return {
    address,
    signal: controller.signal,
    leave(active) {
      left = new MillraceError("UNAVAILABLE", `${address} is not active any more, ${active} is`, {
        maybeApplied: true,
      });
      controller.abort(left);
    },
    errorOf: (reason) => left ?? fromConnectError(reason, controller.signal),
    end: () => outer?.removeEventListener("abort", onAbort),
  };
}

/** `true` if the server did not answer in the time that the caller gave it. */
function isOverdue(error: MillraceError, signal: AbortSignal | undefined): boolean {
  if (error.code === "DEADLINE_EXCEEDED") return true;
  return signal?.aborted === true && MillraceError.is(signal.reason, "DEADLINE_EXCEEDED");
}

interface Watcher {
  onMessage(): void;
  failed(reason: unknown): MillraceError;
  onEnd(): void;
}

async function* watched<T>(source: AsyncIterable<T>, watcher: Watcher): AsyncIterable<T> {
  try {
    for await (const message of source) {
      watcher.onMessage();
      yield message;
    }
  } catch (reason) {
    throw watcher.failed(reason);
  } finally {
    watcher.onEnd();
  }
}
