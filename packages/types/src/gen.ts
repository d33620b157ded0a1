/**
 * The generated messages and services of `proto/millrace/v1`.
 *
 * @module
 */

export * from "./gen/millrace/v1/coord_pb.ts";
export * from "./gen/millrace/v1/message_pb.ts";
export * from "./gen/millrace/v1/node_pb.ts";
export * from "./gen/millrace/v1/proxy_pb.ts";
export * from "./gen/millrace/v1/schema_pb.ts";
