import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseConfigFile } from "../src/config/file.ts";
import { configReference } from "../src/config/reference.ts";
import { schema } from "../src/config/schema/mod.ts";
import { refusal } from "./config-support.ts";

const document = readFileSync(new URL("../../../docs/configuration.md", import.meta.url), "utf8");

test("the documentation has every setting as it is; npm run docs writes it", () => {
  expect(document.endsWith(`\n\n${configReference()}`)).toBe(true);
  for (const path of schema.keys()) expect(document).toContain(`| \`${path}\`<br>`);
});

test("the file that the documentation shows is taken", async () => {
  const [, file = ""] = /```yaml\n(.*?)```/s.exec(document) ?? [];
  expect(parseConfigFile("millrace.yaml", file).given.size).toBe(11);
  expect(await refusal({ service: "node", file })).toBe("nothing is refused");
});
