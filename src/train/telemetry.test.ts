import assert from 'node:assert/strict';
import { test } from 'node:test';
import { availableBackends } from '../../test/backends.ts';
import { Random } from '../base/rng.ts';
import { ParameterSet } from '../tensor/parameters.ts';
import { Engine } from '../tensor/tensor.ts';
import { GradientNoise, measurePeak, parameterNorms, parameterSquares, Throughput } from './telemetry.ts';

/**
 * Gradients with a known noise scale: every sample's gradient is G plus independent normal noise of standard deviation
 * `sigma` in each of D directions, so tr(Sigma) = D sigma^2 and B_noise = D sigma^2 / |G|^2. Returns the squares of the
 * shards' terms and of their sum.
 */
function step(random: Random, G: readonly number[], sigma: number, weights: readonly number[]): [number[], number] {
  const W = weights.reduce((sum, w) => sum + w, 0);
  const sum = new Float64Array(G.length);
  const squares = weights.map((w) => {
    let square = 0;
    G.forEach((mean, d) => {
      // The mean of w samples.
      const term = (w / W) * (mean + (w > 0 ? (sigma / Math.sqrt(w)) * random.normal() : 0));
      sum[d] = (sum[d] as number) + term;
      square += term * term;
    });
    return square;
  });
  return [squares, sum.reduce((total, x) => total + x * x, 0)];
}

for (const [name, weights] of [
  ['equal', [16, 16, 16, 16]],
  ['unequal', [3, 40, 1, 20, 0, 9]],
  ['two', [100, 28]],
] as const) {
  test(`the noise scale of a problem that has a known one is found, from shards of ${name} weight`, () => {
    const random = new Random(1, 'noise', name);
    const G = Array.from({ length: 40 }, () => 0.5 * random.normal());
    const sigma = 2;
    const W = weights.reduce<number>((sum, w) => sum + w, 0);
    const expected = (G.length * sigma ** 2) / G.reduce((sum, g) => sum + g * g, 0);
    const noise = new GradientNoise(undefined, 0.9999);
    for (let t = 0; t < 4000; t++) {
      const [squares, big] = step(random, G, sigma, weights);
      noise.add(squares, weights, big, W);
    }
    const ratio = (noise.scale as number) / expected;
    assert.ok(Math.abs(ratio - 1) < 0.04, `${noise.scale} for ${expected}`);
  });
}

test('for equal shards the estimates are those of the paper', () => {
  const [n, b, G2big] = [4, 8, 5];
  const small = [11, 12, 9, 16];
  const noise = new GradientNoise();
  // The paper has means over the shard; the terms of the sum are 1/n of them.
  noise.add(
    small.map((square) => square / n ** 2),
    small.map(() => b),
    G2big,
    n * b,
  );
  const mean = small.reduce((sum, square) => sum + square, 0) / n;
  const signal = (n * b * G2big - b * mean) / (n * b - b);
  const S = (mean - G2big) / (1 / b - 1 / (n * b));
  assert.deepEqual(noise.state(), { count: 1, signal, noise: S });
  assert.equal(noise.scale, S / signal);
});

test('the noise scale goes on from a saved state, and says nothing where nothing is known', () => {
  const random = new Random(2, 'noise');
  const G = [1, 2, 3];
  const noise = new GradientNoise();
  assert.equal(noise.scale, undefined);
  noise.add([4], [8], 4, 8);
  noise.add([4, 0], [8, 0], 4, 8);
  noise.add([Number.NaN, 1], [4, 4], 1, 8);
  assert.equal(noise.scale, undefined, 'one shard cannot tell');
  let restored: GradientNoise | undefined;
  for (let t = 0; t < 300; t++) {
    if (t === 120) restored = new GradientNoise(JSON.parse(JSON.stringify(noise.state())));
    const [squares, big] = step(random, G, 1, [4, 4]);
    noise.add(squares, [4, 4], big, 8);
    restored?.add(squares, [4, 4], big, 8);
  }
  assert.equal(restored?.scale, noise.scale);
  assert.ok(noise.scale !== undefined);
  assert.throws(() => noise.add([1, 2], [1], 1, 1), /got 2 squares and 1 weights/);
});

for (const { name: kind, backend } of availableBackends()) {
  test(`norms of parameters, whole and from the ranges of ranks (${kind})`, () => {
    const parameters = new ParameterSet(new Engine(backend()), [
      { name: 'a', shape: [3, 5] },
      { name: 'b', shape: [7] },
      { name: 'c', shape: [2, 2] },
    ]);
    const random = new Random(3, 'values');
    for (let i = 0; i < parameters.size; i++) parameters.values[i] = random.normal();
    const expected = parameters.slices.map(({ name }) => parameters.valuesOf(name).reduce((sum, x) => sum + x * x, 0));
    const whole = parameterSquares(parameters, parameters.values, 0, parameters.size);
    whole.forEach((square, i) => {
      assert.ok(Math.abs(square - (expected[i] as number)) < 1e-6);
    });
    for (const cuts of [[13], [0, 1, 15], [4, 22, 22, 25]]) {
      const bounds = [0, ...cuts, parameters.size];
      const sum = new Float64Array(3);
      for (let r = 0; r + 1 < bounds.length; r++) {
        const [from, to] = [bounds[r] as number, bounds[r + 1] as number];
        // A rank has the whole buffer or its own part.
        const part = r % 2 === 0 ? parameters.values : parameters.values.slice(from, to);
        parameterSquares(parameters, part, from, to).forEach((square, i) => {
          sum[i] = (sum[i] as number) + square;
        });
      }
      sum.forEach((square, i) => {
        assert.ok(Math.abs(square - (whole[i] as number)) < 1e-9);
      });
    }
    const { total, byName } = parameterNorms(parameters, whole);
    assert.deepEqual(Object.keys(byName), ['a', 'b', 'c']);
    assert.ok(Math.abs((byName['b'] as number) ** 2 - (whole[1] as number)) < 1e-9);
    assert.ok(Math.abs(total - Math.hypot(...parameters.values)) < 1e-5);
    assert.throws(() => parameterSquares(parameters, parameters.values, 5, 27), /range \[5, 27\) of 26/);
    assert.throws(() => parameterSquares(parameters, new Float32Array(3), 0, 5), /got 3 values, expected 26 or 5/);
  });

  test(`the limit of a machine is measured (${kind})`, () => {
    const peak = measurePeak(backend(), 'float32', 20);
    assert.ok(peak > 1e6 && Number.isFinite(peak), String(peak));
  });
}

test('throughput: rates of the step, the time left at the pace of the last ones', () => {
  const speed = new Throughput({ flopsPerToken: 600, peak: 1e6 });
  assert.deepEqual(speed.step(1000, 2, 500), {
    secondsPerStep: 2,
    tokensPerSecond: 500,
    flopPerSecond: 300_000,
    peakShare: 0.3,
    etaSeconds: 1,
  });
  // One slow step (a checkpoint, a page fault) does not move the time left.
  speed.step(1000, 2, 500);
  assert.equal(speed.step(1000, 60, 5000).etaSeconds, 10);
  assert.deepEqual(new Throughput({ flopsPerToken: 1 }).step(10, 5), {
    secondsPerStep: 5,
    tokensPerSecond: 2,
    flopPerSecond: 2,
  });
});
