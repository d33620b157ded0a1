/**
 * How tests and commands learn of the S3 server.
 *
 * @module
 */

import type { S3Server } from "./ceph-rgw.ts";

/** The bucket that is there when a test or a command starts. */
export const bucket = "millrace";

/** The variables that lead to the server. */
export function s3Environment(server: S3Server): Record<string, string> {
  const [endpoint = "", other = endpoint] = server.endpoints;
  return {
    AWS_ACCESS_KEY_ID: server.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.secretAccessKey,
    AWS_REGION: server.region,
    MILLRACE_S3_ENDPOINT: endpoint,
    MILLRACE_S3_REGION: server.region,
    MILLRACE_TEST_S3_ENDPOINT: endpoint,
    MILLRACE_TEST_S3_OTHER_ENDPOINT: other,
    MILLRACE_TEST_S3_BUCKET: bucket,
  };
}
