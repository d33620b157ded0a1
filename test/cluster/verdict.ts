/**
 * What is wrong with a run: the logs judged by the checker of histories, and the tables.
 *
 * @module
 */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ObjectStore } from "@millrace/storage";
import { checkHistory, type HistoryEvent } from "@millrace/wal/conformance";
import { downloadTable, parquet, query } from "../harness/table.ts";
import { historiesOf, type ReadLog, readLog } from "./history.ts";
import type { Record, Target } from "./record.ts";

/** Options of {@linkcode judge}. */
export interface JudgeOptions {
  record: Record;
  walFolder: string;
  /** All that there are. */
  pchannels: readonly string[];
  targets: readonly Target[];
  /** The tables of the targets, by collection; absent: they are not looked at. */
  tablePaths: ReadonlyMap<string, string> | undefined;
  store: ObjectStore;
  /** For copies, and for histories with which something is wrong. */
  folder: string;
}

/** What was found. */
export interface Verdict {
  wrong: string[];
  /** Batches in the logs, messages with a name among them, rows in the tables, events in histories. */
  totals: { batches: number; messages: number; rows: number; events: number; terms: number };
}

/** Reads logs and tables, and says what is wrong. */
export async function judge(options: JudgeOptions): Promise<Verdict> {
  const { record, walFolder, pchannels, targets, folder } = options;
  const totals = { batches: 0, messages: 0, rows: 0, events: 0, terms: 0 };
  const logs = new Map<string, ReadLog>();
  for (const pchannel of pchannels) {
    const log = await readLog(walFolder, pchannel, targets);
    logs.set(pchannel, log);
    totals.batches += log.batches.length;
    totals.messages += log.places.size;
    totals.terms += new Set(log.batches.map(({ term }) => term)).size;
  }
  const wrong: string[] = [];
  for (const [pchannel, history] of historiesOf(record.events, logs)) {
    totals.events += history.length;
    // Answers reach the clients of two proxies in any order.
    const violations = checkHistory(history, { ordered: false });
    if (violations.length === 0) continue;
    await keep(history, join(folder, `history-${pchannel}.jsonl`));
    for (const { kind, message } of violations.slice(0, 20)) {
      wrong.push(`${pchannel}: ${kind}: ${message}`);
    }
  }
  for (const target of options.tablePaths ? targets : []) {
    const table = await checkTable(target, logs.values(), options);
    totals.rows += table.rows;
    wrong.push(...table.wrong);
  }
  return { wrong, totals };
}

/** Each row of the log is in the table once, and nothing else is. */
async function checkTable(
  { collection, vchannels }: Target,
  logs: Iterable<ReadLog>,
  { store, tablePaths, folder }: JudgeOptions,
): Promise<{ rows: number; wrong: string[] }> {
  const due = new Set<string>();
  for (const { batches } of logs) {
    for (const { messages } of batches) {
      for (const { name, vchannel } of messages) {
        if (name === "" || !vchannels.includes(vchannel)) continue;
        for (const id of name.split(" ")) due.add(id);
      }
    }
  }
  const path = tablePaths?.get(collection) ?? "";
  const { committed } = await downloadTable(store, path, join(folder, "tables"));
  const sql = `SELECT id, count(*) AS times FROM ${parquet(committed)} GROUP BY id`;
  const found = committed.length === 0 ? [] : await query(sql);
  const wrong: string[] = [];
  for (const { id, times } of found) {
    if (times !== "1") wrong.push(`row ${id} is ${times} times in the table of ${collection}`);
    if (!due.delete(String(id))) wrong.push(`row ${id} of ${collection} is in no log`);
  }
  for (const id of due) wrong.push(`row ${id} is in the log, not in the table of ${collection}`);
  return { rows: found.length, wrong: wrong.slice(0, 20) };
}

async function keep(history: readonly HistoryEvent[], path: string): Promise<void> {
  const lines = history.map((event) =>
    JSON.stringify(event, (_key, value) => (typeof value === "bigint" ? String(value) : value)),
  );
  await writeFile(path, `${lines.join("\n")}\n`);
}
