// Order statistics of a few repeated samples, and whether they fall into two groups.
//
// Does not: know what was measured.

/** The q-quantile, the lower of two neighbours: of half of an even number of values the smaller middle one. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) throw new RangeError('quantile of no values');
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(q * (sorted.length - 1))] as number;
}

export interface Spread {
  readonly count: number;
  readonly min: number;
  readonly median: number;
  readonly mean: number;
  readonly max: number;
  /** Standard deviation, with n - 1. */
  readonly std: number;
  /** What is told of two groups, where the samples fall into such; null where one group explains them. */
  readonly modes: Modes | null;
}

export interface Modes {
  readonly low: number;
  readonly high: number;
  /** Share of samples in the higher group. */
  readonly share: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    count,
    min: quantile(values, 0),
    median: quantile(values, 0.5),
    mean,
    max: quantile(values, 1),
    std: count > 1 ? Math.sqrt(squares / (count - 1)) : 0,
    modes: modesOf(values),
  };
}

/** Explained by two groups: this much of the variance lies between them. One group cut in its middle has 0.64 to 0.75. */
const explained = 0.85;
/** The means of two groups differ by so much of the lower one. */
const apart = 0.1;

/** The smaller group has so many samples: fewer are outliers. */
const smallerShare = 0.2;

/** The cut that leaves least variance within both sides, where it explains nearly all and neither side is a few outliers. */
export function modesOf(values: readonly number[]): Modes | null {
  const count = values.length;
  if (count < 6) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const sum = sorted.reduce((total, value) => total + value, 0);
  const variance = sorted.reduce((total, value) => total + (value - sum / count) ** 2, 0);
  let best = { between: 0, at: 0, low: 0, high: 0 };
  let left = sorted[0] as number;
  for (let at = 2; at <= count - 2; at++) {
    left += sorted[at - 1] as number;
    if (Math.min(at, count - at) < smallerShare * count) continue;
    const low = left / at;
    const high = (sum - left) / (count - at);
    const between = ((at * (count - at)) / count) * (high - low) ** 2;
    if (between > best.between) best = { between, at, low, high };
  }
  if (best.between < explained * variance || best.high < best.low * (1 + apart)) return null;
  return { low: best.low, high: best.high, share: (count - best.at) / count };
}
