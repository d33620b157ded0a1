import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { openInput } from "../src/readers/mod.ts";
import { readCsv } from "../src/readers/csv.ts";
import { readJsonArray } from "../src/readers/json-array.ts";
import { readNdjson } from "../src/readers/ndjson.ts";
import type { RowChunk } from "../src/readers/rows.ts";
import { chunksOf, collect, open, tempFile } from "./support.ts";
import { Readable } from "node:stream";

const readers = { ndjson: readNdjson, json: readJsonArray, csv: readCsv };

async function read(format: keyof typeof readers, text: string, chunkSize = 7): Promise<RowChunk> {
  const chunks = await collect(readers[format](chunksOf(text, chunkSize), { name: "rows" }));
  return {
    rows: chunks.flatMap((chunk) => chunk.rows),
    lines: chunks.flatMap((chunk) => chunk.lines),
    sizes: chunks.flatMap((chunk) => chunk.sizes),
  };
}

test("NDJSON is read wherever its chunks end, and each row knows its line", async () => {
  const text = '{"a":"ü"}\r\n\n{"a":2}\n  \n{"a":[3,{}]}';
  for (const size of [1, 2, 3, 5, 1000]) {
    const { rows, lines } = await read("ndjson", text, size);
    expect(rows).toEqual([{ a: "ü" }, { a: 2 }, { a: [3, {}] }]);
    expect(lines).toEqual([1, 3, 5]);
  }
});

test("a JSON array is read element by element wherever its chunks end", async () => {
  const text = ' [\n{"a":"]},{\\"["},\n\n {"a":{"b":[1,2]}} ,{"a":"ü"}\n]\n';
  for (const size of [1, 2, 3, 5, 1000]) {
    const { rows, lines } = await read("json", text, size);
    expect(rows).toEqual([{ a: ']},{"[' }, { a: { b: [1, 2] } }, { a: "ü" }]);
    expect(lines).toEqual([2, 4, 4]);
  }
});

test("an empty JSON array has no rows", async () => {
  expect((await read("json", " [ ] ")).rows).toEqual([]);
});

test("CSV keeps quotes, line ends within them, and tells empty from null", async () => {
  const text = '\uFEFFa,b,c\n1,"x, ""y""\nz",\n\n00501,"",ü\n';
  for (const size of [1, 3, 1000]) {
    const { rows, lines } = await read("csv", text, size);
    expect(rows).toEqual([
      { a: "1", b: 'x, "y"\nz', c: null },
      { a: "00501", b: "", c: "ü" },
    ]);
    expect(lines).toEqual([2, 4]);
  }
});

test.each([
  ["ndjson", '{"a":1}\n{"a":\n{"a":3}\n', /rows, line 2: broken JSON/],
  ["ndjson", '{"a":1}\n[1]\n', /rows, line 2: expected a JSON object, found an array/],
  ["ndjson", "7\n", /rows, line 1: expected a JSON object, found a number/],
  ["json", '[{"a":1},\n{"a":tru}]', /rows, line 2: broken JSON/],
  ["json", '[{"a":1},\n\n', /rows, line 3: broken JSON: the array is not closed/],
  ["json", '[{"a":1},]', /rows, line 1: broken JSON/],
  ["json", '[{"a":1}]\nx', /rows, line 2: broken JSON: unexpected text after the array/],
  ["json", "", /there is no JSON array/],
  ["csv", "a,b\n1,2\n3\n", /rows, line 3: .*expect 2, got 1/],
  ["csv", "a,a\n1,2\n", /rows, line 1: two columns are called "a"/],
  ["csv", "a,\n1,2\n", /rows, line 1: column 2 has no name/],
  ["csv", 'a\n"x', /rows, line 2: .*[Qq]uote/],
  ["csv", "", /rows is empty/],
] as const)("broken %s is refused with its line: %j", async (format, text, message) => {
  await expect(read(format, text)).rejects.toThrow(message);
});

test.each(["ndjson", "json", "csv"] as const)(
  "a row of %s that is too long is refused",
  async (format) => {
    const long = "x".repeat(500);
    const text = { ndjson: `{"a":"${long}"}`, json: `[{"a":"${long}"}]`, csv: `a\n${long}\n` }[
      format
    ];
    const options = { name: "rows", maxRowLength: 100 };
    for (const size of [10, 10_000]) {
      await expect(collect(readers[format](chunksOf(text, size), options))).rejects.toThrow(
        /longer than 100|maximum/i,
      );
    }
  },
);

test("bytes that are not UTF-8 are refused with their line", async () => {
  const bytes = Buffer.from('{"a":"x"}\n{"a":"?"}\n{"a":"y"}\n');
  bytes[bytes.indexOf("?")] = 0xff;
  const chunks = readNdjson(Readable.from([bytes]), { name: "rows" });
  await expect(collect(chunks)).rejects.toThrow("rows, line 2: not UTF-8");
});

test("integers beyond 2^53 are kept exact", async () => {
  const { rows } = await read("ndjson", '{"a":9223372036854775807,"b":[9007199254740993],"c":1}');
  expect(rows).toEqual([{ a: 9223372036854775807n, b: [9007199254740993n], c: 1 }]);
});

test.each([
  ["rows.ndjson", '{"a":1}\n', "ndjson"],
  ["rows.json", '[{"a":1}]', "json"],
  ["rows.json", '{"a":1}\n{"a":2}\n', "ndjson"],
  ["rows.csv", "a\n1\n", "csv"],
  ["rows.tsv", "a\tb\n1\t2\n", "tsv"],
  ["rows", '\n [{"a":1}]', "json"],
  ["rows.txt", "a,b\n1,2\n", "csv"],
])("the format of %s with %j is %s", async (name, content, format) => {
  expect((await open(await tempFile(name, content))).format).toBe(format);
  const packed = gzipSync(content);
  expect((await open(await tempFile(`${name}.gz`, packed))).format).toBe(format);
  expect((await open(await tempFile(name, packed))).format).toBe(format);
});

test("standard input is told by its first bytes", async () => {
  const stdin = Readable.from([Buffer.from('[{"a":1}]')]);
  const input = await openInput("-", { stdin });
  expect(input.name).toBe("standard input");
  expect(input.format).toBe("json");
});

test("what cannot be read is named", async () => {
  const stdin = Readable.from([Buffer.from("PAR1...")]);
  await expect(openInput("-", { stdin })).rejects.toThrow(/standard input: Parquet/);
  await expect(openInput("no/such.csv", { stdin })).rejects.toThrow(
    "cannot read no/such.csv: no such file or folder",
  );
  await expect(openInput(import.meta.dirname, { stdin })).rejects.toThrow(/it is a folder/);
  await expect(open(await tempFile("rows.csv.gz", "a\n1\n"))).rejects.toThrow(/is not gzip/);
  await expect(open(await tempFile("rows", ""))).rejects.toThrow(/is empty/);
  await expect(open(await tempFile("rows.parquet", "PAR1 nothing else"))).rejects.toThrow(
    /rows\.parquet is not a whole Parquet file/,
  );
});

test("gzip that ends early is refused", async () => {
  const packed = gzipSync(Array.from({ length: 50_000 }, (_, n) => `{"n":${n}}\n`).join(""));
  const path = await tempFile("rows.ndjson.gz", packed.subarray(0, packed.length - 50));
  const input = await open(path);
  await expect(input.inferSchema(undefined).then(() => collectAll(input))).rejects.toThrow(
    /rows\.ndjson\.gz is damaged: it is not a whole gzip file/,
  );

  async function collectAll(from: typeof input): Promise<unknown> {
    const { checkSchema } = await import("@millrace/types");
    const schema = checkSchema(await (await open(path)).inferSchema(undefined));
    return await collect(from.batches(schema, { batchRows: 1000, batchBytes: 100_000 }));
  }
});
