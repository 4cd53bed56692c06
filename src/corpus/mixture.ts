// Rows of training from several token files by weights, as Megatron mixes them; from one file exactly TokenBatches.
//
// With weights, each data set is asked for its share of the samples and half a per cent more, and the blend says which
// data set gives the i-th sample. Weights of null stand for the numbers of samples of one epoch of each data set; no
// data set is then repeated. Every data set is shuffled by the same seed.
// Source: NVIDIA/Megatron-LM, megatron/core/datasets/blended_megatron_dataset_builder.py and blended_dataset.py.
//
// Does not: read ahead (prefetch.ts), or know what a step is.
import { UserError } from '../base/errors.ts';
import { blend, blendSize, exhaustiveBlend, normaliseWeights, requestedSizes } from './blend.ts';
import { type BlendOrder, openBlendOrder } from './index-cache.ts';
import { describeBlend } from './megatron-description.ts';
import { type Batch, emptyBatch, type RowOptions, SampleRows, type Sighting } from './sample-rows.ts';

export interface MixtureDataset {
  /** Prefix of the .bin and .idx files. */
  readonly path: string;
  /** Need not add up to anything; null for all data sets: by their number of samples. */
  readonly weight: number | null;
}

export interface MixtureOptions extends RowOptions {
  readonly datasets: readonly MixtureDataset[];
  /** Samples the whole run needs (steps * B); null: one epoch of one data set, or all samples of all that have no weights. */
  readonly samples: number | null;
}

/** A blend holds the numbers of its data sets in 16 bits. */
const mostDatasets = 32766;

export class Mixture {
  readonly sequenceLength: number;
  /** Samples that may be asked for. */
  readonly samples: number;
  private readonly datasets: readonly SampleRows[];
  /** Undefined for one data set. */
  private readonly order: BlendOrder | undefined;

  /** Throws a UserError where weights make no sense, or files are missing, damaged or too small. */
  constructor(options: MixtureOptions) {
    const weights = checkedWeights(options);
    this.sequenceLength = options.sequenceLength;
    const { datasets, samples, ...rows } = options;
    const several = datasets.length > 1;
    const shares =
      several && weights && samples !== null ? requestedSizes(normaliseWeights(weights), samples) : undefined;
    const open: { close(): void }[] = [];
    try {
      this.datasets = datasets.map(({ path }, d) => {
        // Without weights each data set is read once at most; one alone is asked for all there is to read.
        const dataset = new SampleRows({ ...rows, path, samples: several ? (shares?.[d] ?? null) : samples });
        open.push(dataset);
        return dataset;
      });
      this.order = several ? openOrder(this.datasets, weights, options) : undefined;
      if (this.order) open.push(this.order);
      this.samples = samples ?? this.order?.size ?? (this.datasets[0] as SampleRows).samples;
      if (this.order && this.order.size < this.samples) {
        throw new UserError('the data sets of a mixture without weights have too few samples', {
          found: `${this.order.size} samples of ${options.sequenceLength} tokens in one epoch of all`,
          expected: `${this.samples}, as the run needs`,
          next: 'give weights (data sets are then repeated), take more data or fewer steps',
        });
      }
    } catch (error) {
      for (const one of open) one.close();
      throw error;
    }
  }

  /** Samples [first, first + B) of the run. */
  batch(first: number, B: number): Batch {
    if (!(first >= 0 && first + B <= this.samples)) {
      throw new Error(`Mixture: samples [${first}, ${first + B}) are not in [0, ${this.samples})`);
    }
    const batch = emptyBatch(B, this.sequenceLength);
    for (let b = 0; b < B; b++) {
      const { dataset, sample } = this.sourceOf(first + b);
      (this.datasets[dataset] as SampleRows).fill(sample, batch, b);
    }
    return batch;
  }

  /** Which data set gives the i-th sample, and which of its samples that is. */
  sourceOf(i: number): { readonly dataset: number; readonly sample: number } {
    return { dataset: this.order?.datasetOf(i) ?? 0, sample: this.order?.sampleOf(i) ?? i };
  }

  /** The samples of the mixture that hold tokens of a document of a data set, in the order of training. */
  whereIs(dataset: number, document: number): Sighting[] {
    const rows = this.datasets[dataset];
    if (!rows) throw new Error(`Mixture: data set ${dataset} is not in [0, ${this.datasets.length})`);
    const { order } = this;
    if (!order) return rows.sightings(document, this.samples);
    const bySample = new Map<number, Sighting[]>();
    for (const sighting of rows.sightings(document, rows.samples)) {
      const others = bySample.get(sighting.sample);
      if (others) others.push(sighting);
      else bySample.set(sighting.sample, [sighting]);
    }
    const found: Sighting[] = [];
    for (let i = 0; i < this.samples; i++) {
      if (order.datasetOf(i) !== dataset) continue;
      for (const { from, to } of bySample.get(order.sampleOf(i)) ?? []) found.push({ sample: i, from, to });
    }
    return found;
  }

  close(): void {
    this.order?.close();
    for (const dataset of this.datasets) dataset.close();
  }
}

/** The weights, or undefined where there are none. */
function checkedWeights({ datasets, samples }: MixtureOptions): number[] | undefined {
  const list = datasets.map(({ path, weight }) => `${path}: ${weight}`).join(', ');
  if (datasets.length === 0 || datasets.length > mostDatasets) {
    throw new UserError('a mixture needs data sets', {
      found: `${datasets.length}`,
      expected: `1 to ${mostDatasets}`,
    });
  }
  const weights = datasets.map(({ weight }) => weight).filter((weight) => weight !== null);
  if (weights.length === 0) return undefined;
  if (weights.length < datasets.length) {
    throw new UserError('a mixture has weights for some of its data sets only', {
      found: list,
      expected: 'a weight for each of them, or null for each of them (then their numbers of samples are the weights)',
    });
  }
  if (weights.some((weight) => !(weight > 0 && Number.isFinite(weight)))) {
    throw new UserError('a mixture has a weight that is not a positive number', {
      found: list,
      next: 'leave out data sets that shall not be read',
    });
  }
  if (samples === null && datasets.length > 1) {
    throw new UserError('a mixture with weights needs a number of samples', {
      found: list,
      next: 'give the samples of the run, or null for every weight to read each data set once',
    });
  }
  return weights;
}

function openOrder(
  datasets: readonly SampleRows[],
  given: readonly number[] | undefined,
  { samples, cacheDir }: MixtureOptions,
): BlendOrder {
  const counts = datasets.map((dataset) => dataset.samples);
  const all = counts.reduce((sum, count) => sum + count, 0);
  let weights: readonly number[] = counts;
  let size: number | null = null;
  if (samples !== null) {
    // Megatron brings weights to a sum of one twice; the second time may change their last bits.
    weights = given ? normaliseWeights(normaliseWeights(given)) : normaliseWeights(counts);
    size = given ? blendSize(normaliseWeights(given), samples) : Math.min(samples, all);
  }
  if (cacheDir !== undefined) {
    const description = describeBlend(
      datasets.map(({ describedBy }) => describedBy),
      weights,
      size,
    );
    return openBlendOrder({ dir: cacheDir, description, weights, size });
  }
  // In memory no more than will be asked for: a blend does not depend on its size.
  const { datasetIndex, datasetSampleIndex } =
    size === null ? exhaustiveBlend(weights) : blend(weights, Math.min(size, samples ?? size));
  return {
    size: datasetIndex.length,
    datasetOf: (i) => datasetIndex[i] as number,
    sampleOf: (i) => datasetSampleIndex[i] as number,
    close: () => {},
  };
}
