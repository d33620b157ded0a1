/**
 * Measuring in turn: A, B, A, B, … so that what else the machine does meanwhile meets all alike.
 *
 * @module
 */

/** One that is measured against others. */
export interface Subject {
  name: string;
  /** One run; answers its figure, in the unit that all subjects share. */
  run(): Promise<number>;
}

/** The figures of each subject, by name, in the order of the runs. */
export type Figures = ReadonlyMap<string, number[]>;

/** Runs all subjects once after the other, `rounds` times. */
export async function measureInTurn(
  subjects: readonly Subject[],
  rounds: number,
): Promise<Figures> {
  const figures = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const { name, run } of subjects) figures.get(name)?.push(await run());
  }
  return figures;
}

/** After how many commits the clock is asked. */
const clockEvery = 16;

/**
 * Lets `appenders` commit, each again and again, for `ms` milliseconds; answers how many commits there
 * were per second.
 */
export async function commitsPerSecond(
  commit: () => Promise<unknown> | unknown,
  appenders: number,
  ms: number,
): Promise<number> {
  let commits = 0;
  let over = false;
  const start = performance.now();
  const appender = async (): Promise<void> => {
    while (!over) {
      await commit();
      commits++;
      // Not every time: the clock would be a part of what is measured.
      if (commits % clockEvery === 0) over = performance.now() - start >= ms;
    }
  };
  await Promise.all(Array.from({ length: appenders }, appender));
  return (commits * 1000) / (performance.now() - start);
}

/** How long a call takes, in milliseconds. */
export async function timed(call: () => Promise<unknown> | unknown): Promise<number> {
  const start = performance.now();
  await call();
  return performance.now() - start;
}

/** The value that a share of all values (0 to 1) do not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = Math.min(sorted.length - 1, Math.max(0, Math.ceil(sorted.length * share) - 1));
  return sorted[at] ?? Number.NaN;
}

/** The value in the middle. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}
