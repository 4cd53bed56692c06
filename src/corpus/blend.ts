// Mixing several data sets: which one gives the i-th sample, so that every prefix of the run has the shares of the
// weights as nearly as possible. Megatron's blended data set, number for number.
//
// Source: NVIDIA/Megatron-LM, megatron/core/datasets/helpers.cpp (build_blending_indices) and
// blended_megatron_dataset_builder.py (the half per cent of margin).
//
// Does not: read samples.

export interface Blend {
  /** [size] the data set of each sample. */
  readonly datasetIndex: Int16Array;
  /** [size] the how-manieth sample of that data set. */
  readonly datasetSampleIndex: Int32Array;
}

/** Weights that add up to one. */
export function normaliseWeights(weights: readonly number[]): number[] {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** `size` samples by weights that add up to one: each time the data set that is furthest behind its share. */
export function blend(weights: readonly number[], size: number): Blend {
  return choose(weights, size, undefined);
}

/** All samples of all data sets, spread evenly. */
export function exhaustiveBlend(sizes: readonly number[]): Blend {
  const size = sizes.reduce((total, count) => total + count, 0);
  return choose(
    sizes.map((count) => count / size),
    size,
    sizes,
  );
}

/** Samples to ask of each data set for `target` samples in all. The margin of 0.5 % covers rounding of the shares. */
export function requestedSizes(weights: readonly number[], target: number): number[] {
  return weights.map((weight) => Math.ceil(Math.ceil(target * weight) * 1.005));
}

function choose(weights: readonly number[], size: number, limits: readonly number[] | undefined): Blend {
  const datasetIndex = new Int16Array(size);
  const datasetSampleIndex = new Int32Array(size);
  const taken = weights.map(() => 0);
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
    datasetIndex[i] = best;
    datasetSampleIndex[i] = taken[best] as number;
    taken[best] = (taken[best] as number) + 1;
  }
  return { datasetIndex, datasetSampleIndex };
}
