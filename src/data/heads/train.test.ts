import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { availableBackends } from '../../../test/backends.ts';
import { goldenJson } from '../../../test/golden.ts';
import { Random } from '../../base/rng.ts';
import { jsBackend } from '../../tensor/backend-js.ts';
import { type HeadWeights, scoreOf, tensorNames } from './head.ts';
import { metricsOf } from './metrics.ts';
import { HeadTrainer, headSettings, splitLabels, trainHead } from './train.ts';

interface Run {
  readonly outputs: 1 | 2;
  readonly losses: readonly number[];
  readonly scores: readonly number[];
  readonly lastBias: readonly number[];
  readonly firstBias: readonly number[];
}
const golden = goldenJson<{ readonly positive: number; readonly runs: readonly Run[] }>('heads.json');

// As in test/golden-scripts/heads.py.
const N = 320;
const width = 24;
const hidden = 40;
const batch = 64;
const numbers = (count: number, a: number, b: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => ((i * a) % b) / 1024 - b / 2048);
const vectors = numbers(N * width, 7919, 2039);
const labels = Int32Array.from({ length: N }, (_, n) => {
  const sum = (from: number): number =>
    vectors.subarray(n * width + from, n * width + from + 8).reduce((a, b) => a + b);
  return sum(0) > sum(8) ? 1 : 0;
});

for (const { name, backend } of availableBackends()) {
  for (const { outputs, losses, scores, lastBias, firstBias } of golden.runs) {
    test(`${name}: with ${outputs} outputs, each step has the loss that PyTorch has`, () => {
      assert.equal(
        labels.reduce((a, b) => a + b),
        golden.positive,
      );
      const kind = outputs === 2 ? 'toxicity' : 'quality';
      const settings = headSettings[kind].parse({ hidden, batch, dropout: 0, learningRate: 3e-3, warmup: 20 });
      const trainer = new HeadTrainer(backend(), kind, width, settings, 1, 'test');
      for (const [number, tensor] of Object.values(tensorNames).entries()) {
        const values = trainer.parameters.valuesOf(tensor);
        values.set(numbers(values.length, 104729 + 2 * number, 401));
      }
      const near = (got: number, want: number, what: string): void => {
        assert.ok(Math.abs(got - want) <= 2e-6 + 2e-5 * Math.abs(want), `${what}: ${got}, PyTorch has ${want}`);
      };
      const perEpoch = N / batch;
      for (const [step, want] of losses.entries()) {
        const at = (step % perEpoch) * batch;
        const rows = vectors.slice(at * width, (at + batch) * width);
        near(trainer.step(rows, labels.slice(at, at + batch)), want, `step ${step}`);
      }
      const weights = trainer.weights();
      for (const [i, want] of scores.entries()) {
        near(scoreOf(weights, vectors.subarray(i * width, (i + 1) * width)), want, `score ${i}`);
      }
      for (const [i, want] of lastBias.entries()) near(weights.outputBias[i] as number, want, `bias ${i}`);
      for (const [i, want] of firstBias.entries()) near(weights.hiddenBias[i] as number, want, `hidden bias ${i}`);
    });
  }
}

test('the score is that of a plain sum', () => {
  const random = new Random(4, 'score');
  const floats = (count: number): Float32Array => Float32Array.from({ length: count }, () => random.normal());
  for (const [width, hidden, outputs] of [
    [1, 1, 1],
    [7, 5, 2],
    [16, 9, 1],
  ] as const) {
    const head: HeadWeights = {
      ...{ width, hidden, outputs, hiddenWeight: floats(hidden * width), hiddenBias: floats(hidden) },
      ...{ outputWeight: floats(outputs * hidden), outputBias: floats(outputs) },
    };
    const vector = floats(width);
    const units = Array.from(head.hiddenBias, (bias, h) =>
      Math.max(
        0,
        vector.reduce((sum, x, i) => sum + x * (head.hiddenWeight[h * width + i] as number), bias),
      ),
    );
    const logits = Array.from(head.outputBias, (bias, o) =>
      units.reduce((sum, unit, h) => sum + unit * (head.outputWeight[o * hidden + h] as number), bias),
    );
    const odds = outputs === 1 ? (logits[0] as number) : (logits[1] as number) - (logits[0] as number);
    assert.ok(Math.abs(scoreOf(head, vector) - 1 / (1 + Math.exp(-odds))) < 1e-12);
    assert.throws(() => scoreOf(head, floats(width + 1)), /got a vector of/);
  }
});

test('metrics: by hand, and the area under the curve as the share of pairs in order', () => {
  assert.deepEqual(metricsOf([0.9, 0.8, 0.3, 0.6], [1, 0, 0, 1]), { accuracy: 0.75, f1: 0.8, auc: 0.75 });
  assert.deepEqual(metricsOf([0.1, 0.2], [1, 1]), { accuracy: 0, f1: 0, auc: null });
  assert.deepEqual(metricsOf([0.5, 0.5], [0, 1]), { accuracy: 0.5, f1: 0, auc: 0.5 });
  const item = fc.record({ score: fc.constantFrom(0, 0.25, 0.5, 0.75, 1), label: fc.constantFrom(0, 1) });
  fc.assert(
    fc.property(fc.array(item, { maxLength: 30 }), (items) => {
      const pairs = items.flatMap((a) =>
        items.flatMap((b) => (a.label === 1 && b.label === 0 ? [Math.sign(a.score - b.score) / 2 + 0.5] : [])),
      );
      const { auc } = metricsOf(
        items.map(({ score }) => score),
        items.map(({ label }) => label),
      );
      const want = pairs.length === 0 ? null : pairs.reduce((a, b) => a + b) / pairs.length;
      assert.ok(auc === want || Math.abs((auc ?? 9) - (want ?? 0)) < 1e-12);
    }),
  );
});

test('both classes are in both parts, of one size where they are balanced, and nothing twice', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(0, 1), { minLength: 8, maxLength: 60 }), fc.boolean(), (given, balance) => {
      const labels = Uint8Array.from([0, 0, 1, 1, ...given]);
      const { train, held } = splitLabels(labels, { balance, validation: 0.1 }, new Random(3, 'split'));
      const count = (of: readonly number[], label: number): number => of.filter((i) => labels[i] === label).length;
      assert.equal(new Set([...train, ...held]).size, train.length + held.length);
      for (const part of [train, held]) for (const label of [0, 1]) assert.ok(count(part, label) > 0);
      if (balance) assert.equal(count(train, 0), count(train, 1));
      else assert.equal(train.length + held.length, labels.length);
    }),
  );
});

test('a head learns what can be learnt, the same with the same seed, and keeps its best epoch', () => {
  const random = new Random(8, 'data');
  const width = 12;
  const labels = Uint8Array.from({ length: 1500 }, (_, i) => (i % 3 === 0 ? 1 : 0));
  const vectors = Float32Array.from({ length: labels.length * width }, () => random.normal());
  // Class 1 is where the first two numbers have one sign: no plane parts the classes.
  for (const [i, label] of labels.entries()) {
    const sign = (vectors[i * width] as number) * (vectors[i * width + 1] as number) > 0 ? 1 : 0;
    if (sign !== label) vectors[i * width] = -(vectors[i * width] as number);
  }
  const settings = headSettings.toxicity.parse({ hidden: 64, epochs: 30, learningRate: 1e-2, warmup: 20 });
  const options = {
    backend: jsBackend(),
    kind: 'toxicity',
    width,
    settings,
    name: 'x',
    data: { vectors, labels },
  } as const;
  const one = trainHead({ ...options, seed: 5 });
  assert.deepEqual(trainHead({ ...options, seed: 5 }), one);
  assert.notDeepEqual(trainHead({ ...options, seed: 6 }).weights, one.weights);
  assert.equal(one.trained + one.validated, 1000);
  assert.equal(one.epochs.length, 30);
  const best = one.epochs[one.best - 1];
  assert.equal(best?.loss, Math.min(...one.epochs.map(({ loss }) => loss)));
  assert.ok((best?.accuracy ?? 0) > 0.85 && (best?.auc ?? 0) > 0.9, JSON.stringify(best));
});
