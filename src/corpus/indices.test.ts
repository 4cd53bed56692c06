import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goldenJson } from '../../test/golden.ts';
import { Mt19937 } from '../base/rng.ts';
import { blend, blendSize, exhaustiveBlend, forEachOfAll, normaliseWeights, requestedSizes } from './blend.ts';
import { sampleIndexType } from './index-cache.ts';
import { buildSampleIndices, planSamples } from './indices.ts';

interface Case {
  readonly id: string;
  readonly corpus: string;
  readonly documents?: number[];
  readonly seed: number;
  readonly sequence_length: number;
  readonly num_samples_requested: number | null;
  readonly tokens_per_epoch?: number;
  readonly num_epochs?: number;
  readonly separate_final_epoch?: boolean;
  readonly drop_last_partial_sequence?: boolean;
  readonly num_samples_built: number;
  readonly document_index: number[];
  readonly sample_index: number[][];
  readonly shuffle_index: number[];
}
interface GoldenBlend {
  readonly weights_given: number[];
  readonly weights_normalised: number[];
  readonly sizes: number[];
  readonly size: number;
  readonly dataset_index: number[];
  readonly dataset_sample_index: number[];
}
const golden = goldenJson<{
  corpora: { name: string; document_lengths: number[] }[];
  random: {
    first_mt19937_outputs: { seed: number; uint32: number[] }[];
    shuffles: { seed: number; n: number; result: number[] }[];
  };
  cases: Case[];
  blends: GoldenBlend[];
  exhaustive_blends: GoldenBlend[];
  requested_sizes: { weights: number[]; target: number; requested_per_dataset: number[] }[];
}>('megatron', 'indices.json');

test('the generator and its shuffle are those of the reference', () => {
  assert.equal(golden.random.first_mt19937_outputs.length, 3);
  for (const { seed, uint32 } of golden.random.first_mt19937_outputs) {
    const random = new Mt19937(seed);
    assert.deepEqual(
      uint32.map(() => random.bits()),
      uint32,
    );
  }
  assert.equal(golden.random.shuffles.length, 5);
  for (const { seed, n, result } of golden.random.shuffles) {
    const items = Int32Array.from({ length: n }, (_, i) => i);
    new Mt19937(seed).shuffle(items);
    assert.deepEqual([...items], result);
  }
});

test('document, sample and shuffle indices equal the reference', () => {
  assert.equal(golden.cases.length, 9);
  for (const c of golden.cases) {
    const lengths = golden.corpora.find(({ name }) => name === c.corpus)?.document_lengths ?? [];
    const options = {
      sequenceLength: c.sequence_length,
      samples: c.num_samples_requested,
      keepPartialSample: c.drop_last_partial_sequence === false,
    };
    const built = buildSampleIndices({
      ...options,
      lengths: Int32Array.from(lengths),
      documents: c.documents && Int32Array.from(c.documents),
      seed: c.seed,
    });
    assert.deepEqual([...built.documentIndex], c.document_index, c.id);
    assert.deepEqual([...built.sampleIndex], c.sample_index.flat(), c.id);
    assert.deepEqual([...built.shuffleIndex], c.shuffle_index, c.id);
    const tokens = (c.documents ?? [...lengths.keys()]).reduce((sum, d) => sum + (lengths[d] as number), 0);
    const plan = planSamples({ ...options, tokens });
    assert.equal(plan.samples, c.num_samples_built, c.id);
    if (c.tokens_per_epoch !== undefined) assert.equal(tokens, c.tokens_per_epoch, c.id);
    if (c.num_epochs !== undefined) assert.equal(plan.epochs, c.num_epochs, c.id);
    if (c.separate_final_epoch !== undefined) assert.equal(plan.separateFinalEpoch, c.separate_final_epoch, c.id);
  }
});

test('empty documents take a place and no tokens', () => {
  const built = buildSampleIndices({
    lengths: Int32Array.from([0, 5, 0, 0, 4, 0]),
    sequenceLength: 2,
    seed: 3,
    samples: null,
  });
  assert.equal(built.samples, 4);
  const order = [...built.documentIndex];
  assert.deepEqual([...order].sort(), [0, 1, 2, 3, 4, 5]);
  // Every window begins two tokens further, at a token that is there (the first one: at the first place).
  const starts = [0];
  for (const d of order) starts.push((starts.at(-1) as number) + ([0, 5, 0, 0, 4, 0][d] as number));
  for (let window = 0; window <= 4; window++) {
    const [place, offset] = [built.sampleIndex[2 * window] as number, built.sampleIndex[2 * window + 1] as number];
    assert.equal((starts[place] as number) + offset, 2 * window);
  }
});

test('numbers beyond 32 bits: plans of a run of trillions of tokens', () => {
  // 15 T tokens of 4,096 in 3.2 T tokens of data: five epochs, the last one of which is used to 69 %.
  const plan = planSamples({ tokens: 3.2e12, sequenceLength: 4096, samples: 3_662_109_375 });
  assert.deepEqual(plan, {
    epochs: 5,
    separateFinalEpoch: true,
    samplesBeforeFinal: 3_124_999_999,
    samples: 3_906_249_999,
  });
  assert.throws(() => planSamples({ tokens: 3e12, sequenceLength: 512, samples: null }), /too many samples/);
  assert.equal(sampleIndexType(2 ** 31 - 1), 'int32');
  assert.equal(sampleIndexType(2 ** 31), 'int64');
  // An epoch is one token short of the samples, and exactly enough.
  assert.equal(planSamples({ tokens: 1e15, sequenceLength: 1e6, samples: 1e9 }).epochs, 2);
  assert.equal(planSamples({ tokens: 1e15 + 1, sequenceLength: 1e6, samples: 1e9 }).epochs, 1);
});

test('partial last windows are counted in single precision, as the original does', () => {
  const count = (tokens: number): number =>
    planSamples({ tokens, sequenceLength: 64, samples: null, keepPartialSample: true }).samples;
  assert.equal(count(64 * 10 + 1), 10);
  assert.equal(count(64 * 10 + 2), 11);
  // 2^26 + 2 rounds to 2^26 as a float: the one token beyond the last whole window is lost.
  assert.equal(count(2 ** 26 + 3), 2 ** 20);
});

test('blends equal the reference', () => {
  assert.equal(golden.blends.length, 7);
  for (const b of golden.blends) {
    const weights = normaliseWeights(b.weights_given);
    assert.deepEqual(weights, b.weights_normalised);
    const built = blend(weights, b.size);
    assert.deepEqual([...built.datasetIndex], b.dataset_index);
    assert.deepEqual([...built.datasetSampleIndex], b.dataset_sample_index);
  }
  assert.equal(golden.exhaustive_blends.length, 3);
  for (const b of golden.exhaustive_blends) {
    const built = exhaustiveBlend(b.sizes);
    assert.deepEqual([...built.datasetIndex], b.dataset_index);
    assert.deepEqual([...built.datasetSampleIndex], b.dataset_sample_index);
    const streamed: number[][] = [];
    forEachOfAll(b.sizes, (dataset, sample) => streamed.push([dataset, sample]));
    assert.deepEqual(
      streamed,
      b.dataset_index.map((dataset, i) => [dataset, b.dataset_sample_index[i]]),
    );
  }
  assert.equal(golden.requested_sizes.length, 7);
  for (const { weights, target, requested_per_dataset } of golden.requested_sizes) {
    assert.deepEqual(requestedSizes(weights, target), requested_per_dataset);
  }
  assert.equal(blendSize([0.7, 0.2, 0.1], 500), 500);
  assert.equal(blendSize([1 / 3, 1 / 3, 1 / 3], 100), 102);
});

test('many weights are added in the order of numpy', () => {
  const weights = Array.from({ length: 20 }, (_, i) => 1 / (i + 3));
  // numpy.sum(weights); one after another they add up to 2.1908132502172744.
  const sum = 2.190813250217275;
  assert.deepEqual(
    normaliseWeights(weights),
    weights.map((weight) => weight / sum),
  );
});
