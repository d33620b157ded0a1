/**
 * The folder in which a service keeps its own things.
 *
 * @module
 */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MillraceError, type Random } from "@millrace/types";
import { systemErrorOf } from "../errors.ts";

/** Answers the id of the node whose folder it is; the first call makes one up. */
export async function readNodeId(folder: string, random: Random): Promise<string> {
  const path = join(folder, "node-id");
  try {
    const id = (await readFile(path, "utf8")).trim();
    if (/^[A-Za-z0-9_-]{1,64}$/.test(id)) return id;
    throw new MillraceError("DATA_LOSS", `${path} does not hold the id of a node; remove it`);
  } catch (error) {
    if (systemErrorOf(error)?.code !== "ENOENT") throw error;
  }
  const id = `node-${Buffer.from(random.bytes(6)).toString("hex")}`;
  await writeFile(path, `${id}\n`, { flag: "wx" });
  return id;
}
