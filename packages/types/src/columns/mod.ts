/**
 * Rows as columns: JSON rows in and out, checks, parts, sizes and typed views.
 *
 * @module
 */

export { checkColumns, type CheckColumnsOptions } from "./check.ts";
export { fromBfloat16, fromFloat16 } from "./float16.ts";
export { maxBatchRows } from "./limits.ts";
export {
  columnsToRows,
  type InputRow,
  type JsonRow,
  rowsToColumns,
  type RowsToColumnsOptions,
} from "./rows.ts";
export { concatBatches, sliceRows, takeRows } from "./select.ts";
export { batchBytes, rowBytes } from "./size.ts";
export { formatTimestamp, parseTimestamp } from "./timestamp.ts";
export { type CellValue, columnAt, type ColumnReader, type SparseVector } from "./values.ts";
export { int64Column, int64Values, offsetsOf, type TypedValues, typedValues } from "./views.ts";
