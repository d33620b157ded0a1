/**
 * Bytes as etcd's JSON writes them.
 *
 * @module
 */

const alphabet = new TextEncoder().encode(
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
);
const padding = 61;

/** Bytes as base64 text. Over a table, since `btoa` wants a string of as many characters first. */
export function encodeBase64(bytes: Uint8Array): string {
  const text = new Uint8Array(Math.ceil(bytes.length / 3) * 4).fill(padding);
  const put = (at: number, six: number): void => {
    text[at] = alphabet[six & 63] as number;
  };
  for (let from = 0, to = 0; from < bytes.length; from += 3, to += 4) {
    const left = bytes.length - from;
    const group =
      ((bytes[from] as number) << 16) | ((bytes[from + 1] ?? 0) << 8) | (bytes[from + 2] ?? 0);
    put(to, group >> 18);
    put(to + 1, group >> 12);
    if (left > 1) put(to + 2, group >> 6);
    if (left > 2) put(to + 3, group);
  }
  return new TextDecoder().decode(text);
}

/** The bytes of base64 text. Throws if it is none. */
export function decodeBase64(text: string): Uint8Array {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
