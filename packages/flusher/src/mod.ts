/**
 * From the log to Parquet tables in object storage, exactly once.
 *
 * @module
 */

export {
  type BudgetMember,
  type BudgetShare,
  createFlushBudget,
  type FlushBudget,
  type FlushBudgetOptions,
} from "./budget.ts";
export type { ColumnStats, StatValue } from "./column-stats.ts";
export { createDeltaTable, type DeltaTableOptions } from "./delta-table.ts";
export { createFlusher, type Flusher, type FlusherOptions, type FlusherStatus } from "./flusher.ts";
export {
  createParquetEncoder,
  type EncodedFile,
  type EncodeInput,
  type Encoder,
  type ParquetEncoderOptions,
} from "./parquet.ts";
export { defaultSealLimits, type SealLimits } from "./seal.ts";
export type { Piece } from "./segment.ts";
export type { FlusherSnapshot } from "./snapshot.ts";
export type { RowCommit, Table, TableFile, TableSnapshot } from "./table.ts";
