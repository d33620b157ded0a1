/**
 * Etags as Millrace has them: without quotes, which not all servers send.
 *
 * @module
 */

/** What stands between quotes, or all of it. */
export function unquote(text: string): string {
  return text.replace(/^"|"$/g, "");
}

/** The etag in an answer, or "". */
export function etagOf(headers: Headers): string {
  return unquote(headers.get("etag") ?? "");
}
