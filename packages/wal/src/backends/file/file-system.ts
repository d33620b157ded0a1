/**
 * FileSystem: all that the file backend asks of the place where its files are. Handed in, so that a
 * power cut, a failing disk and a full one can be simulated.
 *
 * What is durable, that is, what a power cut leaves:
 * - Bytes, when the `write` that wrote them has resolved, or a later `sync` of the file.
 * - The names in a folder as they stood when a `syncFolder` of it began that has resolved. Until then
 *   each creation, rename, link and removal in it is kept or lost on its own; a rename is never half
 *   done, and its source and target may be in different folders.
 * - Nothing else: bytes and names that were not synced are there, gone, or, for bytes, there in part.
 *
 * What is not durable is visible at once all the same, to everybody who has the files open or opens
 * them. Failures are errors with a `code` as the operating system names it, such as `ENOENT`,
 * `ENOSPC` or `EIO`. Paths are joined by the backend; the folder that it was created with comes first.
 *
 * @module
 */

/** A file that is open. It stays readable and writable when it is renamed or removed meanwhile. */
export interface OpenFile {
  /** Its length in bytes as it is now. */
  size(): Promise<number>;
  /** Reads what stands at a byte position and answers how many bytes were read; 0: behind the end. */
  read(into: Uint8Array, position: number): Promise<number>;
  /**
   * Writes the parts one behind the other at a byte position and makes them durable. Answers how many
   * bytes were written, which are durable then; fewer than given is a short write. If it rejects, any
   * part of the bytes may have been written, visibly or durably.
   */
  write(parts: readonly Uint8Array[], position: number): Promise<number>;
  /** Makes the contents durable, whoever wrote them. The file may be open for reading only. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * How a file is opened: to `read` it; to `write` (and read) one that exists; to `create` (write and
 * read) one that does not, else `EEXIST`.
 */
export type OpenMode = "read" | "write" | "create";

/** Files and folders. */
export interface FileSystem {
  /** `ENOENT` if the file, or the folder to create it in, does not exist. */
  open(path: string, mode: OpenMode): Promise<OpenFile>;
  /** The names in a folder, in any order. `ENOENT` if it does not exist, `ENOTDIR` if it is none. */
  list(path: string): Promise<string[]>;
  /** Creates one folder. `EEXIST` if there is one, `ENOENT` if the one it belongs into is missing. */
  makeFolder(path: string): Promise<void>;
  /** Gives a file or folder another name at once; a file that has it already is replaced. */
  rename(from: string, to: string): Promise<void>;
  /** Gives a file one more name. `EEXIST` if it is taken: of those who try at once, one succeeds. */
  link(from: string, to: string): Promise<void>;
  /** Removes a file's name. `ENOENT` if there is none. */
  remove(path: string): Promise<void>;
  /** Removes a folder, which is empty. */
  removeFolder(path: string): Promise<void>;
  /** Makes the names in a folder durable. */
  syncFolder(path: string): Promise<void>;
  /**
   * Whether there is a file or folder of this name. Synchronous: it is asked after each write, and
   * must see what other processes made before it was called.
   */
  exists(path: string): boolean;
}
