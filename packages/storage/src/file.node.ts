/**
 * Storage in a folder, for Node, Deno and Bun.
 *
 * @module
 */

export { type FolderLock, lockFolder } from "./file/lock.node.ts";
export { createFileMetaStore, type FileMetaStoreOptions } from "./file/meta-store.node.ts";
export { createFileObjectStore, type FileObjectStoreOptions } from "./file/object-store.node.ts";
