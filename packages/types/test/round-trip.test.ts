import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { checkColumns, checkSchema, columnsToRows, rowsToColumns } from "../src/mod.ts";
import { everyTypeSchema, everyTypeRow } from "./every-type.ts";
import { ColumnBatchSchema } from "../src/gen.ts";

test("a row of every type comes back as it went in", () => {
  const schema = checkSchema(everyTypeSchema());
  const rows = [everyTypeRow(1), everyTypeRow(2), everyTypeRow(3)];
  const batch = rowsToColumns(schema, rows);
  expect(columnsToRows(batch)).toEqual(rows);
  expect(checkColumns(schema, batch)).toEqual(batch);
  const decoded = fromBinary(ColumnBatchSchema, toBinary(ColumnBatchSchema, batch));
  expect(columnsToRows(checkColumns(schema, decoded))).toEqual(rows);
});
