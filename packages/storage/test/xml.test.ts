import fc from "fast-check";
import { expect, test } from "vitest";
import { escapeXml, parseXml, textOf } from "../src/object/s3/xml.ts";

test("text survives being written and read", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(textOf(parseXml(`<R><Key>${escapeXml(text)}</Key></R>`), "Key")).toBe(text);
    }),
  );
});

test("no input makes it do anything but read or refuse", () => {
  const pieces = fc.constantFrom(
    "<",
    ">",
    "</",
    "/>",
    "a",
    "b:c",
    " x='1'",
    "&",
    ";",
    "&amp;",
    "<?",
    "?>",
    "<!--",
    "-->",
    "<!DOCTYPE",
    "&#0;",
    "&#x110000;",
    "\n",
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
      try {
        parseXml(parts.join(""));
      } catch (error) {
        expect(error).toMatchObject({ name: "MillraceError", code: "UNAVAILABLE" });
      }
    }),
    { numRuns: 500 },
  );
});

test("what a listing may hold is read", () => {
  const root = parseXml(
    '<?xml version="1.0"?>\n<!-- page --><List xmlns="http://x/"><Key>a &amp;&#38;&#x26; &lt;b&gt; ü</Key><Empty/><Key>2</Key></List>\n',
  );
  expect(root.children.map(({ name, text }) => [name, text])).toEqual([
    ["Key", "a &&& <b> ü"],
    ["Empty", ""],
    ["Key", "2"],
  ]);
});

test.each([
  "",
  "text only",
  "<a>",
  "<a></b>",
  "<a/><b/>",
  "</a>",
  "<a>&unknown;</a>",
  "<a>&#0;</a>",
  "<a>& </a>",
  '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
  "<a>".repeat(40) + "</a>".repeat(40),
])("%j is refused", (text) => {
  expect(() => parseXml(text)).toThrowError(expect.objectContaining({ code: "UNAVAILABLE" }));
});
