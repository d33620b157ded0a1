/**
 * What is explored of the assignment of a pchannel, and which rule is broken.
 */

/** Ways of breaking the rules. */
export type AssignmentFault =
  /** A coordinator tells a node before the record is saved. */
  | "tells before it has saved"
  /** The store swaps records whatever their revision. */
  | "saves over what another wrote"
  /** What has no answer from the store is taken for saved. */
  | "takes an unknown save for done"
  /** The next attempt has the term of the one before. */
  | "tries again at the same term"
  /** The record does not say who had the pchannel before. */
  | "forgets former owners"
  /** A node opens a log without a seal. */
  | "opens without a seal"
  /** A node opens a log that a higher term has sealed. */
  | "goes on behind a higher term"
  /** A node opens a term that was opened before, as after it started again. */
  | "opens a term again"
  /** A node acknowledges what may still be on its way. */
  | "acknowledges what was sent"
  /** The log takes records behind a seal. */
  | "a record lands behind the seal";

/** How much is explored. */
export interface AssignmentOptions {
  /** How many attempts there are to assign the pchannel. */
  terms: number;
  /** How many records each owner appends. */
  records: number;
  fault?: AssignmentFault | undefined;
  /** Ends where a state is entered that should be there, to show that it is. */
  goal?: "every term has acknowledged" | "both coordinators wait for a node" | undefined;
}
