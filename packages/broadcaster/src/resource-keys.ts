/**
 * Resource keys: what a broadcast concerns, and whether it may share it.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";

/** Shared: with others that share it. Exclusive: alone. */
export type LockMode = "shared" | "exclusive";

/** Something that broadcasts may conflict on, such as the collection of a name. */
export interface ResourceKey {
  /** The kind of thing. 1 to 512 characters. */
  domain: string;
  /** Which one. At most 512 characters. */
  key: string;
  mode: LockMode;
}

const clusterDomain = "cluster";
const maxKeys = 64;
const maxLength = 512;

/**
 * The key of the cluster as a whole. Every broadcast shares it; one that names it exclusively runs
 * alone.
 */
export function clusterKey(mode: LockMode): ResourceKey {
  return { domain: clusterDomain, key: "", mode };
}

/**
 * The keys in the order in which they are locked: each once, at its strongest mode, the cluster's
 * among them. Throws `INVALID_ARGUMENT` with the path of a key that is none.
 */
export function lockOrder(keys: readonly ResourceKey[]): ResourceKey[] {
  if (keys.length > maxKeys) {
    throw invalid("keys", `has ${keys.length} keys; at most ${maxKeys} are allowed`);
  }
  const byName = new Map<string, ResourceKey>();
  for (const [index, { domain, key, mode }] of keys.entries()) {
    checkText(domain, `keys[${index}].domain`);
    if (domain === "") throw invalid(`keys[${index}].domain`, "is empty; name the kind of thing");
    checkText(key, `keys[${index}].key`);
    const name = keyName({ domain, key });
    const strongest = byName.get(name)?.mode === "exclusive" ? "exclusive" : mode;
    byName.set(name, { domain, key, mode: strongest });
  }
  const cluster = clusterKey("shared");
  if (!byName.has(keyName(cluster))) byName.set(keyName(cluster), cluster);
  return [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, key]) => key);
}

/** The name of what a key stands for, whatever its mode. */
export function keyName({ domain, key }: Pick<ResourceKey, "domain" | "key">): string {
  return `${domain}\0${key}`;
}

function checkText(text: string, field: string): void {
  if (text.length > maxLength) {
    throw invalid(field, `has ${text.length} characters; at most ${maxLength} are allowed`);
  }
  if (text.includes("\0")) throw invalid(field, "has a NUL");
}

function invalid(field: string, problem: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", `${field} ${problem}`, { field });
}
