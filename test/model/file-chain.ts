/**
 * How logs in files keep the rule for a chain of terms: a folder per term, the next owner's fence and
 * the end in it, and records that are seen by others before they are durable.
 *
 * An owner that dies is one that takes no further step; what it has written stays in the cache of the
 * operating system. At a power cut all of them die, and of what was not synced anything may be gone.
 */

import type { Protocol, Visit } from "./explore.ts";
import type { FileFault } from "./file-faults.ts";

/** How much is explored. */
export interface FileOptions {
  /** How many owners there are, of terms 1, 2, .. */
  owners: number;
  /** How many records each of them writes. */
  records: number;
  /** How often the power is cut. */
  powerCuts: number;
  /** How many syncs fail. */
  failures: number;
  /** There is a reader that owns nothing. */
  reader: boolean;
  fault?: FileFault | undefined;
}

/** What an owner is about to do. The first of these: nothing, it has not begun. */
const idle = 0;
const lookForEnd = 1;
const putFence = 2;
const syncFence = 3;
const readEnd = 4;
const copyLast = 5;
const syncCopy = 6;
const putEnd = 7;
const syncEnd = 8;
const write = 9;
const writeAnyway = 10;
const sync = 11;
const roll = 12;
const syncRoll = 13;
const acknowledge = 14;
const syncClose = 15;
const gone = 16;

/** What the reader is about to do; the last with the term added. */
const waiting = 0;
const reading = 1;
const readingAgain = 2;

/** A record in the file that it was written to: absent; in the cache; there, but never on disk; on disk. */
const cached = 1;
const doomed = 2;
const onDisk = 3;
/** A record in a file of its own, whose name is in the cache, or on disk. */
const named = 1;
const kept = 2;

/** The protocol. */
export function fileChain(options: FileOptions): Protocol {
  const { owners, records, fault } = options;
  // Of a term: fence, whether that is durable, end + 1, whether that is durable; then of each record its
  // state in the first file, in the one that the writer rolled to, and in the copy of the next owner.
  const recordsField = 4;
  const recordBytes = 3;
  const termBytes = recordsField + records * recordBytes;
  const ownersAt = (owners + 1) * termBytes;
  // Of an owner: what it is about to do, the term it looks at, the one that follows there, the end that
  // it found, its first sequence, how many records it acknowledged, and 1 once it writes.
  const curField = 1;
  const followingField = 2;
  const foundField = 3;
  const startField = 4;
  const ackedField = 5;
  const startedField = 6;
  const ownerBytes = 7;
  // Of the reader: what it is about to do, and the term or the end that it found; then how many records
  // of each term it has seen.
  const readerAt = ownersAt + owners * ownerBytes;
  const seenAt = readerAt + 2;
  const cutsAt = seenAt + owners + 1;
  const failuresAt = cutsAt + 1;
  const size = failuresAt + 1;

  const after = new Uint8Array(size);
  let before = new Uint8Array(size);
  let visit: Visit = () => undefined;

  function step(name: string, change: () => void): void {
    after.set(before);
    change();
    visit(name, after);
  }
  const fenceOf = (state: Uint8Array, term: number): number => state[term * termBytes] as number;
  /** -1 while it is not known. */
  const endOf = (state: Uint8Array, term: number): number =>
    (state[term * termBytes + 2] as number) - 1;
  const recordAt = (term: number, record: number): number =>
    term * termBytes + recordsField + record * recordBytes;
  const ownerAt = (term: number): number => ownersAt + (term - 1) * ownerBytes;

  function isVisible(state: Uint8Array, term: number, record: number): boolean {
    const at = recordAt(term, record);
    return state[at] !== 0 || state[at + 1] !== 0 || state[at + 2] !== 0;
  }

  function visibleIn(state: Uint8Array, term: number): number {
    let count = 0;
    while (term > 0 && count < records && isVisible(state, term, count)) count++;
    return count;
  }

  /** Makes durable what a folder holds by name. */
  function syncFolder(term: number): void {
    const at = term * termBytes;
    after[at + 1] = after[at] === 0 ? 0 : 1;
    after[at + 3] = after[at + 2] === 0 ? 0 : 1;
    for (let record = 0; term > 0 && record < records; record++) {
      const own = recordAt(term, record);
      if (after[own + 1] === named) after[own + 1] = kept;
      if (after[own + 2] === named) after[own + 2] = kept;
    }
  }

  /** Makes durable what was written to a file, unless that had failed before. */
  function syncRecord(term: number, record: number): void {
    const at = recordAt(term, record);
    if (after[at] === cached) after[at] = onDisk;
  }

  /** Goes on with the term that follows, or begins to write. */
  function goOn(term: number, end: number): void {
    const owner = ownerAt(term);
    after[owner + startField] = (after[owner + startField] as number) + end;
    const following = after[owner + followingField] as number;
    after[owner + followingField] = 0;
    after[owner + foundField] = 0;
    after[owner + curField] = following === term ? 0 : following;
    if (following === term) {
      after[owner] = write;
      after[owner + startedField] = 1;
    } else after[owner] = firstLook;
  }
  const firstLook = fault === "looks for the end before it puts the fence" ? lookForEnd : putFence;

  function tryFence(term: number, cur: number): void {
    const owner = ownerAt(term);
    const at = cur * termBytes;
    const there = after[at] as number;
    const replaces = fault === "a fence replaces another" && there < term;
    if (there === 0 || replaces) {
      after[at] = term;
      after[at + 1] = 0;
    }
    const following = after[at] as number;
    if (following > term) leave(term);
    else {
      after[owner + followingField] = following;
      const trusts = fault === "goes on behind a fence that may vanish" && following !== term;
      after[owner] = trusts ? readEnd : syncFence;
    }
  }

  function leave(term: number): void {
    const owner = ownerAt(term);
    after[owner] = gone;
    after.fill(0, owner + curField, owner + startField);
  }

  function findEnd(term: number, cur: number): void {
    const owner = ownerAt(term);
    const known = endOf(after, cur);
    if (cur === 0) goOn(term, 0);
    else if (known >= 0) {
      if (fault === "goes on behind an end that may vanish") goOn(term, known);
      else after[owner] = syncEnd;
    } else {
      if (firstLook !== lookForEnd) after[owner + foundField] = visibleIn(after, cur);
      const found = after[owner + foundField] as number;
      if (fault === "does not write down the end") goOn(term, found);
      else after[owner] = found === 0 ? putEnd : copyLast;
    }
  }

  function copyRecord(term: number, cur: number): void {
    const owner = ownerAt(term);
    const last = (after[owner + foundField] as number) - 1;
    after[owner] = putEnd;
    if (fault === "does not make the last record durable") return;
    if (fault === "syncs the last record's file instead of copying it") {
      syncRecord(cur, last);
      syncFolder(cur);
      return;
    }
    const copy = recordAt(cur, last) + 2;
    if (after[copy] === 0) after[copy] = named;
    after[owner] = syncCopy;
  }

  function tryEnd(term: number, end: number): void {
    const at = term * termBytes + 2;
    if (after[at] === 0 || fault === "an end replaces another") {
      after[at] = end + 1;
      after[at + 1] = 0;
    }
  }

  function openSteps(term: number): void {
    const owner = ownerAt(term);
    const cur = before[owner + curField] as number;
    const found = before[owner + foundField] as number;
    const who = `owner ${term}`;
    switch (before[owner]) {
      case lookForEnd:
        step(`${who} looks where term ${cur} ends`, () => {
          after[owner + foundField] = visibleIn(after, cur);
          after[owner] = putFence;
        });
        break;
      case putFence:
        step(`${who} puts its fence into term ${cur}`, () => tryFence(term, cur));
        break;
      case syncFence:
        step(`${who} syncs the fence in term ${cur}`, () => {
          syncFolder(cur);
          after[owner] = readEnd;
        });
        break;
      case readEnd:
        step(`${who} looks where term ${cur} ends`, () => findEnd(term, cur));
        break;
      case copyLast:
        step(`${who} takes in record ${found - 1} of term ${cur}`, () => copyRecord(term, cur));
        break;
      case syncCopy:
        step(`${who} syncs its copy in term ${cur}`, () => {
          syncFolder(cur);
          after[owner] = putEnd;
        });
        break;
      case putEnd:
        step(`${who} writes down that term ${cur} ends at ${found}`, () => {
          tryEnd(cur, found);
          if (fault === "goes on before the end is durable") goOn(term, endOf(after, cur));
          else after[owner] = syncEnd;
        });
        break;
      case syncEnd:
        step(`${who} syncs the end of term ${cur}`, () => {
          syncFolder(cur);
          goOn(term, endOf(after, cur));
        });
        break;
    }
  }

  function writeRecord(term: number, record: number): void {
    after[recordAt(term, record)] = cached;
    after[ownerAt(term)] = sync;
  }

  function writeSteps(term: number): void {
    const owner = ownerAt(term);
    const next = before[owner + ackedField] as number;
    const who = `owner ${term}`;
    const isFenced = fenceOf(before, term) !== 0;
    const close = (): void =>
      step(`${who} writes down its end, ${next}`, () => {
        tryEnd(term, next);
        after[owner] = syncClose;
      });
    switch (before[owner]) {
      case write:
        close();
        if (next === records) break;
        if (fault === "looks for the fence before it writes") {
          step(`${who} looks for a fence`, () => {
            after[owner] = isFenced ? gone : writeAnyway;
          });
          break;
        }
        step(`${who} writes record ${next}`, () => writeRecord(term, next));
        break;
      case writeAnyway:
        step(`${who} writes record ${next}`, () => writeRecord(term, next));
        break;
      case sync:
        step(`${who} syncs record ${next}`, () => {
          syncRecord(term, next);
          after[owner] = acknowledge;
        });
        if (before[failuresAt] === 0) break;
        step(`${who} fails to sync record ${next}`, () => {
          // A reader may have synced it before.
          if (after[recordAt(term, next)] === cached) after[recordAt(term, next)] = doomed;
          after[failuresAt] = (after[failuresAt] as number) - 1;
          after[owner] = fault === "syncs a file again after a failure" ? sync : roll;
        });
        break;
      case roll:
        close();
        step(`${who} writes record ${next} to another file`, () => {
          after[recordAt(term, next) + 1] = named;
          after[owner] = syncRoll;
        });
        break;
      case syncRoll:
        step(`${who} syncs the name of that file`, () => {
          syncFolder(term);
          after[owner] = acknowledge;
        });
        break;
      case acknowledge:
        step(`${who} looks for a fence, to acknowledge record ${next}`, () => {
          const looks =
            fault !== "does not look for the fence" &&
            fault !== "looks for the fence before it writes";
          if (isFenced && looks) {
            leave(term);
            return;
          }
          after[owner + ackedField] = next + 1;
          after[owner] = write;
        });
        break;
      case syncClose:
        step(`${who} syncs its end`, () => {
          syncFolder(term);
          leave(term);
        });
        break;
    }
  }

  /** The terms of the chain, to the last that is not fenced, or that has no end where it needs one. */
  function chainOf(state: Uint8Array, needsEnds: boolean): number[] {
    const terms: number[] = [];
    let term = fenceOf(state, 0);
    while (term > 0 && !terms.includes(term)) {
      terms.push(term);
      if (needsEnds && endOf(state, term) < 0) break;
      term = fenceOf(state, term);
    }
    return terms;
  }

  function readSteps(): void {
    const phase = before[readerAt] as number;
    const found = before[readerAt + 1] as number;
    const last = phase === reading ? found : (chainOf(before, true).at(-1) ?? 0);
    if (phase === waiting) {
      // It would write down a missing end by itself, as the next owner does.
      if (last === 0 || (fenceOf(before, last) !== 0 && endOf(before, last) < 0)) return;
      step(`a reader comes to term ${last}, which is not fenced`, () => {
        after[readerAt] = reading;
        after[readerAt + 1] = last;
      });
    } else if (phase === reading) {
      step(`the reader looks where term ${last} ends`, () => {
        const known = endOf(after, last);
        const end = known >= 0 ? known : visibleIn(after, last);
        for (let record = 0; record < end; record++) syncRecord(last, record);
        syncFolder(last);
        after[readerAt] = readingAgain + last;
        after[readerAt + 1] = end;
      });
    } else lookAgain(phase - readingAgain, found);
  }

  function lookAgain(last: number, end: number): void {
    step(`the reader looks again whether term ${last} has ended`, () => {
      after[readerAt] = waiting;
      after[readerAt + 1] = 0;
      const known = endOf(after, last);
      const ended = known >= 0 ? known !== end : fenceOf(after, last) !== 0;
      if (ended && fault !== "a reader does not look for the end again") return;
      for (const term of chainOf(after, true)) {
        if (term > last) break;
        const count = term === last ? end : endOf(after, term);
        after[seenAt + term] = Math.max(after[seenAt + term] as number, count);
      }
    });
  }

  /** Everything that a power cut may leave. */
  function cutSteps(): void {
    if (before[cutsAt] === 0) return;
    const open: (() => void)[] = [];
    const either = (at: number, is: number, lost: number, saved: number): void => {
      if (before[at] !== is) return;
      after[at] = lost;
      open.push(() => {
        after[at] = saved;
      });
    };
    after.set(before);
    after[cutsAt] = (before[cutsAt] as number) - 1;
    after[readerAt] = 0;
    after[readerAt + 1] = 0;
    for (let term = 1; term <= owners; term++) {
      if (before[ownerAt(term)] !== idle) leave(term);
    }
    for (let term = 0; term <= owners; term++) {
      const at = term * termBytes;
      for (const name of [at, at + 2]) {
        const value = before[name] as number;
        if (value === 0 || before[name + 1] === 1) continue;
        after[name] = 0;
        open.push(() => {
          after[name] = value;
          after[name + 1] = 1;
        });
      }
      for (let record = 0; term > 0 && record < records; record++) {
        const own = recordAt(term, record);
        either(own, cached, 0, onDisk);
        if (before[own] === doomed) after[own] = 0;
        either(own + 1, named, 0, kept);
        either(own + 2, named, 0, kept);
      }
    }
    const least = after.slice();
    for (let saved = 0; saved < 1 << open.length; saved++) {
      after.set(least);
      open.forEach((keep, i) => {
        if ((saved & (1 << i)) !== 0) keep();
      });
      visit("the power is cut", after);
    }
  }

  function steps(state: Uint8Array, onStep: Visit): void {
    before = state as Uint8Array<ArrayBuffer>;
    visit = onStep;
    for (let term = 1; term <= owners; term++) {
      const phase = state[ownerAt(term)] as number;
      if (phase === idle) {
        step(`owner ${term} begins`, () => {
          after[ownerAt(term)] = firstLook;
        });
      } else if (phase < write) openSteps(term);
      else if (phase < gone) writeSteps(term);
    }
    if (options.reader) readSteps();
    cutSteps();
  }

  function check(state: Uint8Array): string | undefined {
    const terms = chainOf(state, false);
    let sequence = 0;
    let mayHaveMore = true;
    for (const term of terms) {
      const owner = ownerAt(term);
      const known = endOf(state, term);
      const visible = visibleIn(state, term);
      const count = known < 0 ? visible : known;
      const acked = state[owner + ackedField] as number;
      if (count > visible) return `term ${term} ends at ${count}, but only ${visible} are there`;
      if (acked > count) return `record ${acked - 1} of term ${term} is acknowledged and lost`;
      if (visible > 0 && state[owner + startField] !== sequence) {
        return `term ${term} began at ${state[owner + startField]}, but stands at ${sequence}`;
      }
      const seen = state[seenAt + term] as number;
      if (seen > count) return `record ${seen - 1} of term ${term} was read and is lost`;
      if (seen > 0 && !mayHaveMore) return "what was read has changed";
      if (seen < count) mayHaveMore = false;
      sequence += count;
    }
    for (let term = 1; term <= owners; term++) {
      if (terms.includes(term)) continue;
      const acked = state[ownerAt(term) + ackedField] as number;
      if (acked > 0 || (state[seenAt + term] as number) > 0) {
        return `term ${term} is not in the chain, but was acknowledged or read`;
      }
    }
    return undefined;
  }

  function describe(state: Uint8Array): string {
    const described: string[] = [];
    for (let term = 0; term <= owners; term++) {
      const parts = [`${visibleIn(state, term)} records`];
      if (fenceOf(state, term) > 0) parts.push(`fence of ${fenceOf(state, term)}`);
      if (endOf(state, term) >= 0) parts.push(`end ${endOf(state, term)}`);
      if (term > 0) parts.push(`${state[ownerAt(term) + ackedField]} acknowledged`);
      if (term > 0) parts.push(`${state[seenAt + term]} read`);
      described.push(`term ${term}: ${parts.join(", ")}`);
    }
    return described.join("; ");
  }

  const initial = new Uint8Array(size);
  initial[cutsAt] = options.powerCuts;
  initial[failuresAt] = options.failures;
  return { initial, steps, check, checkStep: () => undefined, describe };
}
