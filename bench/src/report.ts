/**
 * What was measured: as rows for machines, and as a table for people.
 *
 * @module
 */

import { median } from "./measure.ts";

/** What a figure, or a ratio, is held to. */
export type Target = { atLeast: number } | { atMost: number };

/** Something else that was measured in turn with the subject. */
export interface Peer {
  name: string;
  /** Its figure in each run. */
  runs: number[];
  /** For the subject's figure divided by this one's. */
  target?: Target | undefined;
}

/** A figure of Millrace, and of those it is compared with. */
export interface Measurement {
  name: string;
  unit: string;
  /** Its figure in each run. */
  runs: number[];
  /** For the figure itself. */
  target?: Target | undefined;
  peers?: Peer[] | undefined;
}

/** A line of `bench/results/*.json`. */
export interface Row {
  name: string;
  median: number;
  unit: string;
  /** Of a peer: Millrace's figure divided by the peer's, the median over the runs. */
  ratio: number | null;
  /** Of the ratio for a peer, of the figure otherwise. */
  target: string | null;
  runs: number[];
}

/** The rows of a measurement: its own, then one per peer. */
export function rowsOf({ name, unit, runs, target, peers = [] }: Measurement): Row[] {
  const own = { name, median: median(runs), unit, ratio: null, target: textOf(target, unit), runs };
  const others = peers.map((peer) => ({
    name: `${name}: ${peer.name}`,
    median: median(peer.runs),
    unit,
    ratio: ratioOf(runs, peer.runs),
    target: textOf(peer.target, "×"),
    runs: peer.runs,
  }));
  return [own, ...others];
}

/** A table in Markdown: a line per measurement, a column per peer. */
export function tableOf(measurements: readonly Measurement[]): string {
  const names = [...new Set(measurements.flatMap(({ peers = [] }) => peers.map((p) => p.name)))];
  const lines = measurements.map((measurement) => {
    const { name, unit, runs, target, peers = [] } = measurement;
    const figure = `${format(median(runs))} ${unit}${verdict(median(runs), target, unit)}`;
    const ratios = names.map((peerName) => {
      const peer = peers.find((candidate) => candidate.name === peerName);
      if (!peer) return "";
      const ratio = ratioOf(runs, peer.runs);
      return `${format(ratio)} ×${verdict(ratio, peer.target, "×")}`;
    });
    return [name, figure, ...ratios];
  });
  return markdown([["", "Millrace", ...names.map((name) => `against ${name}`)], ...lines]);
}

function ratioOf(own: readonly number[], other: readonly number[]): number {
  return median(own.map((value, i) => value / (other[i] ?? Number.NaN)));
}

function verdict(value: number, target: Target | undefined, unit: string): string {
  if (!target) return "";
  const met = "atLeast" in target ? value >= target.atLeast : value <= target.atMost;
  return ` (${textOf(target, unit)}: ${met ? "met" : "missed"})`;
}

function textOf(target: Target | undefined, unit: string): string | null {
  if (!target) return null;
  return "atLeast" in target ? `≥ ${target.atLeast} ${unit}` : `≤ ${target.atMost} ${unit}`;
}

function format(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString("en").replaceAll(",", " ");
  return Number(value.toPrecision(3)).toString();
}

function markdown(lines: readonly (readonly string[])[]): string {
  const columns = lines[0]?.length ?? 0;
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(3, ...lines.map((line) => line[column]?.length ?? 0)),
  );
  const cells = (line: readonly string[], fill = " "): string =>
    `| ${widths.map((width, column) => (line[column] ?? "").padEnd(width, fill)).join(" | ")} |`;
  const [head = [], ...body] = lines;
  return [cells(head), cells([], "-"), ...body.map((line) => cells(line))].join("\n");
}
