/**
 * Signals that end together, and are let go when they are no longer needed.
 *
 * @module
 */

/** A signal with an owner. */
export interface Scope {
  /** Aborted by `abort`, or with the reason of any of the parents. */
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
  /** Stops listening to the parents, without aborting. */
  release(): void;
}

/** A signal that is aborted when any of its parents is. Call `release` when done. */
export function createScope(...parents: (AbortSignal | undefined)[]): Scope {
  const controller = new AbortController();
  const removals: (() => void)[] = [];
  const release = (): void => {
    for (const remove of removals.splice(0)) remove();
  };
  const abort = (reason?: unknown): void => {
    release();
    controller.abort(reason);
  };
  for (const parent of parents) {
    if (!parent) continue;
    if (parent.aborted) {
      abort(parent.reason);
      break;
    }
    const onAbort = (): void => abort(parent.reason);
    parent.addEventListener("abort", onAbort, { once: true });
    removals.push(() => parent.removeEventListener("abort", onAbort));
  }
  return { signal: controller.signal, abort, release };
}
