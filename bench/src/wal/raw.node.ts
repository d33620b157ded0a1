/**
 * What the disk can do: durable writes to space that a file has already.
 *
 * @module
 */

import { constants, write } from "node:fs";
import { open } from "node:fs/promises";

/** A preallocated file that is written to over and over. */
export interface RawFile {
  /** Writes the first `bytes` bytes at the next place, durably. */
  write(bytes: number): Promise<void>;
  close(): Promise<void>;
}

const fileBytes = 64 * 1024 * 1024;

/** Creates the file and writes all of it once. */
export async function createRawFile(path: string): Promise<RawFile> {
  // One trip to the thread pool, and not two: the fastest way that Node has.
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC);
  const buffer = new Uint8Array(fileBytes).fill(7);
  await file.write(buffer, 0, fileBytes, 0);
  let offset = 0;
  return {
    write(bytes) {
      if (offset + bytes > fileBytes) offset = 0;
      const at = offset;
      offset += bytes;
      return new Promise((resolve, reject) => {
        write(file.fd, buffer, 0, bytes, at, (error, written) => {
          if (error || written !== bytes) reject(error ?? new Error(`${written} bytes written`));
          else resolve();
        });
      });
    },
    close: () => file.close(),
  };
}
