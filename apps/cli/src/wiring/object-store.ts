/**
 * The object store that flags ask for.
 *
 * @module
 */

import { isAbsolute, resolve } from "node:path";
import { type ObjectStore, openS3ObjectStore, type S3Credentials } from "@millrace/storage";
import { createFileObjectStore } from "@millrace/storage/file";
import { type Logger, silentLogger } from "@millrace/types";
import { systemClock, systemRandom } from "@millrace/types/node";
import { InvalidArgumentError, type Option } from "commander";
import { usageError } from "../errors.ts";
import { flag, parseBaseUrl } from "../options.ts";

/** Flags that say how S3 is reached. */
export interface S3Flags {
  /** URL of the S3 server. Default: AWS. */
  s3Endpoint?: string | undefined;
  /** Default `us-east-1`. */
  s3Region?: string | undefined;
  /** The bucket is in the path, not in the host's name. Default: if there is an endpoint. */
  s3PathStyle?: boolean | undefined;
}

/** Flags that say where tables lie. */
export interface ObjectStoreFlags extends S3Flags {
  /** `file:DIR` or `s3://bucket/prefix`. */
  store: string;
}

/** Where an object store is, as a flag says it. */
export type StoreSpec =
  | { type: "file"; dir: string }
  | { type: "s3"; bucket: string; prefix: string };

/** `--store` and what S3 needs besides; `standard` says where tables lie without it. */
export function objectStoreFlags(standard?: string): Option[] {
  const mandatory = standard === undefined;
  const unless = mandatory ? "" : ` (default: ${standard})`;
  const store = flag("--store <spec>", `where tables lie: file:DIR or s3://bucket/prefix${unless}`);
  store.argParser((text) => {
    parseStoreSpec(text);
    return text;
  });
  return [mandatory ? store.makeOptionMandatory() : store, ...s3Flags()];
}

/** What S3 needs besides a bucket and a prefix. */
export function s3Flags(): Option[] {
  return [
    flag(
      "--s3-endpoint <url>",
      "the S3 server, else AWS; keys are in AWS_ACCESS_KEY_ID and so on",
    ).argParser(parseBaseUrl),
    flag("--s3-region <region>", "region of the bucket").default("us-east-1"),
    flag("--s3-path-style", "the bucket is in the URL's path; so it is for an --s3-endpoint"),
  ];
}

/** Reads `file:DIR` or `s3://bucket/prefix`. Throws `InvalidArgumentError`. */
export function parseStoreSpec(text: string): StoreSpec {
  const file = /^file:(.+)$/.exec(text);
  if (file?.[1]) return { type: "file", dir: resolveFolder(file[1]) };
  const s3 = /^s3:\/\/([^/]+)\/?(.*)$/.exec(text);
  if (s3?.[1]) return { type: "s3", bucket: s3[1], prefix: (s3[2] ?? "").replace(/\/+$/, "") };
  throw new InvalidArgumentError("Give file:DIR or s3://bucket/prefix.");
}

/** A folder of a `file:` flag, also if it is written as a URL: `file:///data`. */
export function resolveFolder(text: string): string {
  return isAbsolute(text) ? resolve(`/${text.replace(/^\/+/, "")}`) : resolve(text);
}

/**
 * Opens the store. An S3 store is asked first whether it honours conditional writes; wrong keys and a
 * server that is away are errors here.
 */
export async function openObjectStore(
  flags: ObjectStoreFlags,
  logger: Logger = silentLogger,
): Promise<ObjectStore> {
  const spec = parseStoreSpec(flags.store);
  if (spec.type === "file") return await createFileObjectStore({ dir: spec.dir });
  return await openS3ObjectStore({
    bucket: spec.bucket,
    prefix: spec.prefix,
    ...(flags.s3Endpoint === undefined ? {} : { endpoint: flags.s3Endpoint }),
    ...(flags.s3Region === undefined ? {} : { region: flags.s3Region }),
    ...(flags.s3PathStyle === undefined ? {} : { pathStyle: flags.s3PathStyle }),
    credentials: awsCredentials(process.env),
    clock: systemClock,
    random: systemRandom,
    logger,
  });
}

/** Keys from the usual variables. Throws an error of usage if they are not there. */
export function awsCredentials(env: NodeJS.ProcessEnv): S3Credentials {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = env;
  if (!accessKeyId || !secretAccessKey) {
    throw usageError("an s3:// store needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  }
  const { AWS_SESSION_TOKEN: sessionToken } = env;
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}
