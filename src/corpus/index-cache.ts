// The indices of a data set and of a blend as files in a cache folder, laid out and named as Megatron does, so that a
// run needs no memory for them, and the next run or attempt finds them (ranks that come at once may each make them).
//
// Types are Megatron's: places and offsets are int32, or int64 beyond 2^31 - 1 places; windows uint32; data sets of a
// blend int16, their samples int64.
//
// Does not: decide whether files can be trusted (cached-arrays.ts), or what is in them (indices.ts, blend.ts).
import { UserError } from '../base/errors.ts';
import { Mt19937 } from '../base/rng.ts';
import { forEachBlended, forEachOfAll } from './blend.ts';
import { openCachedArrays } from './cached-arrays.ts';
import { buildDocumentIndex, buildShuffleIndex, forEachWindow, type SampleOrder, type SamplePlan } from './indices.ts';
import type { Description } from './megatron-description.ts';
import type { NpyFile, NpyType } from './npy.ts';

export interface SampleIndexFiles {
  readonly dir: string;
  readonly description: Description;
  /** The .idx that gives the lengths. */
  readonly source: string;
  readonly plan: SamplePlan;
  /** Sequences of the file; numbers in the document index are below it. */
  readonly sequences: number;
  readonly sequenceLength: number;
  readonly seed: number;
  /** Number of documents used, of the file's; the lists themselves are asked for only when something must be built. */
  readonly documents: number;
  readonly lists: () => { readonly lengths: Int32Array; readonly documents: Int32Array };
}

/** Type of the sample index, by the entries of the document index. */
export function sampleIndexType(places: number): NpyType {
  return places <= 2 ** 31 - 1 ? 'int32' : 'int64';
}

/** The three indices of a data set; built first where they are not there. */
export function openSampleOrder(options: SampleIndexFiles): SampleOrder & { readonly built: boolean } {
  const { dir, description, source, plan, seed, sequenceLength } = options;
  const places = plan.epochs * options.documents;
  const { samples } = plan;
  const { files, built } = openCachedArrays({
    dir,
    description,
    source,
    arrays: [
      { name: 'document_index', type: 'int32', shape: [places] },
      { name: 'sample_index', type: sampleIndexType(places), shape: [samples + 1, 2] },
      { name: 'shuffle_index', type: 'uint32', shape: [samples] },
    ],
    build: (fill) => {
      const { lengths, documents } = options.lists();
      const random = new Mt19937(seed);
      const documentIndex = buildDocumentIndex(plan, documents, random);
      fill('document_index', (push) => {
        for (const document of documentIndex) push(document);
      });
      fill('sample_index', (push) => {
        forEachWindow(lengths, documentIndex, sequenceLength, samples, (place, offset) => {
          push(place);
          push(offset);
        });
      });
      fill('shuffle_index', (push) => {
        for (const window of buildShuffleIndex(plan, random)) push(window);
      });
    },
  });
  const [documentIndex, sampleIndex, shuffleIndex] = files as [NpyFile, NpyFile, NpyFile];
  return {
    samples,
    places,
    built,
    documentAt: (place) => below(options.sequences, documentIndex, place),
    placeOf: (window) => below(places, sampleIndex, 2 * window),
    offsetOf: (window) => below(2 ** 31, sampleIndex, 2 * window + 1),
    windowOf: (i) => below(samples, shuffleIndex, i),
    close: () => {
      for (const file of files) file.close();
    },
  };
}

/** Which data set gives the i-th sample of a mixture, and which of its samples that is. */
export interface BlendOrder {
  readonly size: number;
  readonly datasetOf: (i: number) => number;
  readonly sampleOf: (i: number) => number;
  readonly close: () => void;
}

export interface BlendFiles {
  readonly dir: string;
  readonly description: Description;
  /** Weights that add up to one; with `size` null the samples of each data set, all of which are used. */
  readonly weights: readonly number[];
  readonly size: number | null;
}

/** The two indices of a blend; built first where they are not there. */
export function openBlendOrder({
  dir,
  description,
  weights,
  size,
}: BlendFiles): BlendOrder & { readonly built: boolean } {
  const count = size ?? weights.reduce((sum, weight) => sum + weight, 0);
  const eachPair = (say: (dataset: number, sample: number) => void): void =>
    size === null ? forEachOfAll(weights, say) : forEachBlended(weights, size, say);
  const { files, built } = openCachedArrays({
    dir,
    description,
    source: null,
    arrays: [
      { name: 'dataset_index', type: 'int16', shape: [count] },
      { name: 'dataset_sample_index', type: 'int64', shape: [count] },
    ],
    // Chosen twice rather than kept: memory does not grow with the run.
    build: (fill) => {
      fill('dataset_index', (push) => eachPair((dataset) => push(dataset)));
      fill('dataset_sample_index', (push) => eachPair((_, sample) => push(sample)));
    },
  });
  const [datasetIndex, sampleIndex] = files as [NpyFile, NpyFile];
  return {
    size: count,
    built,
    datasetOf: (i) => below(weights.length, datasetIndex, i),
    sampleOf: (i) => below(count, sampleIndex, i),
    close: () => {
      for (const file of files) file.close();
    },
  };
}

/** A number of an index; one that cannot be is damage that came after the file was opened, or that its size hid. */
function below(end: number, file: NpyFile, i: number): number {
  const value = file.at(i);
  if (value >= 0 && value < end) return value;
  throw new UserError(`the index file ${file.path} is damaged`, {
    found: `${value} at entry ${i}`,
    expected: `a number from 0 to ${end - 1}`,
    next: 'remove it; it is made anew when it is needed',
  });
}
