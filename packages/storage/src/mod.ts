/**
 * Object and metadata storage behind two small contracts.
 *
 * @module
 */

export type { EtcdCredentials, EtcdMetaStoreOptions } from "./meta/etcd/options.ts";
export { createEtcdMetaStore } from "./meta/etcd/store.ts";
export { createMemoryMetaStore, type MemoryMetaStoreOptions } from "./meta/memory.ts";
export * from "./meta-store.ts";
export { createObjectMetaStore, type ObjectMetaStoreOptions } from "./meta/object.ts";
export { createMemoryObjectStore } from "./object/memory.ts";
export * from "./object-store.ts";
export type { S3Credentials, S3ObjectStoreOptions } from "./object/s3/options.ts";
export { openS3ObjectStore } from "./object/s3/probe.ts";
export { createS3ObjectStore } from "./object/s3/store.ts";
