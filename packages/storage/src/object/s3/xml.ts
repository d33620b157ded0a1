/**
 * The little of XML that S3 answers with: elements and text.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";

/** An element. Attributes, comments and processing instructions are left out. */
export interface XmlElement {
  name: string;
  /** The text directly in it, with references resolved. */
  text: string;
  children: XmlElement[];
}

const maxDepth = 32;
const references: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
const token =
  /<\?[\s\S]*?\?>|<!--[\s\S]*?-->|<(\/?)([A-Za-z_][\w:.-]*)(?=[\s/>])([^<>]*?)(\/?)>|([^<]+)/y;

/**
 * Reads a document and answers its root. Throws `UNAVAILABLE` on what is not one, and on a document
 * type declaration: no entity is ever expanded but the five of XML itself.
 */
export function parseXml(text: string): XmlElement {
  const top: XmlElement = { name: "", text: "", children: [] };
  const open = [top];
  token.lastIndex = 0;
  while (token.lastIndex < text.length) {
    const at = token.lastIndex;
    const match = token.exec(text);
    if (match === null) throw malformed(`unexpected "${text.slice(at, at + 20)}" at ${at}`);
    const [, slash, name, , closed, content] = match;
    const current = open[open.length - 1] ?? top;
    if (content !== undefined) {
      current.text += resolve(content);
    } else if (slash === "/") {
      if (open.length === 1 || current.name !== name) throw malformed(`unexpected </${name}>`);
      open.pop();
    } else if (name !== undefined) {
      const element: XmlElement = { name, text: "", children: [] };
      current.children.push(element);
      if (closed !== "/") open.push(element);
      if (open.length > maxDepth) throw malformed(`more than ${maxDepth} levels`);
    }
  }
  const [root, second] = top.children;
  if (open.length > 1) throw malformed(`<${open[open.length - 1]?.name}> does not end`);
  if (root === undefined || second !== undefined) throw malformed("there is not one root");
  return root;
}

/** The first child of that name. */
export function childOf(element: XmlElement, name: string): XmlElement | undefined {
  return element.children.find((child) => child.name === name);
}

/** The text of the first child of that name, or "". */
export function textOf(element: XmlElement, name: string): string {
  return childOf(element, name)?.text ?? "";
}

/** Text as XML writes it. */
export function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function resolve(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&([^;&]{0,10});?/g, (whole, name: string) => {
    const known = references[name];
    if (known !== undefined && whole.endsWith(";")) return known;
    const digits = /^#(?:x([0-9a-fA-F]+)|(\d+))$/.exec(name);
    const point = digits?.[1] ? Number.parseInt(digits[1], 16) : Number(digits?.[2] ?? Number.NaN);
    if (!(point > 0 && point <= 0x10ffff) || !whole.endsWith(";")) {
      throw malformed(`unknown reference ${whole}`);
    }
    return String.fromCodePoint(point);
  });
}

function malformed(problem: string): MillraceError {
  return new MillraceError("UNAVAILABLE", `the store's answer is not XML as expected: ${problem}`);
}
