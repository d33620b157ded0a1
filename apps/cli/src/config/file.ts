/**
 * A configuration file: YAML, whose sections are the parts of paths.
 *
 * @module
 */

import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
} from "yaml";
import { hint } from "./names.ts";
import { schema } from "./schema/mod.ts";

/** A value as it was given, and where: `millrace.yaml:12`, a variable or a flag. */
export interface Given {
  raw: unknown;
  place: string;
}

/** What a file says. */
export interface FileContent {
  /** By path. */
  given: Map<string, Given>;
  /** What is wrong with it, each with its place. */
  problems: string[];
}

/** `node` and `node.flush` of `node.flush.bytes`. */
const sections: ReadonlySet<string> = new Set(
  [...schema.keys()].flatMap((path) => {
    const parts = path.split(".");
    return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join("."));
  }),
);

/** Reads the text of a file. `name` is what places begin with. */
export function parseConfigFile(name: string, text: string): FileContent {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const content: FileContent = { given: new Map(), problems: [] };
  const placeOf = (offset = 0): string => `${name}:${lines.linePos(offset).line}`;
  for (const { pos, message } of [...document.errors, ...document.warnings]) {
    content.problems.push(`${placeOf(pos[0])}: ${message}`);
  }
  if (content.problems.length > 0) return content;

  const resolve = (node: unknown): Node | null =>
    isAlias(node) ? (node.resolve(document) ?? null) : ((node ?? null) as Node | null);

  const takePair = ({ key, value }: Pair, parent: string): void => {
    const name = resolve(key);
    const path = `${parent}${isScalar(name) ? String(name.value) : "?"}`;
    const place = placeOf(name?.range?.[0]);
    const node = resolve(value);
    const refuse = (problem: string): void => {
      content.problems.push(`${place}: ${path}: ${problem}`);
    };
    if (schema.has(path)) {
      if (content.given.has(path)) refuse("is given twice");
      else if (isNothing(node)) refuse("has no value; give one, or remove the line");
      else content.given.set(path, { raw: rawOf(node, resolve), place });
    } else if (!sections.has(path)) {
      refuse(`there is no such setting${hint(path, [...schema.keys(), ...sections])}`);
    } else if (isMap(node)) {
      for (const pair of node.items) takePair(pair, `${path}.`);
    } else if (!isNothing(node)) {
      refuse("has settings below it, and no value of its own");
    }
  };

  const root = resolve(document.contents);
  if (isMap(root)) for (const pair of root.items) takePair(pair, "");
  else if (!isNothing(root)) content.problems.push(`${name}:1: must be settings and sections`);
  return content;
}

function isNothing(node: Node | null): boolean {
  return node === null || (isScalar(node) && node.value === null);
}

/** A scalar, or a list of scalars; anything else is no value of any setting. */
function rawOf(node: Node | null, resolve: (node: unknown) => Node | null): unknown {
  if (isSeq(node)) return node.items.map((item) => scalarOf(resolve(item)));
  return scalarOf(node);
}

/** As it is written: a password of digits is not a number. */
function scalarOf(node: Node | null): unknown {
  if (!isScalar(node)) return {};
  return typeof node.value === "string" ? node.value : (node.source ?? node.value);
}
