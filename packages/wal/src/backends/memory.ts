/**
 * Logs in memory: for tests and for embedding where durability is not asked for.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { Log, LogBackend, LogReader } from "../log.ts";
import type { RecordBatch } from "../record-batch.ts";

interface MemoryLog {
  /** The highest term that opened it. */
  term: number;
  first: number;
  batches: RecordBatch[];
}

/** Creates a backend that keeps logs as long as it lives; each `open` fences the one before it. */
export function createMemoryBackend(): LogBackend {
  const logs = new Map<string, MemoryLog>();
  return {
    name: "memory",
    async open(pchannel, term, options = {}) {
      options.signal?.throwIfAborted();
      const log = logs.get(pchannel) ?? { term: 0, first: 0, batches: [] };
      if (term <= log.term) throw fenced(log.term);
      log.term = term;
      logs.set(pchannel, log);
      return openLog(log, term);
    },
    async openReadOnly(pchannel, options = {}) {
      options.signal?.throwIfAborted();
      const log = logs.get(pchannel);
      if (!log) throw new MillraceError("NOT_FOUND", `there is no log of ${pchannel}`);
      return openReader(log);
    },
    close: async () => logs.clear(),
  };
}

function openReader(log: MemoryLog): LogReader {
  return {
    bounds: () => ({ first: log.first, next: log.first + log.batches.length }),
    async *read(from, options = {}) {
      for (let sequence = from; ; sequence++) {
        options.signal?.throwIfAborted();
        if (sequence < log.first) {
          throw new MillraceError(
            "OUT_OF_RANGE",
            `batch ${sequence} was truncated; the first is ${log.first}`,
            { expected: String(log.first) },
          );
        }
        const batch = log.batches[sequence - log.first];
        if (!batch) return;
        yield batch;
      }
    },
    close: async () => undefined,
  };
}

function openLog(log: MemoryLog, term: number): Log {
  let failure: MillraceError | undefined;
  return {
    ...openReader(log),
    term,
    async append(batch) {
      if (failure) throw failure;
      if (log.term !== term) failure = fenced(log.term);
      else if (batch.term !== term || batch.sequence !== log.first + log.batches.length) {
        failure = new MillraceError(
          "INNER",
          `batch ${batch.sequence} of term ${batch.term} does not continue the log`,
          { expected: `batch ${log.first + log.batches.length} of term ${term}` },
        );
      }
      if (failure) throw failure;
      log.batches.push(batch);
    },
    async truncate(before) {
      if (log.term !== term) throw fenced(log.term);
      const drop = Math.min(before - log.first, log.batches.length - 1);
      if (drop <= 0) return;
      log.batches.splice(0, drop);
      log.first += drop;
    },
    async close() {
      failure ??= new MillraceError("ON_SHUTDOWN", "the log is closed");
    },
  };
}

function fenced(term: number): MillraceError {
  return new MillraceError("CHANNEL_FENCED", `term ${term} owns the log`, {
    expected: String(term),
  });
}
