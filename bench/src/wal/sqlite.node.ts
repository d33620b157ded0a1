/**
 * better-sqlite3 as a log: one transaction, one fsync of its own WAL.
 *
 * @module
 */

import Database from "better-sqlite3";
import type { Store } from "./store.ts";

/** Opens a database with `journal_mode=WAL, synchronous=FULL`. */
export function openSqlite(path: string): Store {
  const database = new Database(path);
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  database.exec("CREATE TABLE log (id INTEGER PRIMARY KEY, record BLOB NOT NULL)");
  const insert = database.prepare("INSERT INTO log (record) VALUES (?)");
  const insertAll = database.transaction((count: number, record: Uint8Array) => {
    for (let i = 0; i < count; i++) insert.run(record);
  });
  return {
    commit: (count, record) => insertAll(count, record),
    close: async () => {
      database.close();
    },
  };
}
