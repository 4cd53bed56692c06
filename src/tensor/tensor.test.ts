import assert from 'node:assert/strict';
import { test } from 'node:test';
import { availableBackends } from '../../test/backends.ts';
import { Random } from '../base/rng.ts';
import { jsBackend } from './backend-js.ts';
import { addRmsNorm, attention, embedding, linear, linearCrossEntropy, rmsNorm, xielu } from './ops.ts';
import { ParameterSet } from './parameters.ts';
import { Engine, type Tensor } from './tensor.ts';

const random = new Random(5, 'tensors');
const numbers = (n: number): number[] => Array.from({ length: n }, () => random.normal());

test('a freed tensor answers every op with an error that names the op', () => {
  const engine = new Engine(jsBackend());
  const freed = engine.from(numbers(6), 2, 3);
  freed.free();
  const live = engine.from(numbers(6), 2, 3);
  const weight = engine.from([1, 1, 1], 3);
  const one = engine.from([0.1], 1);
  assert.throws(() => linear(freed, live), /linear: got a freed tensor \[2, 3\]/);
  assert.throws(() => linear(live, freed), /linear: got a freed/);
  assert.throws(() => rmsNorm(freed, weight, 1e-5), /rmsNorm: got a freed/);
  assert.throws(() => addRmsNorm(live, freed, weight, 1e-5), /addRmsNorm: got a freed/);
  assert.throws(() => embedding(freed, Int32Array.of(0)), /embedding: got a freed/);
  assert.throws(() => xielu(freed, one, one, { beta: 0.5, eps: -1e-6 }), /xielu: got a freed/);
  assert.throws(() => linearCrossEntropy(freed, live, Int32Array.of(0, 1), Float32Array.of(1, 1)), /got a freed/);
  assert.throws(() => freed.data, /data: got a freed/);
  freed.free();
});

test('wrong shapes, ids and kinds name the op, what came and what was expected', () => {
  const engine = new Engine(jsBackend());
  const a = engine.from(numbers(6), 2, 3);
  const b = engine.from(numbers(8), 2, 4);
  const vector = engine.from(numbers(3), 3);
  assert.throws(
    () => linear(a, b),
    /linear: inner sizes differ, got x \[2, 3\], weight \[2, 4\], expected weight \[\.\., 3\]/,
  );
  assert.throws(() => linear(a, vector), /linear: weight must be a matrix, got \[3\]/);
  assert.throws(() => rmsNorm(b, vector, 1e-5), /rmsNorm: weight must match, got \[3\], expected \[4\]/);
  assert.throws(() => embedding(a, Int32Array.of(2)), /embedding: ids\[0\] out of range, got 2, expected 0\.\.1/);
  assert.throws(() => embedding(a, [0] as unknown as Int32Array), /embedding: ids must be an Int32Array/);
  assert.throws(
    () => linearCrossEntropy(a, a, Int32Array.of(0), Float32Array.of(1)),
    /labels must have one entry per row, got 1, expected 2/,
  );
  assert.throws(() => linear(a, new Engine(jsBackend()).from(numbers(3), 1, 3)), /two engines/);
  assert.throws(() => engine.empty(2, -1), /tensor: got shape \[2, -1\]/);
  assert.throws(() => engine.from([1, 2], 3), /got 2 values, expected 3/);
  const rope = { cosine: new Float32Array(2), sine: new Float32Array(2), positions: 2 };
  const range = { lo: Int32Array.of(0, 0), hi: Int32Array.of(1, 2) };
  const shape = { B: 1, T: 2, H: 1, K: 1, hd: 2 };
  const norm = engine.from([1, 1], 2);
  assert.throws(
    () => attention(a, norm, norm, 1e-5, rope, Int32Array.of(0, 1), range, shape),
    /attention: qkv has the wrong shape/,
  );
});

test('a scope frees what it made except what it returns; an error frees everything', () => {
  const engine = new Engine(jsBackend());
  const kept = engine.scope(() => {
    engine.empty(100);
    return engine.from([1], 1);
  });
  assert.equal(kept.item(), 1);
  assert.throws(() =>
    engine.scope(() => {
      engine.empty(100);
      throw new Error('stop');
    }),
  );
  kept.free();
  assert.equal(engine.memory.liveBytes, 0);
});

/** A small graph in which every tensor of the residual stream is used more than once. */
function graph(parameters: ParameterSet): Tensor {
  const p = (name: string): Tensor => parameters.tensor(name);
  const x = embedding(p('embed'), Int32Array.of(0, 3, 1, 3));
  const constants = { beta: 0.5, eps: -1e-6 };
  const first = linear(rmsNorm(x, p('norm'), 1e-5), p('w'));
  const { sum, normed } = addRmsNorm(x, first, p('norm'), 1e-5);
  // `normed` and `sum` are each read twice below, so their gradients are added up.
  const second = addRmsNorm(sum, linear(normed, p('w')), p('norm'), 1e-5);
  const third = addRmsNorm(second.sum, xielu(normed, p('a'), p('b'), constants), p('norm'), 1e-5);
  return linearCrossEntropy(third.normed, p('embed'), Int32Array.of(1, 2, 0, 3), Float32Array.of(0.5, 0.25, 0, 0.25));
}

for (const { name, backend } of availableBackends()) {
  test(`${name}: gradients of a graph with shared tensors are those of finite differences`, () => {
    const engine = new Engine(backend());
    const specs = [
      { name: 'embed', shape: [4, 6] },
      { name: 'w', shape: [6, 6] },
      { name: 'norm', shape: [6] },
      { name: 'a', shape: [1] },
      { name: 'b', shape: [1] },
    ];
    const parameters = new ParameterSet(engine, specs);
    const start = new Random(9, 'graph');
    for (let i = 0; i < parameters.size; i++) parameters.values[i] = 0.7 * start.normal();
    engine.gradients(() => graph(parameters));
    const value = (): number => engine.scope(() => graph(parameters).item());
    const step = 1e-2;
    for (const { name: parameter, offset, size } of parameters.slices) {
      for (let i = offset; i < offset + size; i++) {
        const at = parameters.values[i] as number;
        parameters.values[i] = at + step;
        const above = value();
        parameters.values[i] = at - step;
        const below = value();
        parameters.values[i] = at;
        const got = parameters.gradients[i] as number;
        const want = (above - below) / (2 * step);
        // Central differences are off by step^2 times a third derivative of order 1, and by float32 rounding / step.
        assert.ok(
          Math.abs(got - want) <= 3e-3 + 2e-2 * Math.abs(want),
          `${parameter}[${i - offset}]: ${got}, differences say ${want}`,
        );
      }
    }
    assert.equal(engine.memory.liveBytes, 0);
  });
}
