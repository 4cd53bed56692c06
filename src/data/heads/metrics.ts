// How good scores are beside labels: accuracy and F1 at 0.5, and the area under the ROC curve.
//
// Does not: choose a threshold.

export interface Metrics {
  readonly accuracy: number;
  /** Of class 1; 0 where nothing of it was found. */
  readonly f1: number;
  /** Probability that a document of class 1 has the higher score, equal scores counted half; null with one class. */
  readonly auc: number | null;
}

/** Metrics of scores in [0, 1] and labels of 0 and 1. */
export function metricsOf(scores: ArrayLike<number>, labels: ArrayLike<number>): Metrics {
  let right = 0;
  let truePositive = 0;
  let found = 0;
  let positive = 0;
  for (let i = 0; i < scores.length; i++) {
    const isFound = (scores[i] as number) > 0.5;
    const isPositive = labels[i] === 1;
    if (isFound === isPositive) right++;
    if (isFound) found++;
    if (isPositive) positive++;
    if (isFound && isPositive) truePositive++;
  }
  const negative = scores.length - positive;
  return {
    accuracy: scores.length === 0 ? 0 : right / scores.length,
    f1: truePositive === 0 ? 0 : (2 * truePositive) / (found + positive),
    auc: positive === 0 || negative === 0 ? null : rankSum(scores, labels) / (positive * negative),
  };
}

/** Pairs of one of each class that are in order (Mann and Whitney's U). */
function rankSum(scores: ArrayLike<number>, labels: ArrayLike<number>): number {
  const order = Array.from({ length: scores.length }, (_, i) => i).sort(
    (a, b) => (scores[a] as number) - (scores[b] as number),
  );
  let sum = 0;
  let below = 0;
  for (let start = 0, end = 0; start < order.length; start = end) {
    let positive = 0;
    const score = scores[order[start] as number];
    for (end = start; end < order.length && scores[order[end] as number] === score; end++) {
      if (labels[order[end] as number] === 1) positive++;
    }
    const negative = end - start - positive;
    sum += positive * (below + negative / 2);
    below += negative;
  }
  return sum;
}
