import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Mt19937 } from '../base/rng.ts';
import { packageRoot } from '../base/version.ts';
import { blend, exhaustiveBlend, normaliseWeights, requestedSizes } from './blend.ts';
import { buildSampleIndices } from './indices.ts';

interface Case {
  readonly id: string;
  readonly corpus: string;
  readonly documents?: number[];
  readonly seed: number;
  readonly sequence_length: number;
  readonly num_samples_requested: number | null;
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
const folder = join(packageRoot, 'test/golden/megatron');
const golden = JSON.parse(readFileSync(join(folder, 'indices.json'), 'utf8')) as {
  corpora: { name: string; document_lengths: number[] }[];
  random: {
    first_mt19937_outputs: { seed: number; uint32: number[] }[];
    shuffles: { seed: number; n: number; result: number[] }[];
  };
  cases: Case[];
  blends: GoldenBlend[];
  exhaustive_blends: GoldenBlend[];
  requested_sizes: { weights: number[]; target: number; requested_per_dataset: number[] }[];
};

test('the generator and its shuffle are those of the reference', () => {
  for (const { seed, uint32 } of golden.random.first_mt19937_outputs) {
    const random = new Mt19937(seed);
    assert.deepEqual(
      uint32.map(() => random.bits()),
      uint32,
    );
  }
  for (const { seed, n, result } of golden.random.shuffles) {
    const items = Int32Array.from({ length: n }, (_, i) => i);
    new Mt19937(seed).shuffle(items);
    assert.deepEqual([...items], result);
  }
});

test('document, sample and shuffle indices equal the reference', () => {
  assert.equal(golden.cases.length, 9);
  for (const c of golden.cases) {
    const corpus = golden.corpora.find(({ name }) => name === c.corpus);
    const built = buildSampleIndices({
      lengths: Int32Array.from(corpus?.document_lengths ?? []),
      ...(c.documents ? { documents: Int32Array.from(c.documents) } : {}),
      sequenceLength: c.sequence_length,
      seed: c.seed,
      samples: c.num_samples_requested,
      keepPartialSample: c.drop_last_partial_sequence === false,
    });
    assert.deepEqual([...built.documentIndex], c.document_index, c.id);
    assert.deepEqual([...built.sampleIndex], c.sample_index.flat(), c.id);
    assert.deepEqual([...built.shuffleIndex], c.shuffle_index, c.id);
    assert.equal(built.samples, c.num_samples_built, c.id);
    if (c.num_epochs !== undefined) assert.equal(built.epochs, c.num_epochs, c.id);
    if (c.separate_final_epoch !== undefined) assert.equal(built.separateFinalEpoch, c.separate_final_epoch, c.id);
  }
});

test('the .npy files of one case agree', () => {
  const id = 'corpus_a_seed28_len64_epochs2.3';
  const c = golden.cases.find((one) => one.id === id) as Case;
  const npy = (name: string): Buffer => {
    const bytes = readFileSync(join(folder, `${id}_${name}.npy`));
    return bytes.subarray(10 + bytes.readUInt16LE(8));
  };
  const words = (bytes: Buffer): number[] =>
    Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readInt32LE(4 * i));
  assert.deepEqual(words(npy('document_index')), c.document_index);
  assert.deepEqual(words(npy('sample_index')), c.sample_index.flat());
  assert.deepEqual(words(npy('shuffle_index')), c.shuffle_index);
});

test('blends equal the reference', () => {
  for (const b of golden.blends) {
    const weights = normaliseWeights(b.weights_given);
    const built = blend(weights, b.size);
    assert.deepEqual([...built.datasetIndex], b.dataset_index);
    assert.deepEqual([...built.datasetSampleIndex], b.dataset_sample_index);
    for (const [i, weight] of weights.entries()) {
      assert.ok(Math.abs(weight - (b.weights_normalised[i] as number)) < 1e-15);
    }
  }
  for (const b of golden.exhaustive_blends) {
    const built = exhaustiveBlend(b.sizes);
    assert.deepEqual([...built.datasetIndex], b.dataset_index);
    assert.deepEqual([...built.datasetSampleIndex], b.dataset_sample_index);
  }
  for (const { weights, target, requested_per_dataset } of golden.requested_sizes) {
    assert.deepEqual(requestedSizes(weights, target), requested_per_dataset);
  }
});
