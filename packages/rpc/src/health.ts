/**
 * Health checking as gRPC has it.
 *
 * @module
 */

import type { ServiceImpl } from "@connectrpc/connect";
import { type Clock, delay, MillraceError } from "@millrace/types";
import { health } from "@millrace/types/gen-grpc";

const { HealthCheckResponse_ServingStatus: Status } = health;

/** How often Watch looks at the status, in milliseconds. */
const watchIntervalMs = 1000;

/** Options of {@linkcode healthService}. */
export interface HealthOptions {
  /** Whether calls are served now. */
  serving: () => boolean;
  /** Lets Watch report changes, within a second; without it, Watch reports the first status alone. */
  clock?: Clock;
}

/** Answers for the server as a whole (the empty name) and for each of `services`, all alike. */
export function healthService(
  services: readonly string[],
  options: HealthOptions,
): ServiceImpl<typeof health.Health> {
  const known = new Set(["", ...services]);
  const status = (service: string): health.HealthCheckResponse_ServingStatus => {
    if (!known.has(service)) return Status.SERVICE_UNKNOWN;
    return options.serving() ? Status.SERVING : Status.NOT_SERVING;
  };
  return {
    check({ service }) {
      if (!known.has(service)) {
        throw new MillraceError(
          "NOT_FOUND",
          `the service ${JSON.stringify(service)} is not known`,
          {
            field: "service",
          },
        );
      }
      return { status: status(service) };
    },
    async *watch({ service }, { signal }) {
      let last: health.HealthCheckResponse_ServingStatus | undefined;
      while (!signal.aborted) {
        const next = status(service);
        if (next !== last) yield { status: next };
        last = next;
        await pause(options.clock, signal);
      }
    },
  };
}

/** Until the next look, or for good without a clock; returns when the signal is aborted. */
async function pause(clock: Clock | undefined, signal: AbortSignal): Promise<void> {
  if (clock) {
    await delay(clock, watchIntervalMs, signal).catch(() => undefined);
    return;
  }
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
