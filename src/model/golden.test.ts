// golden/model: every vector of the reference, in float32, on every backend this machine has.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import { Optimizer } from '../optim/optimizer.ts';
import { availableBackends } from '../../test/backends.ts';
import { SafetensorsFile } from '../tensor/safetensors.ts';
import { Engine } from '../tensor/tensor.ts';
import type { Apertus, TokenBatch } from './apertus.ts';
import { fromHfConfig, toHfConfig } from './config.ts';
import { loadHfFolder, saveHfFolder } from './hf-folder.ts';
import { ropeFrequencies } from './rope.ts';

interface Batch {
  B: number;
  T: number;
  input_ids: number[][];
  labels: number[][];
  document_starts: number[][];
  reset_position_ids: number[][];
  loss_mask: number[][];
  summary: Record<'packed' | 'causal', { mean_loss: number; masked_loss: number; grad_global_norm: number }> & {
    bf16_weights_packed: { mean_loss: number; masked_loss: number };
  };
  greedy_continuation: { prompt: number[]; steps: { token: number; logit: number }[] };
}
interface Trajectory {
  optimizer: { betas: [number, number, number]; alpha: number; alpha_warmup: number; eps: number };
  steps_float64: { step: number; rows: number[]; lr: number; loss: number; grad_norm: number }[];
}
const golden = goldenJson<Batch>('model', 'batch.json');
const trajectory = goldenJson<Trajectory>('model', 'train_trajectory.json');
const { B, T } = golden;
const scratch = mkdtempSync(join(tmpdir(), 'belay-golden-'));
after(() => rmSync(scratch, { recursive: true }));

/** The chosen rows as a batch; `packed`: attention inside documents, else over the whole row. */
function batchOf(
  rows: readonly number[],
  mode: 'packed' | 'causal',
  positions: 'absolute' | 'reset' = 'absolute',
): TokenBatch {
  const n = rows.length * T;
  const batch = {
    B: rows.length,
    T,
    tokens: new Int32Array(n),
    positions: new Int32Array(n),
    lo: new Int32Array(n),
    hi: new Int32Array(n),
  };
  for (const [b, row] of rows.entries()) {
    const starts = golden.document_starts[row] as number[];
    for (let t = 0; t < T; t++) {
      const at = b * T + t;
      const start = mode === 'packed' ? Math.max(...starts.filter((s) => s <= t)) : 0;
      batch.tokens[at] = golden.input_ids[row]?.[t] as number;
      batch.positions[at] = positions === 'reset' ? (golden.reset_position_ids[row]?.[t] as number) : t;
      batch.lo[at] = b * T + start;
      batch.hi[at] = at + 1;
    }
  }
  return batch;
}

const flat = (rows: readonly number[], values: readonly number[][]): number[] =>
  rows.flatMap((row) => values[row] as number[]);

function maskShares(rows: readonly number[]): Float32Array {
  const mask = flat(rows, golden.loss_mask);
  const total = mask.reduce((sum, value) => sum + value, 0);
  return Float32Array.from(mask, (value) => value / total);
}

function assertClose(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(got.length, want.length, what);
  let worst = 0;
  for (let i = 0; i < want.length; i++) worst = Math.max(worst, Math.abs((got[i] as number) - (want[i] as number)));
  assert.ok(worst <= tolerance, `${what}: off by ${worst}, allowed ${tolerance}`);
}

for (const { name, backend } of availableBackends()) {
  const load = (folder: string, gradients = true): Apertus =>
    loadHfFolder(goldenPath('model', folder), new Engine(backend()), { gradients });

  for (const mode of ['packed', 'causal'] as const) {
    test(`${name}: logits, losses and gradients of the ${mode} batch`, () => {
      const model = load('hf');
      const { engine } = model;
      const outputs = new SafetensorsFile(goldenPath('model', `${mode}_outputs.safetensors`));
      const grads = new SafetensorsFile(goldenPath('model', `${mode}_grads.safetensors`));
      const rows = [0, 1];
      const batch = batchOf(rows, mode);
      const labels = Int32Array.from(flat(rows, golden.labels));
      engine.scope(() => {
        assertClose(model.logits(model.hidden(batch)).data, outputs.read('logits', engine.backend), 2e-5, 'logits');
        assertClose(
          model.tokenLosses(batch, labels).data,
          outputs.read('token_loss', engine.backend),
          1e-5,
          'token losses',
        );
      });
      const losses = new Float32Array(B * T);
      const loss = engine.gradients(() => model.loss(batch, labels, maskShares(rows), losses));
      assert.ok(Math.abs(loss - golden.summary[mode].masked_loss) <= 1e-5, `masked loss ${loss}`);
      const mean = losses.reduce((sum, value) => sum + value, 0) / losses.length;
      assert.ok(Math.abs(mean - golden.summary[mode].mean_loss) <= 1e-5, `mean loss ${mean}`);
      for (const { name: parameter } of model.parameters.slices) {
        assertClose(
          model.parameters.gradientOf(parameter),
          grads.read(parameter, engine.backend),
          1e-6,
          `gradient of ${parameter}`,
        );
      }
      const norm = Math.sqrt(engine.backend.sumOfSquares(model.parameters.size, model.parameters.gradients));
      assert.ok(Math.abs(norm - golden.summary[mode].grad_global_norm) <= 1e-5, `gradient norm ${norm}`);
      outputs.close();
      grads.close();
    });
  }

  test(`${name}: positions that restart at each document give the same packed logits`, () => {
    const model = load('hf', false);
    const outputs = new SafetensorsFile(goldenPath('model', 'packed_outputs.safetensors'));
    model.engine.scope(() => {
      const logits = model.logits(model.hidden(batchOf([0, 1], 'packed', 'reset')));
      assertClose(logits.data, outputs.read('logits', model.engine.backend), 2e-5, 'logits');
    });
    outputs.close();
  });

  test(`${name}: bfloat16 weights computed in float32`, () => {
    const model = load('hf-bf16');
    const { engine } = model;
    const outputs = new SafetensorsFile(goldenPath('model', 'bf16_packed_outputs.safetensors'));
    const grads = new SafetensorsFile(goldenPath('model', 'bf16_packed_grads.safetensors'));
    const batch = batchOf([0, 1], 'packed');
    engine.scope(() => {
      assertClose(
        model.logits(model.hidden(batch)).data,
        outputs.read('logits_float64_run', engine.backend),
        2e-5,
        'logits',
      );
    });
    const loss = engine.gradients(() =>
      model.loss(batch, Int32Array.from(flat([0, 1], golden.labels)), maskShares([0, 1])),
    );
    assert.ok(Math.abs(loss - golden.summary.bf16_weights_packed.masked_loss) <= 1e-5);
    for (const { name: parameter } of model.parameters.slices) {
      assertClose(model.parameters.gradientOf(parameter), grads.read(parameter, engine.backend), 1e-6, parameter);
    }
    outputs.close();
    grads.close();
  });

  test(`${name}: the 12-step training trajectory`, () => {
    const model = load('hf');
    const { engine, parameters } = model;
    const { betas, alpha, alpha_warmup, eps } = trajectory.optimizer;
    const optimizer = new Optimizer(
      parameters,
      {
        name: 'ademamix',
        beta1: betas[0],
        beta2: betas[1],
        beta3: betas[2],
        alpha,
        eps,
        weightDecay: 0.1,
        warmupSteps: alpha_warmup,
      },
      trajectory.steps_float64.length,
    );
    for (const { rows, lr, loss: want, grad_norm, step } of trajectory.steps_float64) {
      parameters.zeroGradients();
      const labels = Int32Array.from(flat(rows, golden.labels));
      const loss = engine.gradients(() => model.loss(batchOf(rows, 'packed'), labels, maskShares(rows)));
      assert.ok(Math.abs(loss - want) <= 1e-4, `step ${step}: loss ${loss}, want ${want}`);
      const { gradientNorm } = optimizer.update(lr, 0.1);
      assert.ok(Math.abs(gradientNorm - grad_norm) <= 1e-4, `step ${step}: norm ${gradientNorm}, want ${grad_norm}`);
    }
    const final = new SafetensorsFile(goldenPath('model', 'train_final_weights.safetensors'));
    for (const { name: parameter } of parameters.slices) {
      assertClose(parameters.valuesOf(parameter), final.read(parameter, engine.backend), 1e-4, parameter);
    }
    final.close();
    assert.equal(engine.memory.liveBytes, 0, 'memory left over');
  });

  test(`${name}: the greedy continuation, with a cache, token by token`, () => {
    const model = load('hf', false);
    const { engine, config } = model;
    const { prompt, steps } = golden.greedy_continuation;
    const rows = prompt.length + steps.length;
    const caches = Array.from({ length: config.layers }, () => ({
      k: engine.zeros(rows, config.kvHeads * config.headDim),
      v: engine.zeros(rows, config.kvHeads * config.headDim),
    }));
    let input = prompt;
    let at = 0;
    for (const { token, logit } of steps) {
      const positions = Int32Array.from(input, (_, i) => at + i);
      const next = {
        tokens: Int32Array.from(input),
        positions,
        rows: positions,
        lo: new Int32Array(input.length),
        hi: positions.map((p) => p + 1),
      };
      engine.scope(() => {
        const logits = model.logits(model.hiddenCached(next, caches)).data.slice(-config.vocabularySize);
        const best = logits.indexOf(Math.max(...logits));
        assert.equal(best, token);
        assert.ok(Math.abs((logits[best] as number) - logit) <= 2e-5);
      });
      at += input.length;
      input = [token];
    }
  });

  test(`${name}: a saved folder, single or sharded, is the loaded one again`, () => {
    for (const folder of ['hf', 'hf-bf16']) {
      const model = load(folder, false);
      for (const [form, shardBytes] of [
        ['single', 1e9],
        ['sharded', 50_000],
      ] as const) {
        const dir = join(scratch, `${name}-${folder}-${form}`);
        const dtype = folder === 'hf' ? 'float32' : 'bfloat16';
        saveHfFolder(dir, model, { dtype, eosTokenId: 2, shardBytes });
        const again = loadHfFolder(dir, model.engine, { gradients: false });
        assert.deepEqual(again.parameters.values, model.parameters.values);
        assert.deepEqual(again.config, model.config);
      }
      const original = readFileSync(goldenPath('model', folder, 'model.safetensors'));
      const saved = readFileSync(join(scratch, `${name}-${folder}-single`, 'model.safetensors'));
      assert.equal(saved.length, original.length);
    }
  });
}

test('config.json survives reading and writing', () => {
  const original = goldenJson<object>('model', 'hf', 'config.json');
  const config = fromHfConfig(original, 'config.json');
  assert.deepEqual(toHfConfig(config, { dtype: 'float32', eosTokenId: 2 }), original);
});

test('RoPE frequencies are the reference values', () => {
  const { rope } = goldenJson<{
    rope: {
      rope_theta: number;
      head_dim: number;
      llama3_scaling: boolean | null | object;
      inv_freq_float64: number[];
    }[];
  }>('xielu_rope.json');
  for (const { rope_theta, head_dim, llama3_scaling, inv_freq_float64 } of rope) {
    const ropeScaling = llama3_scaling
      ? { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 }
      : null;
    const got = ropeFrequencies({ headDim: head_dim, ropeTheta: rope_theta, ropeScaling });
    for (const [i, want] of inv_freq_float64.entries()) {
      assert.ok(Math.abs((got[i] as number) - want) <= 1e-12 * want, `theta ${rope_theta}, d ${head_dim}, i ${i}`);
    }
  }
});
