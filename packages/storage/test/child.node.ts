/**
 * What tests do in another process: `child.node.ts lock|open|count|write DIR …`. Prints a line when it
 * has what it wants, and then what happens.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { createFileMetaStore, createFileObjectStore, lockFolder } from "../src/file.node.ts";

const [command = "", dir = "", argument = ""] = process.argv.slice(2);
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Adds to a counter by compare-and-set. */
async function count(times: number): Promise<void> {
  const store = await createFileObjectStore({ dir });
  for (let done = 0; done < times; ) {
    const found = await store.get("counter");
    const next = encode(String(Number(new TextDecoder().decode(found?.body)) + 1));
    try {
      await store.put("counter", next, { ifMatch: found?.etag ?? "" });
      done += 1;
    } catch (error) {
      if (!MillraceError.is(error, "PRECONDITION_FAILED")) throw error;
    }
  }
  await store.close();
  console.log("counted");
}

/** Writes without end, to be killed at any moment. */
async function write(): Promise<void> {
  const store = await createFileObjectStore({ dir });
  console.log("writing");
  for (let i = 0; ; i++) {
    await store.put("stable", encode(`${i} `.repeat(20_000)));
    console.log(i);
  }
}

try {
  if (command === "lock") {
    await lockFolder(dir);
    console.log("locked");
    process.stdin.resume();
  } else if (command === "open") {
    const open = argument === "meta" ? createFileMetaStore : createFileObjectStore;
    await (await open({ dir })).close();
    console.log("opened");
  } else if (command === "count") {
    await count(Number(argument));
  } else {
    await write();
  }
} catch (error) {
  const { code, message } = MillraceError.from(error);
  console.log(`${code} ${message}`);
}
