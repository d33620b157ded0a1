/** What owners and readers of logs in files could do wrong. */

/** A way of breaking the rule. */
export type FileFault =
  /** The writer acknowledges without looking for a fence. */
  | "does not look for the fence"
  /** The writer looks for a fence before it writes, and then acknowledges. */
  | "looks for the fence before it writes"
  /** The next owner looks where the stretch ends, and only then puts its fence. */
  | "looks for the end before it puts the fence"
  /** Of two who put a fence, the later one counts. */
  | "a fence replaces another"
  /** Of two who write down an end, the later one counts. */
  | "an end replaces another"
  /** The end is not written down: everyone looks for it anew. */
  | "does not write down the end"
  /** The next owner writes before the end that it found is durable. */
  | "goes on before the end is durable"
  /** An owner goes on behind another's fence that may not be durable yet. */
  | "goes on behind a fence that may vanish"
  /** An owner goes on behind another's end that may not be durable yet. */
  | "goes on behind an end that may vanish"
  /** The next owner leaves the last record as it found it. */
  | "does not make the last record durable"
  /** The next owner syncs the file with the last record, to which a write may have failed before. */
  | "syncs the last record's file instead of copying it"
  /** After a failed sync the writer syncs the same file again, and believes it. */
  | "syncs a file again after a failure"
  /** A reader takes for the end what it saw while an end was being written down. */
  | "a reader does not look for the end again";
