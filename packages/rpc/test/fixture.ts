import type { ConnectRouter } from "@connectrpc/connect";
import { type Routes, withHealthAndReflection } from "@millrace/rpc";
import { MillraceError } from "@millrace/types";
import { AllocatorService, AssignmentService, ProxyService } from "@millrace/types/gen";

/** What the fixture's handlers saw. */
export interface Seen {
  /** Resolves with the reason when the stream's signal was aborted. */
  streamAborted: Promise<unknown>;
}

/** A server's routes with a handler for every way that a call can go. */
export function fixture(): { routes: Routes; seen: Seen; serving: { value: boolean } } {
  const serving = { value: true };
  let aborted: (reason: unknown) => void = () => undefined;
  const streamAborted = new Promise<unknown>((resolve) => {
    aborted = resolve;
  });
  const own = (router: ConnectRouter): void => {
    router.service(AllocatorService, {
      allocateTimestamps: ({ count }) => ({ first: 7n << 18n, count, leaseMs: 50 }),
      allocateIds({ count }) {
        if (count === 0) {
          throw new MillraceError("INVALID_ARGUMENT", "count must be from 1 to 10", {
            field: "count",
            expected: "10",
            retryAfterMs: 25,
          });
        }
        throw new TypeError("secret of the inside");
      },
    });
    router.service(AssignmentService, {
      async *discover(_request, { signal }) {
        signal.addEventListener("abort", () => aborted(signal.reason), { once: true });
        for (let revision = 1n; revision <= 3n; revision++) {
          yield { version: { coordinator: 1n, revision } };
        }
        await new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          else signal.addEventListener("abort", () => resolve(), { once: true });
        });
      },
    });
    router.service(ProxyService, {
      async *tail() {
        yield { event: { case: "heartbeat", value: {} } };
        throw new MillraceError("OUT_OF_RANGE", "truncated", { expected: "42" });
      },
      insert: ({ collection, columns }) => ({
        rows: columns?.rows ?? 0,
        duplicate: collection === "twice",
      }),
    });
  };
  const routes = withHealthAndReflection(own, [AllocatorService, AssignmentService, ProxyService], {
    serving: () => serving.value,
  });
  return { routes, seen: { streamAborted }, serving };
}
