/**
 * Reading a table as a stranger would: the Delta log names the files, DuckDB reads them.
 *
 * @module
 */

import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import type { ObjectStore } from "@millrace/storage";

/** The Parquet files of a table, as local paths. */
export interface TableFiles {
  /** What the Delta log says is the table. */
  committed: string[];
  /** Every Parquet file below the table's path; equal to `committed` unless some are left over. */
  present: string[];
}

/** Copies a table's files into a folder and answers their paths. */
export async function downloadTable(
  store: ObjectStore,
  tablePath: string,
  folder: string,
): Promise<TableFiles> {
  const committed = new Set<string>();
  const present: string[] = [];
  for await (const { key } of store.list({ prefix: `${tablePath}/` })) {
    const object = await store.get(key);
    if (!object) throw new Error(`${key} is listed but not there`);
    if (key.includes("/_delta_log/")) {
      for (const line of new TextDecoder().decode(object.body).split("\n")) {
        if (line === "") continue;
        const action = JSON.parse(line) as { add?: { path: string }; remove?: { path: string } };
        if (action.add) committed.add(decodeURIComponent(action.add.path));
        if (action.remove) committed.delete(decodeURIComponent(action.remove.path));
      }
    } else if (key.endsWith(".parquet")) {
      const path = join(folder, key);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, object.body);
      present.push(path);
    }
  }
  return {
    committed: [...committed].map((path) => join(folder, tablePath, path)).sort(),
    present: present.sort(),
  };
}

/** Runs a query in an empty DuckDB and answers its rows; bigints as text. */
export async function query(sql: string): Promise<Record<string, unknown>[]> {
  const instance = await DuckDBInstance.create();
  const connection = await instance.connect();
  try {
    const reader = await connection.runAndReadAll(sql);
    return reader.getRowObjectsJson() as Record<string, unknown>[];
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

/** The DuckDB expression that reads Parquet files. */
export function parquet(paths: readonly string[]): string {
  const list = paths.map((path) => `'${path.replaceAll("'", "''")}'`).join(", ");
  return `read_parquet([${list}], hive_partitioning = false)`;
}
