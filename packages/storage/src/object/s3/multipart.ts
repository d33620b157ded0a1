/**
 * Uploads in parts, with as much memory as a few of them.
 *
 * @module
 */

import { type Logger, MillraceError, silentLogger } from "@millrace/types";
import { concatBytes, maxConditionalBytes } from "../../keys.ts";
import type { S3Client } from "./client.ts";
import { s3Error } from "./errors.ts";
import { unquote } from "./etag.ts";
import { escapeXml, parseXml, textOf } from "./xml.ts";

/** How large a part is, and the largest body that goes in one request, in bytes. */
export const partBytes: number = maxConditionalBytes;

const maxParts = 10_000;

/** Cuts a body into pieces of {@linkcode partBytes}; the last may be smaller. */
export async function* splitBody(
  body: Uint8Array | AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, undefined> {
  if (body instanceof Uint8Array) {
    for (let start = 0; start < body.length; start += partBytes) {
      yield body.subarray(start, start + partBytes);
    }
    return undefined;
  }
  let waiting: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    signal?.throwIfAborted();
    let rest = chunk;
    while (length + rest.length >= partBytes) {
      const cut = partBytes - length;
      waiting.push(rest.subarray(0, cut));
      yield concatBytes(waiting, partBytes);
      waiting = [];
      length = 0;
      rest = rest.subarray(cut);
    }
    if (rest.length > 0) {
      // The source may use its buffer again.
      waiting.push(rest.slice());
      length += rest.length;
    }
  }
  if (length > 0) yield concatBytes(waiting, length);
  return undefined;
}

/** An upload in parts. */
export interface MultipartOptions {
  client: S3Client;
  /** The whole key. */
  key: string;
  /** The parts that were read already. */
  first: readonly Uint8Array[];
  rest: AsyncIterable<Uint8Array>;
  headers: Record<string, string>;
  /** The object's etag if it is what this upload wrote; asked when the answer to its end does not say. */
  readBack(): Promise<string | undefined>;
  logger: Logger | undefined;
  signal: AbortSignal | undefined;
}

/** Uploads; gives the upload up when anything fails, so that no parts are left to pay for. */
export async function uploadInParts(
  options: MultipartOptions,
): Promise<{ size: number; etag: string }> {
  const uploadId = await begin(options);
  try {
    const { etags, size } = await sendParts(options, uploadId);
    return { size, etag: await complete(options, uploadId, etags) };
  } catch (error) {
    await giveUp(options, uploadId);
    throw error;
  }
}

async function begin({ client, key, headers, signal }: MultipartOptions): Promise<string> {
  const answer = await client.send({
    doing: `cannot begin to upload ${key}`,
    method: "POST",
    key,
    query: { uploads: "" },
    headers,
    signal,
  });
  const uploadId = textOf(parseXml(new TextDecoder().decode(answer.body)), "UploadId");
  if (uploadId === "") {
    throw new MillraceError("UNAVAILABLE", `cannot upload ${key}: the store gave no upload id`);
  }
  return uploadId;
}

async function sendParts(
  options: MultipartOptions,
  uploadId: string,
): Promise<{ etags: string[]; size: number }> {
  const { client, key, signal } = options;
  const etags: Promise<string>[] = [];
  let size = 0;
  const send = async (body: Uint8Array, number: number): Promise<string> => {
    const answer = await client.send({
      doing: `cannot upload part ${number} of ${key}`,
      method: "PUT",
      key,
      query: { partNumber: String(number), uploadId },
      body,
      signal,
    });
    return answer.headers.get("etag") ?? "";
  };
  try {
    for await (const body of allParts(options)) {
      if (etags.length === maxParts) {
        const most = (maxParts * partBytes) / 2 ** 30;
        throw new MillraceError("INVALID_ARGUMENT", `${key} is larger than ${most} GiB`);
      }
      size += body.length;
      const sent = send(body, etags.length + 1);
      // Awaited below; this only keeps a failure from counting as unhandled until then.
      sent.catch(() => undefined);
      etags.push(sent);
      // One part is on its way while the next is read; more would only need more memory.
      await etags[etags.length - 2];
    }
    return { etags: await Promise.all(etags), size };
  } finally {
    // After a failure the other part must not go on behind the caller's back.
    await Promise.allSettled(etags);
  }
}

async function* allParts(options: MultipartOptions): AsyncGenerator<Uint8Array> {
  yield* options.first;
  yield* options.rest;
}

async function complete(
  options: MultipartOptions,
  uploadId: string,
  etags: readonly string[],
): Promise<string> {
  const { client, key, readBack, signal } = options;
  const doing = `cannot complete the upload of ${key}`;
  const parts = etags.map(
    (etag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`,
  );
  const xml = `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
  const answer = await client.send({
    doing,
    method: "POST",
    key,
    query: { uploadId },
    headers: { "content-type": "application/xml" },
    body: new TextEncoder().encode(xml),
    accept: [404],
    signal,
  });
  if (answer.status !== 404) {
    const told = unquote(textOf(parseXml(new TextDecoder().decode(answer.body)), "ETag"));
    // Ceph leaves it empty. If another has written since, the etag is not to be known: "" matches none.
    return told || ((await readBack()) ?? "");
  }
  // The upload is gone: an earlier attempt has completed it, or another has ended it.
  const etag = answer.maybeRepeated ? await readBack() : undefined;
  if (etag === undefined) throw s3Error(client.location, doing, answer, answer.maybeRepeated);
  return etag;
}

async function giveUp(options: MultipartOptions, uploadId: string): Promise<void> {
  const { client, key, logger = silentLogger } = options;
  try {
    await client.send({
      doing: `cannot give up the upload of ${key}`,
      method: "DELETE",
      key,
      query: { uploadId },
      accept: [404],
    });
  } catch (error) {
    logger.warn("s3: parts of a failed upload are left in the bucket", { key, uploadId, error });
  }
}
