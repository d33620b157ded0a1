/**
 * Listing a bucket page by page.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { ObjectInfo } from "../../object-store.ts";
import type { S3Client } from "./client.ts";
import { unquote } from "./etag.ts";
import { parseXml, textOf } from "./xml.ts";

/** What to list, in whole keys. */
export interface ListPagesOptions {
  prefix: string;
  after: string | undefined;
  /** Keys a page. */
  pageSize: number;
  signal: AbortSignal | undefined;
}

/** The pages of a listing, with whole keys. */
export async function* listPages(
  client: S3Client,
  options: ListPagesOptions,
): AsyncGenerator<ObjectInfo[]> {
  let token = "";
  for (;;) {
    const answer = await client.send({
      doing: `cannot list ${options.prefix || "the objects"}`,
      method: "GET",
      query: {
        "list-type": "2",
        "max-keys": String(options.pageSize),
        prefix: options.prefix,
        ...(token === ""
          ? options.after === undefined
            ? {}
            : { "start-after": options.after }
          : { "continuation-token": token }),
      },
      signal: options.signal,
    });
    const root = parseXml(new TextDecoder().decode(answer.body));
    if (root.name !== "ListBucketResult") throw unexpected(client, `a <${root.name}>`);
    yield root.children
      .filter((element) => element.name === "Contents")
      .map((element) => ({
        key: textOf(element, "Key"),
        size: Number(textOf(element, "Size")),
        etag: unquote(textOf(element, "ETag")),
      }));
    if (textOf(root, "IsTruncated") !== "true") return;
    const next = textOf(root, "NextContinuationToken");
    if (next === "" || next === token) throw unexpected(client, "no token for the next page");
    token = next;
  }
}

function unexpected(client: S3Client, found: string): MillraceError {
  const { bucket, host } = client.location;
  return new MillraceError(
    "UNAVAILABLE",
    `cannot list bucket ${bucket}: ${host} answers with ${found}; is it an S3 server?`,
  );
}
