/** Writes the reference of settings into docs/configuration.md. */

import { readFileSync, writeFileSync } from "node:fs";
import { configReference } from "../apps/cli/src/config/reference.ts";

const file = new URL("../docs/configuration.md", import.meta.url);
const mark = "<!-- What follows is written by `npm run docs`. -->\n";
const [prose = ""] = readFileSync(file, "utf8").split(mark);
writeFileSync(file, `${prose}${mark}\n${configReference()}`);
