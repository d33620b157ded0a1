/**
 * Sizes and durations as people write them.
 *
 * @module
 */

/** Bytes of a KiB. */
export const kib = 1024;
/** Bytes of a MiB. */
export const mib: number = 1024 * kib;
/** Bytes of a GiB. */
export const gib: number = 1024 * mib;
/** Bytes of a TiB. */
export const tib: number = 1024 * gib;
/** Milliseconds of a second. */
export const second = 1000;
/** Milliseconds of a minute. */
export const minute: number = 60 * second;
/** Milliseconds of an hour. */
export const hour: number = 60 * minute;
/** Milliseconds of a day. */
export const day: number = 24 * hour;

const sizeUnits: readonly (readonly [string, number])[] = [
  ["TiB", tib],
  ["GiB", gib],
  ["MiB", mib],
  ["KiB", kib],
  ["TB", 1e12],
  ["GB", 1e9],
  ["MB", 1e6],
  ["KB", 1e3],
  ["B", 1],
];

const durationUnits: readonly (readonly [string, number])[] = [
  ["d", day],
  ["h", hour],
  ["m", minute],
  ["s", second],
  ["ms", 1],
];

/** Bytes of `64MiB`, `64 MB`, `1.5GiB` or `1024`; `undefined` if it is no size. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,9})?) ?([KMGT]i?B|B)?$/i.exec(text.trim());
  if (!match) return undefined;
  const unit = (match[2] ?? "B").toLowerCase();
  const factor = sizeUnits.find(([name]) => name.toLowerCase() === unit)?.[1] ?? 1;
  return Math.round(Number(match[1]) * factor);
}

/** Bytes in the largest unit in which they are a whole number: `64 MiB`. */
export function formatSize(bytes: number): string {
  return inLargestUnit(bytes, sizeUnits, " B", " ");
}

/** Milliseconds of `10s`, `500ms`, `1.5h`, `1h30m` or, without a unit, `250`; else `undefined`. */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  if (/^\d{1,15}$/.test(trimmed)) return Number(trimmed);
  if (!/^(?:\d{1,15}(?:\.\d{1,9})? ?(?:ms|s|m|h|d) ?)+$/.test(trimmed)) return undefined;
  let ms = 0;
  for (const [, count, unit] of trimmed.matchAll(/([\d.]+) ?(ms|s|m|h|d)/g)) {
    ms += Number(count) * (durationUnits.find(([name]) => name === unit)?.[1] ?? 0);
  }
  // 1.1 s are a little more than 1100 ms in binary.
  return Math.round(ms);
}

/** Milliseconds in the largest unit in which they are a whole number: `10s`. */
export function formatDuration(ms: number): string {
  return inLargestUnit(ms, durationUnits, "ms", "");
}

function inLargestUnit(
  value: number,
  units: readonly (readonly [string, number])[],
  least: string,
  space: string,
): string {
  const unit = units.find(([, size]) => value >= size && value % size === 0);
  return unit ? `${value / unit[1]}${space}${unit[0]}` : `${value}${least}`;
}
