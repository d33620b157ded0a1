/**
 * Explore: every state that a protocol can get into, by whatever interleaving, and whether it is sound.
 */

/** Tells of a step, and of the state after it: a row that is copied, so that it may be used again. */
export type Visit = (step: string, after: Uint8Array) => void;

/** A protocol. A state is a short row of small numbers, so that it can be kept by the million. */
export interface Protocol {
  initial: Uint8Array;
  /** Visits each step that can be taken in a state. */
  steps(state: Uint8Array, visit: Visit): void;
  /** What is wrong with a state; `undefined` if nothing. */
  check(state: Uint8Array): string | undefined;
  /** What is wrong with a step, whatever the states. */
  checkStep(before: Uint8Array, after: Uint8Array): string | undefined;
  /** A state, for messages. */
  describe(state: Uint8Array): string;
}

/** What was found. */
export interface Exploration {
  /** Different states that were entered. */
  states: number;
  /** All of them were. */
  complete: boolean;
  /** The first that is wrong, with a shortest way into it. */
  violation: { message: string; steps: string[]; state: string } | undefined;
}

/** Enters states, the nearest first, until one is wrong, all were entered, or there are `maxStates`. */
export function explore(protocol: Protocol, maxStates = 50_000_000): Exploration {
  const { initial } = protocol;
  const states = createStateSet(initial.length);
  states.add(initial);
  let cameFrom = new Int32Array(1024);
  let violation: Exploration["violation"];
  const before = new Uint8Array(initial.length);
  let at = 0;

  const visit: Visit = (name, after) => {
    const number = states.add(after);
    if (number >= cameFrom.length) cameFrom = grown(cameFrom);
    if (number >= 0) cameFrom[number] = at;
    if (violation) return;
    const message =
      protocol.checkStep(before, after) ?? (number < 0 ? undefined : protocol.check(after));
    if (message === undefined) return;
    const steps = [...findSteps(protocol, states, cameFrom, at), name];
    violation = { message, steps, state: protocol.describe(after) };
  };
  while (at < states.size() && states.size() < maxStates && !violation) {
    states.read(at, before);
    protocol.steps(before, visit);
    at++;
  }
  const complete = !violation && at === states.size();
  return { states: states.size(), complete, violation };
}

/** The names of the steps into a state, found by taking them again. */
function findSteps(
  protocol: Protocol,
  states: StateSet,
  cameFrom: Int32Array,
  last: number,
): string[] {
  const steps: string[] = [];
  const length = protocol.initial.length;
  for (let number = last; number > 0; number = cameFrom[number] as number) {
    const after = states.read(number, new Uint8Array(length));
    const before = states.read(cameFrom[number] as number, new Uint8Array(length));
    let name = "";
    protocol.steps(before, (step, other) => {
      if (other.every((value, i) => value === after[i])) name = step;
    });
    steps.unshift(name);
  }
  return steps;
}

interface StateSet {
  size(): number;
  /** Adds a state and answers its number, or -1 if it is there. */
  add(state: Uint8Array): number;
  read(number: number, into: Uint8Array): Uint8Array;
}

/** A hash set of rows of one length: 4 bytes and the row each. */
function createStateSet(length: number): StateSet {
  let rows = new Uint8Array(length * 1024);
  let table = new Int32Array(4096);
  let size = 0;

  function find(row: Uint8Array, from: number): number {
    let hash = 0x811c9dc5;
    for (let i = 0; i < length; i++) {
      hash = Math.imul(hash ^ (row[from + i] as number), 0x01000193);
    }
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    for (let slot = (hash ^ (hash >>> 13)) & (table.length - 1); ; ) {
      const number = (table[slot] as number) - 1;
      if (number < 0) return -1 - slot;
      const base = number * length;
      let same = 0;
      while (same < length && rows[base + same] === row[from + same]) same++;
      if (same === length) return number;
      slot = (slot + 1) & (table.length - 1);
    }
  }

  return {
    size: () => size,
    add(state) {
      const found = find(state, 0);
      if (found >= 0) return -1;
      if ((size + 1) * length > rows.length) rows = grown(rows);
      rows.set(state, size * length);
      table[-1 - found] = ++size;
      if (size * 2 > table.length) {
        table = new Int32Array(table.length * 2);
        for (let number = 0; number < size; number++) {
          table[-1 - find(rows, number * length)] = number + 1;
        }
      }
      return size - 1;
    },
    read(number, into) {
      into.set(rows.subarray(number * length, (number + 1) * length));
      return into;
    },
  };
}

function grown<T extends Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer>>(row: T): T {
  const larger = new (row.constructor as new (length: number) => T)(row.length * 2);
  larger.set(row);
  return larger;
}
