/**
 * What a misspelt name was meant to be.
 *
 * @module
 */

/** `; did you mean node.flush.bytes?` if a known name is much like this one, else nothing. */
export function hint(name: string, known: Iterable<string>): string {
  const nearest = nearestName(name, known);
  return nearest === undefined ? "" : `; did you mean ${nearest}?`;
}

function nearestName(name: string, known: Iterable<string>): string | undefined {
  const wanted = plain(name);
  let nearest: string | undefined;
  // Less than half of a short name, a fifth of a long one.
  const most = Math.min(Math.floor(wanted.length / 2), Math.max(2, Math.floor(wanted.length / 5)));
  let least = most + 1;
  for (const candidate of known) {
    const isEnd = candidate.endsWith(`.${name}`);
    const distance = isEnd ? 1 : editDistance(wanted, plain(candidate));
    if (distance < least) [nearest, least] = [candidate, distance];
  }
  return nearest;
}

/** Without what is written in many ways: `node.flush_bytes` is `nodeflushbytes`. */
function plain(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, "");
}

/** How many letters must be added, removed or replaced to make `b` of `a`. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
