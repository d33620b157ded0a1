/**
 * Who owns a pchannel: two coordinators that both believe to be active, a store that swaps records
 * under a revision, two nodes that may be thought dead while they live, and the log, which a new owner
 * seals at its term.
 *
 * Calls of Assign may arrive late, again, or never, and so may writes of records and appends whose
 * sender does not wait any more; answers may be lost; coordinators and nodes die and start again at any
 * time. That a seal is put in one step is for the rule of a chain of terms to see to.
 */

import type { AssignmentOptions } from "./assignment-options.ts";
import type { Protocol, Visit } from "./explore.ts";
import { isLess, swap } from "./rows.ts";

const nodes = [1, 2];
const coordinators = [0, 1];

/** What a coordinator does. */
const down = 0;
const idle = 1;
const saving = 2;
const removing = 3;
const assigning = 4;
const finishing = 5;

/**
 * Fields of a record: term, owner, and the term at which each node may hold it. Whether it is assigned
 * does not count here: an attempt may begin at any time.
 */
const record = { term: 0, owner: 1, former: 1 };
const recordBytes = 4;
/** Fields of a coordinator: its record, whether the store still has it, and a write that may come late. */
const own = { phase: 0, valid: 1, record: 2, toRemove: 6, late: 7, lateRecord: 8 };
const coordinatorBytes = own.lateRecord + recordBytes;
/** Fields of a node: the latest intent, and the term it holds the log at. */
const node = { known: 0, wanted: 1, held: 2 };
const nodeBytes = 3;

/** What a step has broken. */
const broken = [
  "",
  "a term was given twice",
  "a node was told what is not saved",
  "two records were acknowledged at one place",
];

/** The protocol. */
export function assignment({ terms, records, fault, goal }: AssignmentOptions): Protocol {
  const storeAt = 0;
  const coordinatorsAt = storeAt + recordBytes;
  const nodesAt = coordinatorsAt + coordinators.length * coordinatorBytes;
  const row = terms + 1;
  // By node: terms at which it was told to open, the one that it has opened while a coordinator waits for
  // that, and the one up to which it is known to have let go.
  const toldAt = nodesAt + nodes.length * nodeBytes;
  const openedAt = toldAt + nodes.length;
  const letGoAt = openedAt + nodes.length;
  // By term: the seal of its stretch, and sets of its records.
  const sealAt = letGoAt + nodes.length;
  const sentAt = sealAt + row;
  const writtenAt = sentAt + row;
  const behindAt = writtenAt + row;
  const ackedAt = behindAt + row;
  // By term: the nodes that it was saved for.
  const savedAt = ackedAt + row;
  const brokenAt = savedAt + row;
  const size = brokenAt + 1;

  const get = (state: Uint8Array, at: number): number => state[at] as number;
  const has = (state: Uint8Array, at: number, bit: number): boolean =>
    (get(state, at) & (1 << bit)) !== 0;
  const put = (state: Uint8Array, at: number, bit: number): void => {
    state[at] = get(state, at) | (1 << bit);
  };
  const coordinatorAt = (c: number): number => coordinatorsAt + c * coordinatorBytes;
  const nodeAt = (n: number): number => nodesAt + (n - 1) * nodeBytes;

  const initial = new Uint8Array(size);

  /** The store takes a record; nobody else's next write will be of its revision any more. */
  function store(state: Uint8Array, c: number, from: number, finishes: boolean): void {
    const [term, owner] = [get(state, from + record.term), get(state, from + record.owner)];
    if (!finishes) {
      if (get(state, savedAt + term) !== 0) state[brokenAt] = 1;
      put(state, savedAt + term, owner);
    }
    state.copyWithin(storeAt, from, from + recordBytes);
    for (const other of coordinators) {
      const at = coordinatorAt(other);
      // Its own late write was of the revision before, too.
      if (fault !== "saves over what another wrote") {
        state.fill(0, at + own.late, at + coordinatorBytes);
      }
      if (other === c) continue;
      state[at + own.valid] = 0;
      // It will read before it does anything else.
      if (get(state, at + own.phase) === idle) {
        state.fill(0, at + own.record, at + own.toRemove);
      }
    }
  }

  /** Leaves a write on its way; whoever sent it does not wait. */
  function leave(state: Uint8Array, c: number, finishes: boolean): void {
    const at = coordinatorAt(c);
    if (get(state, at + own.valid) === 0 || get(state, at + own.late) !== 0) return;
    state[at + own.late] = finishes ? 2 : 1;
    state.copyWithin(at + own.lateRecord, at + own.record, at + own.record + recordBytes);
  }

  /** Ends an attempt. It must read the store first, unless it knows what is there. */
  function giveUp(state: Uint8Array, c: number, known: boolean): void {
    const at = coordinatorAt(c);
    state[at + own.phase] = idle;
    state[at + own.toRemove] = 0;
    if (known && get(state, at + own.valid) !== 0) return;
    state[at + own.valid] = 0;
    state.fill(0, at + own.record, at + own.toRemove);
  }

  function tell(state: Uint8Array, c: number): void {
    const at = coordinatorAt(c) + own.record;
    const [term, owner] = [get(state, at + record.term), get(state, at + record.owner)];
    if (!has(state, savedAt + term, owner)) state[brokenAt] = 2;
    put(state, toldAt + owner - 1, term);
  }

  /** Everybody has let go: the next one is told. */
  function tellIfAlone(state: Uint8Array, c: number): void {
    const at = coordinatorAt(c);
    if (get(state, at + own.toRemove) !== 0) return;
    state.fill(0, at + own.record + record.former + 1, at + own.record + recordBytes);
    state[at + own.phase] = assigning;
    tell(state, c);
  }

  function afterSave(state: Uint8Array, c: number): void {
    const at = coordinatorAt(c);
    state[at + own.phase] = removing;
    for (const n of nodes) {
      if (get(state, at + own.record + record.former + n) > 0) put(state, at + own.toRemove, n);
    }
    tellIfAlone(state, c);
  }

  function planSteps(state: Uint8Array, c: number, visit: Visit): void {
    const at = coordinatorAt(c);
    if (get(state, at + own.valid) === 0) {
      const after = state.slice();
      after.copyWithin(at + own.record, storeAt, storeAt + recordBytes);
      after[at + own.valid] = 1;
      visit(`coordinator ${c} reads the record`, after);
      return;
    }
    const before = at + own.record;
    const [term, owner] = [get(state, before + record.term), get(state, before + record.owner)];
    const next = fault === "tries again at the same term" && term > 0 ? term : term + 1;
    if (next > terms) return;
    for (const n of nodes) {
      const after = state.slice();
      after[at + own.phase] = saving;
      after[before + record.term] = next;
      after[before + record.owner] = n;
      if (owner > 0) after[before + record.former + owner] = term;
      if (fault === "forgets former owners") {
        after.fill(0, before + record.former + 1, before + recordBytes);
      }
      if (fault === "tells before it has saved") tell(after, c);
      visit(`coordinator ${c} saves term ${next} for node ${n}`, after);
    }
  }

  function saveSteps(state: Uint8Array, c: number, finishes: boolean, visit: Visit): void {
    const at = coordinatorAt(c);
    const what = `coordinator ${c}'s record`;
    const overwrites = fault === "saves over what another wrote";
    if (get(state, at + own.valid) !== 0 || overwrites) {
      const after = state.slice();
      store(after, c, at + own.record, finishes);
      after[at + own.valid] = 1;
      if (finishes) giveUp(after, c, true);
      else afterSave(after, c);
      visit(`${what} is saved`, after);
      const unanswered = state.slice();
      store(unanswered, c, at + own.record, finishes);
      giveUp(unanswered, c, false);
      visit(`${what} is saved, without an answer`, unanswered);
    } else {
      const after = state.slice();
      giveUp(after, c, false);
      visit(`${what} is refused, another one was saved`, after);
    }
    const late = state.slice();
    leave(late, c, finishes);
    if (fault === "takes an unknown save for done" && !finishes) afterSave(late, c);
    else giveUp(late, c, false);
    visit(`${what} is late`, late);
  }

  function removeSteps(state: Uint8Array, c: number, visit: Visit): void {
    const at = coordinatorAt(c);
    for (const n of nodes) {
      if (!has(state, at + own.toRemove, n)) continue;
      const term = get(state, at + own.record + record.former + n);
      const letGo = (after: Uint8Array): void => {
        after[at + own.toRemove] = get(after, at + own.toRemove) & ~(1 << n);
        after[letGoAt + n - 1] = Math.max(term, get(after, letGoAt + n - 1));
        tellIfAlone(after, c);
      };
      const removed = state.slice();
      remove(removed, n, term);
      letGo(removed);
      visit(`coordinator ${c} has node ${n} let go of term ${term}`, removed);
      const dead = state.slice();
      letGo(dead);
      visit(`coordinator ${c} takes node ${n} for dead`, dead);
      const unanswered = state.slice();
      remove(unanswered, n, term);
      giveUp(unanswered, c, true);
      visit(`coordinator ${c} is not told that node ${n} lets go of term ${term}`, unanswered);
    }
    const after = state.slice();
    giveUp(after, c, true);
    visit(`coordinator ${c} gives up`, after);
  }

  function coordinatorSteps(state: Uint8Array, c: number, visit: Visit): void {
    const at = coordinatorAt(c);
    const phase = get(state, at + own.phase);
    if (phase === down) {
      const after = state.slice();
      after[at + own.phase] = idle;
      visit(`coordinator ${c} begins`, after);
    } else {
      const dead = state.slice();
      if (phase === saving || phase === finishing) leave(dead, c, phase === finishing);
      dead.fill(0, at, at + own.late);
      visit(`coordinator ${c} dies`, dead);
    }
    if (phase === idle) planSteps(state, c, visit);
    if (phase === saving || phase === finishing) saveSteps(state, c, phase === finishing, visit);
    if (phase === removing) removeSteps(state, c, visit);
    if (phase === assigning) {
      const owner = get(state, at + own.record + record.owner);
      const term = get(state, at + own.record + record.term);
      if (get(state, openedAt + owner - 1) === term) {
        const after = state.slice();
        after[at + own.phase] = finishing;
        visit(`coordinator ${c} hears that node ${owner} serves term ${term}`, after);
      }
      const after = state.slice();
      giveUp(after, c, true);
      visit(`coordinator ${c} gives up`, after);
    }
    const late = get(state, at + own.late);
    if (late !== 0) {
      const after = state.slice();
      store(after, -1, at + own.lateRecord, late === 2);
      after.fill(0, at + own.late, at + coordinatorBytes);
      visit(`a late record of coordinator ${c} is saved`, after);
    }
  }

  function remove(state: Uint8Array, n: number, term: number): void {
    const at = nodeAt(n);
    if (term >= get(state, at + node.known)) {
      state[at + node.known] = term;
      state[at + node.wanted] = 0;
    }
    if (get(state, at + node.held) <= term) state[at + node.held] = 0;
  }

  /** The last term of the chain. */
  function lastTerm(state: Uint8Array): number {
    let term = 0;
    for (let next = get(state, sealAt); next > term; next = get(state, sealAt + next)) term = next;
    return term;
  }

  function waitsFor(state: Uint8Array, c: number, n: number, term: number): boolean {
    const at = coordinatorAt(c);
    return (
      get(state, at + own.phase) === assigning &&
      get(state, at + own.record + record.owner) === n &&
      get(state, at + own.record + record.term) === term
    );
  }

  /** Forgets answers that nobody waits for. */
  function forgetAnswers(state: Uint8Array): void {
    for (const n of nodes) {
      const term = get(state, openedAt + n - 1);
      if (term === 0 || coordinators.some((c) => waitsFor(state, c, n, term))) continue;
      state[openedAt + n - 1] = 0;
    }
  }

  /** Opens the log at a term, unless that is fenced. */
  function open(state: Uint8Array, n: number, term: number): boolean {
    const last = lastTerm(state);
    const again = last === term && fault === "opens a term again";
    const behind = last > term && fault === "goes on behind a higher term";
    if (last >= term && !again && !behind) return false;
    if (!again && fault !== "opens without a seal") state[sealAt + last] = term;
    state[nodeAt(n) + node.held] = term;
    if (coordinators.some((c) => waitsFor(state, c, n, term))) state[openedAt + n - 1] = term;
    return true;
  }

  function nodeSteps(state: Uint8Array, n: number, visit: Visit): void {
    const at = nodeAt(n);
    const known = get(state, at + node.known);
    const held = get(state, at + node.held);
    for (let term = known + 1; term <= terms; term++) {
      if (!has(state, toldAt + n - 1, term)) continue;
      const after = state.slice();
      after.set([term, 1, 0], at);
      visit(`node ${n} is told to open term ${term}`, after);
    }
    if (get(state, at + node.wanted) !== 0 && held !== known) {
      const after = state.slice();
      const opened = open(after, n, known);
      if (!opened) after[at + node.wanted] = 0;
      visit(`node ${n} ${opened ? "opens" : "is fenced at"} term ${known}`, after);
    }
    if (held > 0) appendSteps(state, n, held, visit);
    if (known > 0) {
      const after = state.slice();
      after.fill(0, at, at + nodeBytes);
      visit(`node ${n} dies and starts again`, after);
    }
  }

  function appendSteps(state: Uint8Array, n: number, term: number, visit: Visit): void {
    for (let value = 0; value < records; value++) {
      const what = `record ${value} of term ${term}`;
      const sent = has(state, sentAt + term, value);
      const stands = has(state, writtenAt + term, value) || has(state, behindAt + term, value);
      if (!sent) {
        const after = state.slice();
        put(after, sentAt + term, value);
        visit(`node ${n} sends ${what}`, after);
        return;
      }
      if (!stands && fault !== "acknowledges what was sent") return;
      const acked = has(state, ackedAt + term, value);
      if (acked && fault !== "opens a term again") continue;
      const after = state.slice();
      if (acked) after[brokenAt] = 3;
      put(after, ackedAt + term, value);
      visit(`node ${n} acknowledges ${what}`, after);
    }
  }

  /** What was sent arrives in its own time, whatever became of its sender. */
  function arrivals(state: Uint8Array, visit: Visit): void {
    for (let term = 1; term <= terms; term++) {
      for (let value = 0; value < records; value++) {
        const sent = has(state, sentAt + term, value);
        const stands = has(state, writtenAt + term, value) || has(state, behindAt + term, value);
        if (!sent || stands) continue;
        const sealed = get(state, sealAt + term) !== 0;
        if (sealed && fault !== "a record lands behind the seal") continue;
        const after = state.slice();
        put(after, (sealed ? behindAt : writtenAt) + term, value);
        visit(`record ${value} of term ${term} arrives`, after);
      }
    }
  }

  function steps(state: Uint8Array, visit: Visit): void {
    const found: Visit = (step, after) => {
      forgetAnswers(after);
      visit(step, representative(after));
    };
    for (const c of coordinators) coordinatorSteps(state, c, found);
    for (const n of nodes) nodeSteps(state, n, found);
    arrivals(state, found);
  }

  /**
   * Which coordinator is which, and which node, does not matter: one of the orders stands for all. So
   * the names in the steps of a way may be swapped from one step to the next.
   */
  function representative(state: Uint8Array): Uint8Array {
    const swapped = state.slice();
    swapNodes(swapped);
    sortCoordinators(state);
    sortCoordinators(swapped);
    return isLess(swapped, state, 0, 0, size) ? swapped : state;
  }

  function sortCoordinators(state: Uint8Array): void {
    const [first, second] = [coordinatorAt(0), coordinatorAt(1)];
    if (isLess(state, state, second, first, coordinatorBytes)) {
      swap(state, first, second, coordinatorBytes);
    }
  }

  function swapNodes(state: Uint8Array): void {
    swapNodesOfRecord(state, storeAt);
    for (const c of coordinators) {
      swapNodesOfRecord(state, coordinatorAt(c) + own.record);
      swapNodesOfRecord(state, coordinatorAt(c) + own.lateRecord);
      swapBits(state, coordinatorAt(c) + own.toRemove);
    }
    swap(state, nodeAt(1), nodeAt(2), nodeBytes);
    for (const at of [toldAt, openedAt, letGoAt]) swap(state, at, at + 1, 1);
    for (let term = 1; term <= terms; term++) swapBits(state, savedAt + term);
  }

  function swapNodesOfRecord(state: Uint8Array, at: number): void {
    const owner = get(state, at + record.owner);
    if (owner > 0) state[at + record.owner] = 3 - owner;
    swap(state, at + record.former + 1, at + record.former + 2, 1);
  }

  /** What a reader sees: the terms of the chain, and the records before their seals. */
  function view(state: Uint8Array): { chain: number[]; seen: number[] } {
    const chain: number[] = [];
    const seen: number[] = [];
    for (let term = 0; chain.length <= terms; term = get(state, sealAt + term)) {
      chain.push(term);
      for (let value = 0; value < records; value++) {
        if (has(state, writtenAt + term, value)) seen.push(term * 16 + value);
      }
      if (get(state, sealAt + term) === 0) break;
    }
    return { chain, seen };
  }

  function check(state: Uint8Array): string | undefined {
    if (get(state, brokenAt) !== 0) return broken[get(state, brokenAt)];
    if (goal !== undefined && isReached(state)) return goal;
    const { chain, seen } = view(state);
    if (chain.some((term, i) => i > 0 && term <= (chain[i - 1] as number))) {
      return "a term follows a higher one";
    }
    for (let term = 1; term <= terms; term++) {
      for (let value = 0; value < records; value++) {
        if (!has(state, ackedAt + term, value) || seen.includes(term * 16 + value)) continue;
        return `record ${value} of term ${term} is acknowledged, and no reader sees it`;
      }
    }
    for (const n of nodes) {
      const told = 31 - Math.clz32(get(state, toldAt + n - 1));
      const mayHold = told > get(state, letGoAt + n - 1);
      const isSaved =
        get(state, storeAt + record.owner) === n || get(state, storeAt + record.former + n) > 0;
      if (mayHold && !isSaved) return `node ${n} may hold it, and the record does not say so`;
    }
    return undefined;
  }

  function isReached(state: Uint8Array): boolean {
    if (goal === "every term has acknowledged") {
      for (let term = 1; term <= terms; term++) {
        if (get(state, ackedAt + term) === 0) return false;
      }
      return true;
    }
    // One of them is deposed, and does not know it.
    const waiting = coordinators.filter(
      (c) => get(state, coordinatorAt(c) + own.phase) === assigning,
    );
    return waiting.length === coordinators.length;
  }

  /** What was read stays as it is. */
  function checkStep(before: Uint8Array, after: Uint8Array): string | undefined {
    const now = view(after).seen;
    return view(before).seen.every((seen) => now.includes(seen))
      ? undefined
      : "what was read has changed";
  }

  function describe(state: Uint8Array): string {
    const [term, owner, ...former] = state.subarray(storeAt, storeAt + recordBytes);
    const { chain, seen } = view(state);
    const held = nodes.map((n) => get(state, nodeAt(n) + node.held));
    return [
      `saved: term ${term} of node ${owner}`,
      `former: ${former.join(", ")}`,
      `held: ${held.join(", ")}`,
      `chain: ${chain.join(", ")}`,
      `seen: ${seen.map((value) => `${value >> 4}.${value & 15}`).join(", ")}`,
    ].join("; ");
  }

  return { initial, steps, check, checkStep, describe };
}

/** Swaps what is said of the two nodes in a set of them. */
function swapBits(state: Uint8Array, at: number): void {
  const set = state[at] as number;
  state[at] = ((set & 2) << 1) | ((set & 4) >> 1);
}
