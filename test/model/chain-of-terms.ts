/**
 * The rule for owners of a chain of terms, over any medium with places that are created once: a place
 * takes a record or a seal, and then holds it.
 *
 * Requests arrive at any time, and any answer may be lost. That an owner dies needs no step of its own:
 * it is one that takes no further step, while what it has sent may still arrive.
 */

import type { Protocol, Visit } from "./explore.ts";

/** Ways of breaking the rule. */
export type ChainFault =
  /** A record is acknowledged although one before it has no place yet. */
  | "acknowledges out of order"
  /** What has no answer is taken for written. */
  | "takes an unknown outcome for success"
  /** What has no answer is written again, to the next place. */
  | "writes again elsewhere after an unknown outcome"
  /** A record is put where a seal stands. */
  | "a record replaces what is there"
  /** A seal is put where a record stands, in a place that was free when it was looked at. */
  | "a seal replaces what is there"
  /** A new owner begins without a seal. */
  | "begins without a seal"
  /** A new owner goes on behind a seal that names a higher term. */
  | "goes on behind a higher term"
  /** Readers take what stands behind the seal. */
  | "reads behind the seal";

/** How much is explored. */
export interface ChainOptions {
  /** How many owners there are, of terms 1, 2, .. */
  owners: number;
  /** How many records each of them writes. */
  records: number;
  /** How many of those are under way at once. */
  inFlight: number;
  fault?: ChainFault | undefined;
}

/** What an owner does. */
const idle = 0;
const sealing = 1;
const overwriting = 2;
const writing = 3;
const gone = 4;

/** What its owner knows of a place: 0 if nothing was sent there; that it is on its way; and so on. */
const sent = 1;
/** The answer is given up, but the request may still arrive. */
const late = 2;
/** It has arrived, and the answer is lost. */
const unanswered = 3;
const confirmed = 4;
const refused = 5;
const acknowledged = 6;
const abandoned = 7;

/** What a place holds: nothing, record `v` as `recordBase + v`, or the seal that names term `t`. */
const empty = 0;
const recordBase = 1;
const sealBase = 100;

/** The rule, as a protocol. */
export function chainOfTerms(options: ChainOptions): Protocol {
  const { owners, records, inFlight, fault } = options;
  const rewrites = fault === "writes again elsewhere after an unknown outcome";
  // Of its own, an owner uses a place for each record; behind them, there may be a seal.
  const places = records + (rewrites ? 1 : 0);
  const cells = places + 1;
  const ownersAt = (owners + 1) * cells;
  // Phase, then stretch and place where it seals, then how many records and places were used; then what
  // it knows of each place, and which record it put there.
  const stretchField = 1;
  const placeField = 2;
  const usedField = 3;
  const usedPlacesField = 4;
  const statusField = 5;
  const valueField = statusField + places;
  const ownerBytes = valueField + places;
  const size = ownersAt + owners * ownerBytes;

  const cellAt = (term: number, place: number): number => term * cells + place;
  const ownerAt = (term: number): number => ownersAt + (term - 1) * ownerBytes;
  const after = new Uint8Array(size);
  let before = new Uint8Array(size);
  let visit: Visit = () => undefined;

  /** A step: what changes, from the state before. */
  function step(name: string, change: () => void): void {
    after.set(before);
    change();
    visit(name, after);
  }

  /** A request arrives; answers what the place holds then. */
  function put(term: number, place: number, content: number): number {
    const cell = cellAt(term, place);
    const replaces = content < sealBase && fault === "a record replaces what is there";
    if (after[cell] === empty || replaces) after[cell] = content;
    return after[cell] as number;
  }

  function sealSteps(term: number): void {
    const owner = ownerAt(term);
    const stretch = before[owner + stretchField] as number;
    const place = before[owner + placeField] as number;
    const begin = (): void => {
      after[owner] = writing;
      after[owner + stretchField] = 0;
      after[owner + placeField] = 0;
    };
    if (before[owner] === overwriting) {
      step(`owner ${term} seals ${stretch}.${place}`, () => {
        after[cellAt(stretch, place)] = sealBase + term;
        begin();
      });
    } else if (
      fault === "a seal replaces what is there" &&
      before[cellAt(stretch, place)] === empty
    ) {
      step(`owner ${term} finds ${stretch}.${place} free`, () => {
        after[owner] = overwriting;
      });
    } else {
      step(`owner ${term} tries to seal ${stretch}.${place}`, () => {
        const held = put(stretch, place, sealBase + term);
        if (held === sealBase + term) begin();
        else if (held < sealBase) after[owner + placeField] = place + 1;
        else if (held - sealBase < term || fault === "goes on behind a higher term") {
          after[owner + stretchField] = held - sealBase;
          after[owner + placeField] = 0;
        } else after[owner] = gone;
      });
    }
  }

  function writeSteps(term: number): void {
    const owner = ownerAt(term);
    let underWay = 0;
    for (let place = 0; place < places; place++) {
      const status = before[owner + statusField + place] as number;
      if (status === refused) return;
      if (status >= sent && status <= confirmed) underWay++;
    }
    const value = before[owner + usedField] as number;
    const next = before[owner + usedPlacesField] as number;
    if (underWay < inFlight && value < records && next < places) {
      step(`owner ${term} sends record ${value} to ${next}`, () => {
        after[owner + usedField] = value + 1;
        send(owner, value);
      });
    }
  }

  function send(owner: number, value: number): void {
    const place = after[owner + usedPlacesField] as number;
    after[owner + usedPlacesField] = place + 1;
    after[owner + statusField + place] = sent;
    after[owner + valueField + place] = value;
  }

  function placeSteps(term: number, place: number): void {
    const owner = ownerAt(term);
    const status = owner + statusField + place;
    const value = before[owner + valueField + place] as number;
    const content = recordBase + value;
    const what = `record ${value} of ${term} at ${place}`;
    const known = before[status];
    if (known === sent) {
      step(`${what} is answered`, () => {
        after[status] = put(term, place, content) === content ? confirmed : refused;
      });
      step(`${what} is not answered in time`, () => {
        after[status] = late;
      });
    } else if (known === late || known === unanswered) {
      step(`owner ${term} looks for ${what}`, () => look(term, place, value));
      if (known === unanswered) return;
      step(`${what} arrives, its answer does not`, () => {
        put(term, place, content);
        after[status] = unanswered;
      });
    } else if (known === confirmed && isNext(owner, place)) {
      step(`owner ${term} acknowledges ${what}`, () => {
        after[status] = acknowledged;
      });
    }
  }

  /** What a writer makes of a place whose record was not answered. */
  function look(term: number, place: number, value: number): void {
    const owner = ownerAt(term);
    const status = owner + statusField + place;
    const held = after[cellAt(term, place)] as number;
    if (fault === "takes an unknown outcome for success") after[status] = confirmed;
    else if (rewrites && (after[owner + usedPlacesField] as number) < places) {
      after[status] = abandoned;
      send(owner, value);
    } else if (held === empty) {
      // The one that is sent now stands for that which may still arrive.
      after[status] = sent;
    } else after[status] = held === recordBase + value ? confirmed : refused;
  }

  /** Whether all places before this one hold what was acknowledged. */
  function isNext(owner: number, place: number): boolean {
    if (fault === "acknowledges out of order") return true;
    for (let other = 0; other < place; other++) {
      const status = before[owner + statusField + other];
      if (status !== acknowledged && status !== abandoned) return false;
    }
    return true;
  }

  function steps(state: Uint8Array, onStep: Visit): void {
    before = state as Uint8Array<ArrayBuffer>;
    visit = onStep;
    for (let term = 1; term <= owners; term++) {
      const phase = state[ownerAt(term)];
      if (phase === idle) {
        step(`owner ${term} begins`, () => {
          after[ownerAt(term)] = fault === "begins without a seal" ? writing : sealing;
        });
      } else if (phase === sealing || phase === overwriting) sealSteps(term);
      else if (phase === writing) {
        writeSteps(term);
        for (let place = 0; place < places; place++) placeSteps(term, place);
      }
    }
  }

  /** What a reader sees: 16 times the term and the number of each record. */
  function view(state: Uint8Array): number[] {
    const seen: number[] = [];
    let term = 0;
    for (let hops = 0; hops <= owners; hops++) {
      let following = -1;
      for (let place = 0; place < cells; place++) {
        const held = state[cellAt(term, place)] as number;
        if (held >= sealBase && following < 0) following = held - sealBase;
        if (held > empty && held < sealBase) seen.push(16 * term + held - recordBase);
        else if (fault !== "reads behind the seal") break;
      }
      if (following < 0) break;
      if (following <= term) seen.push(-1);
      term = following;
    }
    return seen;
  }

  function check(state: Uint8Array): string | undefined {
    const seen = view(state);
    if (seen.includes(-1)) return "a term follows a higher one";
    for (let term = 1; term <= owners; term++) {
      const owner = ownerAt(term);
      for (let place = 0; place < places; place++) {
        if (state[owner + statusField + place] !== acknowledged) continue;
        const value = state[owner + valueField + place] as number;
        if (!seen.includes(16 * term + value)) return `record ${value} of ${term} is lost`;
      }
    }
    return seen.some((record, i) => seen.indexOf(record) < i)
      ? "a record is there twice"
      : undefined;
  }

  function checkStep(earlier: Uint8Array, now: Uint8Array): string | undefined {
    let at = 0;
    while (at < ownersAt && earlier[at] === now[at]) at++;
    if (at === ownersAt) return undefined;
    const seen = view(now);
    const changed = view(earlier).some((record, i) => record !== seen[i]);
    return changed ? "what was read has changed" : undefined;
  }

  function describe(state: Uint8Array): string {
    const stretches: string[] = [];
    for (let term = 0; term <= owners; term++) {
      const held = Array.from(state.subarray(cellAt(term, 0), cellAt(term, cells)), (content) => {
        if (content === empty) return "-";
        return content < sealBase ? `record ${content - recordBase}` : `seal of ${content - 100}`;
      });
      stretches.push(`${term}: ${held.join(", ")}`);
    }
    return stretches.join("; ");
  }

  return { initial: new Uint8Array(size), steps, check, checkStep, describe };
}
