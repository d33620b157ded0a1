/**
 * Smallest and largest values of a file's columns, as a table's log records them.
 *
 * @module
 */

/** A value that a table's log can hold. */
export type StatValue = number | string | boolean;

/** What is known of a column. */
export interface ColumnStats {
  /** Absent unless every part of the column has bounds that JSON holds exactly. */
  min?: StatValue;
  max?: StatValue;
  nulls: number;
}

/** What the statistics of a column chunk are needed for. */
interface Chunk {
  meta_data?: {
    path_in_schema: string[];
    num_values: bigint;
    statistics?: { min_value?: unknown; max_value?: unknown; null_count?: bigint };
  };
}

/** Gathers the statistics of column chunks. */
export interface ColumnStatsBuilder {
  readonly byName: ReadonlyMap<string, ColumnStats>;
  /** Adds the chunks of a row group. Nested columns are left out. */
  add(chunks: readonly Chunk[]): void;
}

/** Gathers the statistics of column chunks. */
export function createColumnStats(): ColumnStatsBuilder {
  const byName = new Map<string, ColumnStats>();
  const unbounded = new Set<string>();

  const addOne = (name: string, chunk: Required<Chunk>["meta_data"]): void => {
    const { min_value, max_value, null_count = 0n } = chunk.statistics ?? {};
    const stats = byName.get(name) ?? { nulls: 0 };
    byName.set(name, stats);
    stats.nulls += Number(null_count);
    if (null_count === chunk.num_values || unbounded.has(name)) return;
    const min = statValue(min_value);
    const max = statValue(max_value);
    if (min === undefined || max === undefined) {
      unbounded.add(name);
      delete stats.min;
      delete stats.max;
      return;
    }
    if (stats.min === undefined || min < stats.min) stats.min = min;
    if (stats.max === undefined || max > stats.max) stats.max = max;
  };

  return {
    byName,
    add(chunks) {
      for (const { meta_data: chunk } of chunks) {
        const [name, nested] = chunk?.path_in_schema ?? [];
        if (chunk && name !== undefined && nested === undefined) addOne(name, chunk);
      }
    },
  };
}

/** Numbers that JSON holds exactly, and booleans; text is left to the files' own statistics. */
function statValue(value: unknown): StatValue | undefined {
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : undefined;
  if (typeof value === "bigint") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : undefined;
  }
  return undefined;
}
