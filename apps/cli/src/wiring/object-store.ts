/**
 * The object store that settings ask for.
 *
 * @module
 */

import { type ObjectStore, openS3ObjectStore, type S3Credentials } from "@millrace/storage";
import { createFileObjectStore } from "@millrace/storage/file";
import { type Logger, silentLogger } from "@millrace/types";
import { systemClock, systemRandom } from "@millrace/types/node";
import { parseStoreSpec } from "../config/locations.ts";
import type { Config } from "../config/schema/mod.ts";
import { usageError } from "../errors.ts";

/** How S3 is reached, as in `S3ObjectStoreOptions`. */
export interface S3Access {
  endpoint?: string | undefined;
  region?: string;
  pathStyle?: boolean | undefined;
  requestTimeoutMs?: number;
  maxAttempts?: number;
  /** Needed only if anything is in S3. */
  credentials?: S3Credentials | undefined;
}

/** Options of {@linkcode openObjectStore}. */
export interface OpenObjectStoreOptions {
  /** How S3 is reached, if the store is there. */
  s3?: S3Access;
  /** Default: silent. */
  logger?: Logger;
}

/**
 * Opens the store that `file:DIR` or `s3://bucket/prefix` says. An S3 store is asked first whether it
 * honours conditional writes; wrong keys and a server that is away are errors here.
 */
export async function openObjectStore(
  spec: string,
  { s3 = {}, logger = silentLogger }: OpenObjectStoreOptions = {},
): Promise<ObjectStore> {
  const parsed = parseStoreSpec(spec);
  if (parsed.type === "file") return await createFileObjectStore({ dir: parsed.dir });
  const { endpoint, pathStyle, credentials, ...others } = s3;
  if (!credentials) {
    throw usageError("an s3:// store needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  }
  return await openS3ObjectStore({
    bucket: parsed.bucket,
    prefix: parsed.prefix,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(pathStyle === undefined ? {} : { pathStyle }),
    ...others,
    credentials,
    clock: systemClock,
    random: systemRandom,
    logger,
  });
}

/** How settings say that S3 is reached. */
export function s3AccessOf(config: Config): S3Access {
  const accessKeyId = config["s3.accessKeyId"];
  const secretAccessKey = config["s3.secretAccessKey"];
  const sessionToken = config["s3.sessionToken"];
  const hasKey = accessKeyId !== undefined && secretAccessKey !== undefined;
  return {
    endpoint: config["s3.endpoint"],
    region: config["s3.region"],
    pathStyle: config["s3.pathStyle"],
    requestTimeoutMs: config["s3.requestTimeout"],
    maxAttempts: config["s3.maxAttempts"],
    credentials: hasKey
      ? { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) }
      : undefined,
  };
}
