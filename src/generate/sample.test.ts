import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Random } from '../base/rng.ts';
import { checkSampleOptions, greedyToken, logProbability, sampleToken, type SampleOptions } from './sample.ts';

const logitsOf = (...values: number[]): Float32Array => Float32Array.from(values);

/** How often each id is drawn. */
function frequencies(logits: Float32Array, options: SampleOptions, draws: number): number[] {
  const random = new Random(1, 'test');
  const counts = Array.from(logits, () => 0);
  for (let i = 0; i < draws; i++) (counts[sampleToken(logits, options, random)] as number)++;
  return counts.map((count) => count / draws);
}

test('greedy takes the highest logit, the lowest id of equals', () => {
  assert.equal(greedyToken(logitsOf(0, 3, 1, 3)), 1);
  assert.equal(sampleToken(logitsOf(-5, -1, -2), {}, new Random(1)), 1);
  assert.throws(() => greedyToken(logitsOf(Number.NaN, Number.NaN)), /weights are damaged/);
});

test('temperature 1 draws the softmax, temperature 0.5 its square', () => {
  const logits = Float32Array.from([0.1, 0.2, 0.3, 0.4], Math.log);
  const plain = frequencies(logits, { temperature: 1 }, 40_000);
  const cold = frequencies(logits, { temperature: 0.5 }, 40_000);
  for (const [i, p] of [0.1, 0.2, 0.3, 0.4].entries()) {
    // Five standard deviations of a frequency over 40,000 draws are below 0.0125.
    assert.ok(Math.abs((plain[i] as number) - p) < 0.0125, `id ${i}: ${plain[i]}`);
    assert.ok(Math.abs((cold[i] as number) - (p * p) / 0.3) < 0.0125, `id ${i}: ${cold[i]}`);
  }
});

test('top-p keeps the smallest set that reaches p, top-k the k best, and both cut', () => {
  const logits = Float32Array.from([0.1, 0.2, 0.3, 0.4], Math.log);
  const kept = (options: SampleOptions): number[] =>
    frequencies(logits, { temperature: 1, ...options }, 3000).flatMap((f, id) => (f > 0 ? [id] : []));
  assert.deepEqual(kept({ topP: 0.35 }), [3]);
  assert.deepEqual(kept({ topP: 0.65 }), [2, 3]);
  assert.deepEqual(kept({ topP: 0.75 }), [1, 2, 3]);
  assert.deepEqual(kept({ topK: 2 }), [2, 3]);
  assert.deepEqual(kept({ topK: 3, topP: 0.5 }), [2, 3]);
  assert.deepEqual(kept({ topK: 4 }), [0, 1, 2, 3]);
});

test('the nucleus of random logits is that of a full sort', () => {
  const logit = fc.integer({ min: -40, max: 40 }).map((n) => n / 8);
  fc.assert(
    fc.property(
      fc.array(logit, { minLength: 2, maxLength: 40 }),
      fc.double({ min: 0.05, max: 0.999, noNaN: true }),
      (values, topP) => {
        const logits = Float32Array.from(values);
        const order = values.map((_, id) => id).sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b);
        const total = values.reduce((sum, value) => sum + Math.exp(value), 0);
        const nucleus = new Set<number>();
        for (let reached = 0, i = 0; reached < topP * total * (1 + 1e-12) && i < order.length; i++) {
          reached += Math.exp(values[order[i] as number] as number);
          nucleus.add(order[i] as number);
        }
        const random = new Random(2, 'nucleus');
        for (let i = 0; i < 20; i++) assert.ok(nucleus.has(sampleToken(logits, { temperature: 1, topP }, random)));
      },
    ),
  );
});

test('a seed decides the draws', () => {
  const logits = Float32Array.from({ length: 50 }, (_, i) => Math.sin(i));
  const drawn = (seed: number): number[] => {
    const random = new Random(seed, 'x');
    return Array.from({ length: 20 }, () => sampleToken(logits, { temperature: 1, topP: 0.9 }, random));
  };
  assert.deepEqual(drawn(3), drawn(3));
  assert.notDeepEqual(drawn(3), drawn(4));
});

test('log-probabilities add up to one', () => {
  const logits = Float32Array.from({ length: 9 }, (_, i) => Math.cos(i) * 30);
  const total = Array.from(logits, (_, id) => Math.exp(logProbability(logits, id))).reduce((a, b) => a + b);
  assert.ok(Math.abs(total - 1) < 1e-12);
});

test('wrong options are named', () => {
  assert.throws(() => checkSampleOptions({ temperature: -1 }), /temperature, got -1/);
  assert.throws(() => checkSampleOptions({ topP: 0 }), /topP, got 0/);
  assert.throws(() => checkSampleOptions({ topK: 1.5 }), /topK, got 1.5/);
});
