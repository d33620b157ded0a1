/**
 * Timestamps: microseconds since 1970-01-01T00:00:00Z, and their RFC 3339 text.
 *
 * @module
 */

const rfc3339 =
  /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))$/;

// 0000-01-01 and 10000-01-01: what RFC 3339 can write.
const firstMicros = -62_167_219_200_000_000n;
const endMicros = 253_402_300_800_000_000n;

/**
 * The microseconds of an RFC 3339 text such as `2024-02-29T12:00:00.5+01:00`, or `undefined` if it is
 * not one, names a time that does not exist, or is finer than microseconds.
 */
export function parseTimestamp(text: string): bigint | undefined {
  const match = rfc3339.exec(text);
  if (!match) return undefined;
  const part = (index: number): number => Number(match[index] ?? 0);
  const [year, month, day] = [part(1), part(2), part(3)];
  const [hour, minute, second] = [part(4), part(5), part(6)];
  const fraction = (match[7] ?? "").padEnd(9, "0");
  const [offsetHour, offsetMinute] = [part(10), part(11)];
  if (hour > 23 || minute > 59 || second > 59 || offsetHour > 23 || offsetMinute > 59) {
    return undefined;
  }
  if (!fraction.endsWith("000")) return undefined;
  const date = new Date(0);
  // Not Date.UTC, which moves the years 0 to 99 into the 20th century.
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  const offset = (match[9] === "-" ? -1 : 1) * (offsetHour * 60 + offsetMinute);
  const ms = date.getTime() + ((hour * 60 + minute - offset) * 60 + second) * 1000;
  return BigInt(ms) * 1000n + BigInt(fraction.slice(0, 6));
}

/**
 * RFC 3339 in UTC with no, 3 or 6 digits of fraction, as many as are needed; the decimal number of
 * microseconds for what lies outside the years 0000 to 9999.
 */
export function formatTimestamp(micros: bigint): string {
  if (micros < firstMicros || micros >= endMicros) return micros.toString();
  const [seconds, fraction] = splitSeconds(micros);
  const day = Math.floor(seconds / secondsPerDay);
  const second = seconds - day * secondsPerDay;
  const minute = Math.floor(second / 60);
  const time = `${dateText(day)}T${pad2(Math.floor(minute / 60))}:${pad2(minute % 60)}:${pad2(second % 60)}`;
  if (fraction === 0) return `${time}Z`;
  const digits = fraction.toString().padStart(6, "0");
  return `${time}.${digits.endsWith("000") ? digits.slice(0, 3) : digits}Z`;
}

const secondsPerDay = 86_400;

function splitSeconds(micros: bigint): [seconds: number, fraction: number] {
  const number = Number(micros);
  if (Number.isSafeInteger(number)) {
    const seconds = Math.floor(number / 1_000_000);
    return [seconds, number - seconds * 1_000_000];
  }
  // Before 1684 and after 2255.
  const fraction = Number(((micros % 1_000_000n) + 1_000_000n) % 1_000_000n);
  return [Number((micros - BigInt(fraction)) / 1_000_000n), fraction];
}

// Timestamps of one column are often of one day.
let lastDay = 0;
let lastDate = "1970-01-01";

function dateText(day: number): string {
  if (day !== lastDay) {
    lastDay = day;
    lastDate = new Date(day * secondsPerDay * 1000).toISOString().slice(0, 10);
  }
  return lastDate;
}

function pad2(number: number): string {
  return number < 10 ? `0${number}` : `${number}`;
}
