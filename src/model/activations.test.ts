// The comparison models, with SwiGLU and squared ReLU: formulas, gradients, counts, folders; a release is refused.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { availableBackends } from '../../test/backends.ts';
import { Random } from '../base/rng.ts';
import type { ModelRecipe } from '../base/recipe.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { relu2, swiglu } from '../tensor/ops.ts';
import { Engine } from '../tensor/tensor.ts';
import { Apertus, parameterSpecs, type TokenBatch } from './apertus.ts';
import { forwardFlops, parameterCount, trainingMemory } from './arithmetic.ts';
import { fromHfConfig, modelConfig } from './config.ts';
import { loadHfFolder, saveHfFolder } from './hf-folder.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-activations-'));
after(() => rmSync(scratch, { recursive: true }));

const sizes = (activation: ModelRecipe['activation']): ModelRecipe => ({
  layers: 2,
  hidden: 16,
  intermediate: activation === 'swiglu' ? 16 : 24,
  activation,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  vocabularySize: 32,
  maxPositions: 64,
  ropeTheta: 10_000,
  ropeScaling: null,
  rmsNormEps: 1e-5,
  initStd: 0.2,
});
const compared = ['swiglu', 'relu2'] as const;

const B = 2;
const T = 9;
const batch = (): { readonly tokens: TokenBatch; readonly labels: Int32Array } => {
  const random = new Random(5, 'tokens');
  const N = B * T;
  const ids = (): Int32Array => Int32Array.from({ length: N }, () => 4 + random.integer(28));
  return {
    tokens: {
      B,
      T,
      tokens: ids(),
      positions: Int32Array.from({ length: N }, (_, n) => n % T),
      lo: Int32Array.from({ length: N }, (_, n) => n - (n % T)),
      hi: Int32Array.from({ length: N }, (_, n) => n + 1),
    },
    labels: ids(),
  };
};

for (const { name, backend } of availableBackends()) {
  describe(name, () => {
    for (const activation of compared) {
      test(`${activation}: gradients of every parameter are slopes of the loss`, () => {
        const model = new Apertus(new Engine(backend()), modelConfig(sizes(activation)));
        model.initialise(4);
        const { tokens, labels } = batch();
        const coefficient = new Float32Array(B * T).fill(1 / (B * T));
        const losses = new Float32Array(B * T);
        const loss = (): number => {
          model.engine.scope(() => losses.set(model.tokenLosses(tokens, labels).data));
          return losses.reduce((sum, value) => sum + value, 0) / (B * T);
        };
        model.parameters.zeroGradients();
        model.engine.gradients(() => model.loss(tokens, labels, coefficient));
        for (const { name: parameter } of model.parameters.slices) {
          const values = model.parameters.valuesOf(parameter);
          const gradient = model.parameters.gradientOf(parameter);
          const random = new Random(6, parameter);
          const start = values.slice();
          const direction = start.map(() => random.normal());
          const size = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
          assert.ok(size > 0, `${parameter} has no gradient`);
          const slope = (h: number): number => {
            const ends = [h, -h].map((step) => {
              for (let i = 0; i < values.length; i++)
                values[i] = (start[i] as number) + step * (direction[i] as number);
              return loss();
            });
            values.set(start);
            return ((ends[0] as number) - (ends[1] as number)) / (2 * h);
          };
          const h = 2 ** -9;
          const want = (4 * slope(h / 2) - slope(h)) / 3;
          const got = gradient.reduce((sum, g, i) => sum + g * (direction[i] as number), 0);
          assert.ok(Math.abs(got - want) < 0.02 * size + 2e-4, `${parameter}: got ${got}, slope ${want}, size ${size}`);
        }
      });
    }
  });
}

test('an activation has the formula of its name, and the gate comes first', () => {
  const engine = new Engine(jsBackend());
  const silu = (a: number): number => a / (1 + Math.exp(-a));
  engine.scope(() => {
    const gated = swiglu(engine.from([1, -2, 3, 4], 1, 4));
    assert.deepEqual(gated.shape, [1, 2]);
    assert.ok(Math.abs((gated.data[0] as number) - 3 * silu(1)) < 1e-6);
    assert.ok(Math.abs((gated.data[1] as number) - 4 * silu(-2)) < 1e-6);
    assert.deepEqual([...relu2(engine.from([-1, 0, 3], 3)).data], [0, 0, 9]);
    assert.throws(() => swiglu(engine.from([1, 2, 3], 1, 3)), /swiglu: gate and up are of one width/);
  });
});

test('gate and up lie side by side; only xIELU has learned scalars', () => {
  const names = (activation: ModelRecipe['activation']): string[] =>
    parameterSpecs(sizes(activation)).map(({ name }) => name);
  const swigluNames = names('swiglu');
  const gate = swigluNames.indexOf('model.layers.0.mlp.gate_proj.weight');
  assert.ok(gate > 0);
  assert.equal(swigluNames[gate + 1], 'model.layers.0.mlp.up_proj.weight');
  for (const activation of compared) assert.ok(!names(activation).some((name) => name.includes('act_fn')));
  assert.ok(!names('relu2').some((name) => name.includes('gate')));
});

test('SwiGLU of two thirds of the width costs what the others cost', () => {
  const [xielu, gated, squared] = [sizes('xielu'), sizes('swiglu'), sizes('relu2')];
  // The two learned numbers of a layer are the only difference.
  assert.equal(parameterCount(xielu) - parameterCount(gated), 2 * xielu.layers);
  assert.equal(parameterCount(squared), parameterCount(gated));
  assert.equal(forwardFlops(gated, 64), forwardFlops(xielu, 64));
  assert.equal(trainingMemory(gated, 2, 8, 2).activations, trainingMemory(xielu, 2, 8, 2).activations);
  const wide = { ...gated, intermediate: 24 };
  assert.equal(parameterCount(wide) - parameterCount(squared), 2 * 24 * 16);
  assert.equal(forwardFlops(wide, 64) - forwardFlops(squared, 64), 2 * 64 * 24 * 16 * wide.layers);
  assert.equal(
    trainingMemory(wide, 2, 8, 2).activations - trainingMemory(squared, 2, 8, 2).activations,
    4 * 16 * 24 * 2,
  );
});

for (const activation of compared) {
  test(`${activation}: a folder comes back with the same weights`, () => {
    const dir = join(scratch, activation);
    const model = new Apertus(new Engine(jsBackend()), modelConfig(sizes(activation)));
    model.initialise(7);
    saveHfFolder(dir, model, { dtype: 'float32', eosTokenId: 2 });
    const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as Record<string, unknown>;
    assert.equal(config['hidden_act'], { swiglu: 'silu', relu2: 'relu2' }[activation]);
    const back = loadHfFolder(dir, model.engine, { gradients: false });
    assert.equal(back.config.activation, activation);
    assert.deepEqual(back.parameters.values, model.parameters.values);
    assert.throws(
      () => fromHfConfig({ ...config, hidden_act: 'gelu' }, 'config.json'),
      /does not describe an Apertus model[\s\S]*hidden_act/,
    );
  });
}
