import assert from 'node:assert/strict';
import { test } from 'node:test';
import { availableBackends } from '../../test/backends.ts';
import { Random } from '../base/rng.ts';
import { Engine } from '../tensor/tensor.ts';
import { Apertus } from './apertus.ts';
import { modelConfig } from './config.ts';

const sizes = {
  layers: 3,
  hidden: 16,
  intermediate: 32,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  vocabularySize: 48,
  maxPositions: 64,
  ropeTheta: 10_000,
  ropeScaling: null,
  rmsNormEps: 1e-5,
  initStd: 0.05,
};

for (const { name, backend } of availableBackends()) {
  for (const activation of ['xielu', 'swiglu', 'relu2'] as const) {
    test(`${name}, ${activation}: a bucket is final when it is announced, those after it are not yet, and all cover the buffer`, () => {
      const model = new Apertus(new Engine(backend()), modelConfig({ ...sizes, activation }));
      model.initialise(3);
      const N = 12;
      const random = new Random(1, 'tokens');
      const ids = (): Int32Array => Int32Array.from({ length: N }, () => random.integer(48));
      const positions = Int32Array.from({ length: N }, (_, n) => n);
      const batch = { B: 1, T: N, tokens: ids(), positions, lo: new Int32Array(N), hi: positions.map((n) => n + 1) };
      const labels = ids();
      const { gradients, size } = model.parameters;
      const buckets = model.gradientBuckets;
      assert.deepEqual(
        buckets
          .map(({ from, to }) => [from, to] as const)
          .sort((a, b) => a[0] - b[0])
          .reduce((at, [from, to]) => (from === at ? to : Number.NaN), 0),
        size,
      );
      const seen: Float32Array[] = [];
      model.onBucket = (bucket) => {
        assert.equal(bucket, seen.length);
        const { from, to } = buckets[bucket] as { from: number; to: number };
        seen.push(gradients.slice(from, to));
        // The embedding's gradient comes last of all: what announces a layer does so before the pass is over.
        if (bucket < sizes.layers) {
          const embedding = buckets[sizes.layers] as { from: number; to: number };
          assert.ok(gradients.subarray(embedding.from, embedding.to).every((value) => value === 0));
        }
      };
      model.engine.gradients(() => model.loss(batch, labels, new Float32Array(N).fill(1 / N)));
      assert.equal(seen.length, buckets.length);
      for (const [bucket, values] of seen.entries()) {
        const { from, to } = buckets[bucket] as { from: number; to: number };
        assert.deepEqual(values, gradients.slice(from, to), `bucket ${bucket}`);
        if (bucket < sizes.layers) assert.ok(values.some((value) => value !== 0));
      }
    });
  }
}
