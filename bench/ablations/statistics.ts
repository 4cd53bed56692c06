// Means, spreads and paired differences over seeds, with 95 % intervals of Student's t.
//
// Does not: test hypotheses in the plural; an interval that excludes 0 in one of many comparisons proves little.

/** 97.5 % quantiles of Student's t for 1, 2, ... 30 degrees of freedom (any table of statistics). */
const t975 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11,
  2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
] as const;

export interface Summary {
  readonly n: number;
  readonly mean: number;
  /** Sample standard deviation; NaN for one value. */
  readonly sd: number;
  /** Half the width of the 95 % interval of the mean; NaN for one value. */
  readonly half: number;
}

export function summarise(values: readonly number[]): Summary {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const sd = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1));
  const t = n > 31 ? 1.96 : (t975[n - 2] ?? Number.NaN);
  return { n, mean, sd, half: (t * sd) / Math.sqrt(n) };
}

/** a[i] - b[i], where both have the seed i. */
export function pairedDifference(a: readonly number[], b: readonly number[]): Summary {
  if (a.length !== b.length)
    throw new Error(`pairedDifference: got ${a.length} and ${b.length} values, expected pairs`);
  return summarise(a.map((value, i) => value - (b[i] as number)));
}

/** Whether the 95 % interval excludes 0. */
export function isSeen({ mean, half }: Summary): boolean {
  return Math.abs(mean) > half;
}
