/**
 * The token that stands for a user.
 *
 * @module
 */

import { type EtcdFailure, failureOf, needsNoToken } from "./errors.ts";

/** A token, "" if none is needed, or why there is none. */
export type TokenOutcome = { token: string } | { failure: EtcdFailure };

/** Keeps a token; one request for it serves all who wait. */
export interface Tokens {
  /** The token that is in use, or being fetched. */
  current(): Promise<TokenOutcome>;
  /** Has the next call of `current` fetch another; with `used` only if that is still in use. */
  drop(used?: Promise<TokenOutcome>): void;
}

/** Keeps what `fetchToken` answers until it is dropped; a failure is not kept. */
export function createTokens(fetchToken: () => Promise<TokenOutcome>): Tokens {
  let kept: Promise<TokenOutcome> | undefined;
  const drop = (used?: Promise<TokenOutcome>): void => {
    if (used === undefined || used === kept) kept = undefined;
  };
  return {
    current() {
      if (kept !== undefined) return kept;
      const fetching = fetchToken();
      kept = fetching;
      fetching.then(
        (outcome) => {
          if ("failure" in outcome) drop(fetching);
        },
        () => drop(fetching),
      );
      return fetching;
    },
    drop,
  };
}

/** Reads the answer of `auth/authenticate`. */
export function tokenOf(outcome: { failure: EtcdFailure } | { message: unknown }): TokenOutcome {
  if ("failure" in outcome) return needsNoToken(outcome.failure) ? { token: "" } : outcome;
  const { token } = outcome.message as { token?: unknown };
  return typeof token === "string" ? { token } : { failure: failureOf(200, undefined) };
}
