// Mixing several data sets: which one gives the i-th sample, so that every prefix of the run has the shares of the
// weights as nearly as possible. Megatron's blended data set, number for number.
//
// Source: NVIDIA/Megatron-LM, megatron/core/datasets/helpers.cpp (build_blending_indices), utils.py (normalize) and
// blended_megatron_dataset_builder.py (the half per cent of margin).
//
// Does not: read samples.

export interface Blend {
  /** [size] the data set of each sample. */
  readonly datasetIndex: Int16Array;
  /** [size] the how-manieth sample of that data set. */
  readonly datasetSampleIndex: Int32Array;
}

/** Weights that add up to one, with the rounding of numpy. */
export function normaliseWeights(weights: readonly number[]): number[] {
  const sum = numpySum(weights, 0, weights.length);
  return weights.map((weight) => weight / sum);
}

/** `size` samples by weights that add up to one: each time the data set that is furthest behind its share. */
export function blend(weights: readonly number[], size: number): Blend {
  return collect(size, (say) => forEachBlended(weights, size, say));
}

/** All samples of all data sets, spread evenly. */
export function exhaustiveBlend(sizes: readonly number[]): Blend {
  return collect(total(sizes), (say) => forEachOfAll(sizes, say));
}

/** Samples to ask of each data set for `target` samples in all. The margin of 0.5 % covers rounding of the shares. */
export function requestedSizes(weights: readonly number[], target: number): number[] {
  return weights.map((weight) => Math.ceil(Math.ceil(target * weight) * 1.005));
}

/** Samples of the whole blend that Megatron makes for `target` samples: each share is rounded up. */
export function blendSize(weights: readonly number[], target: number): number {
  return total(weights.map((weight) => Math.ceil(target * weight)));
}

type Say = (dataset: number, sample: number) => void;

/** `blend` in a stream: says (data set, its sample) `size` times. */
export function forEachBlended(weights: readonly number[], size: number, say: Say): void {
  choose(weights, size, undefined, say);
}

/** `exhaustiveBlend` in a stream. */
export function forEachOfAll(sizes: readonly number[], say: Say): void {
  const size = total(sizes);
  choose(
    sizes.map((count) => count / size),
    size,
    sizes,
    say,
  );
}

function total(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}

function collect(size: number, run: (say: Say) => void): Blend {
  const datasetIndex = new Int16Array(size);
  const datasetSampleIndex = new Int32Array(size);
  let i = 0;
  run((dataset, sample) => {
    datasetIndex[i] = dataset;
    datasetSampleIndex[i++] = sample;
  });
  return { datasetIndex, datasetSampleIndex };
}

function choose(weights: readonly number[], size: number, limits: readonly number[] | undefined, say: Say): void {
  const taken = new Float64Array(weights.length);
  for (let i = 0; i < size; i++) {
    const drawn = Math.max(i, 1);
    let best = -1;
    let furthest = Number.NEGATIVE_INFINITY;
    for (let d = 0; d < weights.length; d++) {
      if (limits && (taken[d] as number) >= (limits[d] as number)) continue;
      const behind = (weights[d] as number) * drawn - (taken[d] as number);
      if (behind > furthest) {
        furthest = behind;
        best = d;
      }
    }
    say(best, taken[best] as number);
    taken[best] = (taken[best] as number) + 1;
  }
}

/**
 * The sum of numbers [from, from + n) as numpy adds them: fewer than 8 one by one, up to 128 in eight running sums,
 * more in halves. Another order would round otherwise and, at a tie between data sets, choose another one.
 * Source: numpy, numpy/core/src/umath/loops_utils.h.src (pairwise sum).
 */
function numpySum(values: readonly number[], from: number, n: number): number {
  if (n > 128) {
    const half = Math.floor(n / 2) - (Math.floor(n / 2) % 8);
    return numpySum(values, from, half) + numpySum(values, from + half, n - half);
  }
  let sum = 0;
  let i = 0;
  if (n >= 8) {
    const r = Float64Array.from(values.slice(from, from + 8));
    for (i = 8; i < n - (n % 8); i++) r[i % 8] = (r[i % 8] as number) + (values[from + i] as number);
    const [a, b, c, d, e, f, g, h] = r as unknown as [number, number, number, number, number, number, number, number];
    sum = a + b + (c + d) + (e + f + (g + h));
  }
  for (; i < n; i++) sum += values[from + i] as number;
  return sum;
}
