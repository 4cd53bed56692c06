import assert from 'node:assert/strict';
import test from 'node:test';
import { availableBackends } from '../../test/backends.ts';
import { Random } from '../base/rng.ts';
import { jsBackend } from './backend-js.ts';
import { addBias, crossEntropy, dropout, relu } from './head-ops.ts';
import { linear } from './ops.ts';
import { ParameterSet } from './parameters.ts';
import { Engine, type Tensor } from './tensor.ts';

const near = (got: ArrayLike<number>, want: readonly number[], tolerance = 1e-6): void => {
  assert.equal(got.length, want.length);
  for (const [i, value] of want.entries()) {
    assert.ok(
      Math.abs((got[i] as number) - value) <= tolerance * Math.max(1, Math.abs(value)),
      `${i}: ${got[i]}, ${value}`,
    );
  }
};

test('values by hand', () => {
  const engine = new Engine(jsBackend());
  const x = engine.from([1, -2, 0, 3], 2, 2);
  near(addBias(x, engine.from([10, 20], 1, 2)).data, [11, 18, 10, 23]);
  near(relu(x).data, [1, 0, 0, 3]);
  // -log softmax: log(1 + e^-3) and log(1 + e^3).
  near(crossEntropy(x, Int32Array.of(0, 0)).data, [(Math.log1p(Math.exp(-3)) + Math.log1p(Math.exp(3))) / 2]);
  const z = engine.from([2, -2, 800, -800], 4, 1);
  near(crossEntropy(z, Int32Array.of(1, 0, 1, 1)).data, [(2 * Math.log1p(Math.exp(-2)) + 0 + 800) / 4]);
  near(crossEntropy(engine.from([900, -900, 0], 1, 3), Int32Array.of(1)).data, [1800]);
});

test('dropout keeps the mean, drops its share, and is decided by the stream', () => {
  const engine = new Engine(jsBackend());
  const ones = engine.from(new Float32Array(20_000).fill(1), 100, 200);
  const out = dropout(ones, 0.2, new Random(1, 'dropout')).data;
  assert.deepEqual([...new Set(out)].sort(), [0, 1.25]);
  const dropped = out.filter((value) => value === 0).length;
  assert.ok(Math.abs(dropped - 4000) < 3 * Math.sqrt(20_000 * 0.16), String(dropped));
  assert.deepEqual(dropout(ones, 0.2, new Random(1, 'dropout')).data, out);
  assert.notDeepEqual(dropout(ones, 0.2, new Random(2, 'dropout')).data, out);
  assert.equal(dropout(ones, 0, new Random(1, 'dropout')), ones);
});

for (const { name, backend } of availableBackends()) {
  for (const classes of [1, 2, 3]) {
    test(`${name}: gradients of a classifier with ${classes} outputs are those of finite differences`, () => {
      const engine = new Engine(backend());
      const parameters = new ParameterSet(engine, [
        { name: 'w1', shape: [5, 4] },
        { name: 'b1', shape: [1, 5] },
        { name: 'w2', shape: [classes, 5] },
        { name: 'b2', shape: [classes] },
      ]);
      const random = new Random(11, 'head');
      for (let i = 0; i < parameters.size; i++) parameters.values[i] = 0.7 * random.normal();
      const inputs = Float32Array.from({ length: 6 * 4 }, () => random.normal());
      const labels = Int32Array.from({ length: 6 }, (_, n) => n % Math.max(2, classes));
      const p = (key: string): Tensor => parameters.tensor(key);
      const loss = (): Tensor => {
        const hidden = relu(addBias(linear(engine.from(inputs, 6, 4), p('w1')), p('b1')));
        // The same mask every time: the stream begins anew.
        const kept = dropout(hidden, 0.3, new Random(3, 'mask'));
        return crossEntropy(addBias(linear(kept, p('w2')), p('b2')), labels);
      };
      engine.gradients(loss);
      const value = (): number => engine.scope(() => loss().item());
      const step = 5e-3;
      for (let i = 0; i < parameters.size; i++) {
        const at = parameters.values[i] as number;
        parameters.values[i] = at + step;
        const above = value();
        parameters.values[i] = at - step;
        const below = value();
        parameters.values[i] = at;
        const want = (above - below) / (2 * step);
        const got = parameters.gradients[i] as number;
        assert.ok(Math.abs(got - want) <= 2e-3 + 1e-2 * Math.abs(want), `${i}: ${got}, differences say ${want}`);
      }
      assert.equal(engine.memory.liveBytes, 0);
    });
  }
}

test('wrong shapes and labels name the op', () => {
  const engine = new Engine(jsBackend());
  const x = engine.from([1, 2], 1, 2);
  assert.throws(() => addBias(x, engine.from([1], 1)), /addBias: bias must match, got \[1\], expected 2 numbers/);
  assert.throws(() => addBias(engine.from([1], 1), x), /addBias: a matrix is needed/);
  assert.throws(() => crossEntropy(x, Int32Array.of(2)), /crossEntropy: a label, got 2, expected 0\.\.1/);
  assert.throws(() => crossEntropy(x, Int32Array.of(0, 1)), /one entry per row/);
  assert.throws(() => dropout(x, 1, new Random(1, 'x')), /dropout: rate, got 1/);
  const freed = engine.from([1, 2], 1, 2);
  freed.free();
  assert.throws(() => relu(freed), /relu: got a freed tensor/);
});
