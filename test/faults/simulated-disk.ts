/**
 * A disk in memory that remembers what it may still lose: a model of what a file system is allowed to
 * show after the power was cut.
 *
 * - Bytes that were written reach the disk sector by sector (512 bytes), each in any of the versions it
 *   had since it was last made durable, whatever becomes of its neighbours. So does a file's size.
 * - A change of a folder (a name added, removed, or moved within it) is kept whole or lost, whatever
 *   becomes of the changes before and behind it, until the folder itself is synced. Syncing a file does
 *   not make its name durable.
 *
 * - A sync that fails leaves what it should have written as it is: it is seen, may be on the disk or
 *   not, and a later sync that succeeds does not write it. (Linux marks such pages as clean.)
 *
 * What no file system does is left out: a sector is never half of one version and half of another.
 *
 * @module
 */

/** Picks one of `count` possibilities, from 0. */
export type Choose = (count: number) => number;

/** Bytes of what a disk writes whole or not at all. */
export const sectorBytes = 512;

/** A file, by whatever names. */
export interface DiskFile {
  readonly kind: "file";
  /** The versions of each sector since it was last durable; the last one is what is read. */
  sectors: Uint8Array[][];
  /** The same of the size in bytes. */
  sizes: number[];
  /** The sectors that a sync has failed to write and that were not written again. */
  forsaken: Set<number>;
}

/** A folder. */
export interface DiskFolder {
  readonly kind: "folder";
  /** As it is seen now. */
  entries: Map<string, DiskNode>;
  /** As it was on the disk for certain, */
  durable: Map<string, DiskNode>;
  /** before these changes. */
  changes: Change[];
}

/** What a name can stand for. */
export type DiskNode = DiskFile | DiskFolder;

/** What becomes of one name. */
export interface NameChange {
  folder: DiskFolder;
  name: string;
  /** What it stands for from now on; `undefined`: nothing. */
  node: DiskNode | undefined;
}

/** What happens to some names at once, in one folder or more. */
interface Change {
  names: readonly NameChange[];
  /** It is on the disk for certain. */
  durable: boolean;
}

const emptySector = new Uint8Array(sectorBytes);

/** Creates an empty file. */
export function createFile(): DiskFile {
  return { kind: "file", sectors: [], sizes: [0], forsaken: new Set() };
}

/** Creates an empty folder. */
export function createFolder(): DiskFolder {
  return { kind: "folder", entries: new Map(), durable: new Map(), changes: [] };
}

/** Changes names, all or none. */
export function changeNames(names: readonly NameChange[]): void {
  const change: Change = { names, durable: false };
  for (const folder of new Set(names.map((name) => name.folder))) {
    apply(folder.entries, change, folder);
    folder.changes.push(change);
  }
}

/** Makes the first so many changes of a folder durable, wherever else they change something. */
export function syncFolder(folder: DiskFolder, count: number = folder.changes.length): void {
  for (const change of folder.changes.slice(0, count)) change.durable = true;
  while (folder.changes[0]?.durable) {
    const change = folder.changes.shift();
    if (change) apply(folder.durable, change, folder);
  }
}

/** The size of a file in bytes. */
export function sizeOf({ sizes }: DiskFile): number {
  return sizes.at(-1) ?? 0;
}

/** Writes bytes at a position; what lies between the end and there is zeros. */
export function writeFile(file: DiskFile, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; ) {
    const index = Math.floor((position + at) / sectorBytes);
    const offset = (position + at) % sectorBytes;
    const part = bytes.subarray(at, at + sectorBytes - offset);
    while (file.sectors.length <= index) file.sectors.push([emptySector]);
    const versions = file.sectors[index] ?? [];
    const sector = (versions.at(-1) ?? emptySector).slice();
    sector.set(part, offset);
    if (!same(sector, versions.at(-1))) versions.push(sector);
    file.forsaken.delete(index);
    at += part.length;
  }
  resize(file, Math.max(sizeOf(file), position + bytes.length));
}

/** Sets the size of a file; what is cut off reads as zeros if it grows again. */
export function resize(file: DiskFile, size: number): void {
  if (size < sizeOf(file)) {
    for (let index = Math.floor(size / sectorBytes); index < file.sectors.length; index++) {
      const versions = file.sectors[index] ?? [];
      const kept = Math.max(0, size - index * sectorBytes);
      versions.push((versions.at(-1) ?? emptySector).slice().fill(0, kept));
    }
  }
  if (size !== sizeOf(file)) file.sizes.push(size);
}

/** Up to `length` bytes from a position: fewer at the end of the file only. */
export function readFile(file: DiskFile, position = 0, length = Infinity): Uint8Array {
  const end = Math.min(position + length, sizeOf(file));
  const bytes = new Uint8Array(Math.max(0, end - position));
  for (let at = position; at < end; ) {
    const index = Math.floor(at / sectorBytes);
    const sector = file.sectors[index]?.at(-1) ?? emptySector;
    const stop = Math.min(end, (index + 1) * sectorBytes);
    bytes.set(sector.subarray(at % sectorBytes, stop - index * sectorBytes), at - position);
    at = stop;
  }
  return bytes;
}

/** Makes what a file holds durable: all of it, or the sectors of a range, with its size. */
export function syncFile(file: DiskFile, position = 0, length = Infinity): void {
  const first = Math.floor(position / sectorBytes);
  const end = Math.min(file.sectors.length, Math.ceil((position + length) / sectorBytes));
  for (let index = first; index < end; index++) {
    const versions = file.sectors[index];
    if (!versions || versions.length === 1 || file.forsaken.has(index)) continue;
    file.sectors[index] = versions.slice(-1);
  }
  if (file.sizes.length > 1) file.sizes = file.sizes.slice(-1);
}

/** A sync that fails: see above. */
export function failSync(file: DiskFile): void {
  for (const [index, versions] of file.sectors.entries()) {
    if (versions.length > 1) file.forsaken.add(index);
  }
}

/** What the disk may hold after the power was cut now; `choose` decides all that is open. */
export function cutPower(folder: DiskFolder, choose: Choose): DiskFolder {
  return copyFolder(folder, { choose, nodes: new Map(), kept: new Map() });
}

/** A copy of all that is seen, durable. */
export function copyDisk(folder: DiskFolder): DiskFolder {
  // Of versions the last, and every change.
  return cutPower(folder, (count) => count - 1);
}

interface Copying {
  choose: Choose;
  /** The copies that were made. */
  nodes: Map<DiskNode, DiskNode>;
  /** Which changes are kept. */
  kept: Map<Change, boolean>;
}

function copyFolder(folder: DiskFolder, copying: Copying): DiskFolder {
  const { choose, kept } = copying;
  const names = new Map(folder.durable);
  for (const change of folder.changes) {
    const keep = change.durable || (kept.get(change) ?? choose(2) === 1);
    kept.set(change, keep);
    if (keep) apply(names, change, folder);
  }
  const copy = createFolder();
  copying.nodes.set(folder, copy);
  for (const [name, node] of names) {
    copy.durable.set(name, copying.nodes.get(node) ?? copyNode(node, copying));
  }
  copy.entries = new Map(copy.durable);
  return copy;
}

function copyNode(node: DiskNode, copying: Copying): DiskNode {
  return node.kind === "folder" ? copyFolder(node, copying) : copyFile(node, copying);
}

function copyFile(file: DiskFile, { choose, nodes }: Copying): DiskFile {
  const copy = createFile();
  const size = pick([...new Set(file.sizes)], choose);
  copy.sizes = [size];
  for (let start = 0; start < size; start += sectorBytes) {
    const versions = file.sectors[start / sectorBytes] ?? [emptySector];
    const chosen = pick(versions, choose);
    const used = size - start;
    const clean = used >= sectorBytes || isZero(chosen, used);
    copy.sectors.push([clean ? chosen : chosen.slice().fill(0, used)]);
  }
  nodes.set(file, copy);
  return copy;
}

function pick<T>(versions: readonly T[], choose: Choose): T {
  const chosen = versions.length > 1 ? choose(versions.length) : 0;
  return versions[chosen] as T;
}

function apply(names: Map<string, DiskNode>, change: Change, folder: DiskFolder): void {
  for (const { folder: changed, name, node } of change.names) {
    if (changed !== folder) continue;
    if (node) names.set(name, node);
    else names.delete(name);
  }
}

function same(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return b !== undefined && Buffer.compare(a, b) === 0;
}

function isZero(bytes: Uint8Array, from: number): boolean {
  for (let i = from; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

/**
 * Ways to choose, one for every series of choices that can be made, the first of which takes the first
 * possibility each time; at most `limit`. Each must have been used before the next is asked for.
 */
export function* everyChoice(limit: number): Generator<Choose> {
  let series: { count: number; chosen: number }[] = [];
  for (let used = 0; used < limit; used++) {
    let at = 0;
    yield (count) => {
      if (at === series.length) series.push({ count, chosen: 0 });
      return series[at++]?.chosen ?? 0;
    };
    series = series.slice(0, at);
    // The next series: the last choice that has another possibility takes it.
    for (let last = series.at(-1); last && ++last.chosen === last.count; last = series.at(-1)) {
      series.pop();
    }
    if (series.length === 0) return;
  }
}
