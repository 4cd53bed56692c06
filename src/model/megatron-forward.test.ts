// An oracle: the forward pass as Megatron's ranks take it, on its own layout, against values that transformers computed.
//
// Every tensor rank multiplies by its own shard; column-parallel results stay apart, row-parallel ones are summed, as
// Megatron does. Plain loops in float64, so that nothing of belay's engine or of its converter is in the way.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { SafetensorsFile } from '../tensor/safetensors.ts';
import { convertWeights } from './megatron-convert.ts';
import { ropeFrequencies } from './rope.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-megatron-forward-'));
after(() => rmSync(scratch, { recursive: true }));
const backend = jsBackend();

const [tp, pp] = [2, 2];
const [D, H, K, hd, F, V, layers, eps] = [64, 4, 2, 16, 160, 128, 2, 1e-5];
const golden = goldenJson<{ T: number; input_ids: number[][]; document_starts: number[][] }>('model', 'batch.json');
const { T } = golden;

type Rows = Float64Array[];
const rows = (n: number, width: number): Rows => Array.from({ length: n }, () => new Float64Array(width));

/** x W^T for a weight [out, in]. */
function project(x: Rows, weight: Float32Array): Rows {
  return x.map((row) => {
    const out = new Float64Array(weight.length / row.length);
    for (let o = 0; o < out.length; o++) {
      let sum = 0;
      for (let i = 0; i < row.length; i++) sum += (row[i] as number) * (weight[o * row.length + i] as number);
      out[o] = sum;
    }
    return out;
  });
}

function rmsNorm(row: Float64Array, weight: Float32Array): Float64Array {
  const mean = row.reduce((sum, value) => sum + value * value, 0) / row.length;
  return row.map((value, i) => (value / Math.sqrt(mean + eps)) * (weight[i] as number));
}

const add = (a: Rows, b: Rows): Rows => a.map((row, t) => row.map((value, i) => value + (b[t]?.[i] as number)));
const softplus = (x: number): number => Math.log1p(Math.exp(x));

const frequencies = ropeFrequencies({
  headDim: hd,
  ropeTheta: 500_000,
  ropeScaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 },
});
/** Rotates the halves of a head's vector at position t. */
function rotate(x: Float64Array, t: number): Float64Array {
  return x.map((value, i) => {
    const half = hd / 2;
    const angle = t * (frequencies[i % half] as number);
    const other = i < half ? -(x[i + half] as number) : (x[i - half] as number);
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** One rank's attention: from its fused projection [T, groups x (H/K + 2) x hd] to its heads joined [T, H/tp x hd]. */
function attention(mixed: Rows, qWeight: Float32Array, kWeight: Float32Array, starts: readonly number[]): Rows {
  const groups = K / tp;
  const perGroup = H / K;
  const joined = rows(T, (H / tp) * hd);
  for (let g = 0; g < groups; g++) {
    // Of each group: its queries side by side, then its key, then its value.
    const slot = (t: number, index: number): Float64Array => {
      const at = (g * (perGroup + 2) + index) * hd;
      return (mixed[t] as Float64Array).slice(at, at + hd);
    };
    const keys = mixed.map((_, t) => rotate(rmsNorm(slot(t, perGroup), kWeight), t));
    const values = mixed.map((_, t) => slot(t, perGroup + 1));
    for (let q = 0; q < perGroup; q++) {
      for (let t = 0; t < T; t++) {
        const query = rotate(rmsNorm(slot(t, q), qWeight), t);
        const first = Math.max(...starts.filter((start) => start <= t));
        const scores = keys
          .slice(first, t + 1)
          .map((key) => key.reduce((sum, k, i) => sum + k * (query[i] as number), 0));
        const largest = Math.max(...scores) / Math.sqrt(hd);
        const weights = scores.map((score) => Math.exp(score / Math.sqrt(hd) - largest));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (const [j, weight] of weights.entries()) {
          for (let i = 0; i < hd; i++) {
            (joined[t] as Float64Array)[(g * perGroup + q) * hd + i]! +=
              (weight / total) * (values[first + j]?.[i] as number);
          }
        }
      }
    }
  }
  return joined;
}

test('a forward pass over Megatron shards gives the logits of transformers', () => {
  const dir = join(scratch, 'megatron');
  const split = { tensorParallel: tp, pipelineParallel: pp, layersPerVirtualStage: null };
  convertWeights(goldenPath('model', 'hf'), dir, { from: 'hf', to: 'megatron', split, vocabularyMultiple: 32 });
  const file = (tensorRank: number, stage: number): SafetensorsFile =>
    new SafetensorsFile(join(dir, `mp_rank_0${tensorRank}_00${stage}.safetensors`));
  const stages = [0, 1].map((stage) => [0, 1].map((rank) => file(rank, stage)));
  const inside = new SafetensorsFile(goldenPath('model', 'packed_intermediates.safetensors'));
  const logitsFile = new SafetensorsFile(goldenPath('model', 'packed_outputs.safetensors'));
  const batch = 1;
  const close = (got: Rows, want: Float32Array, what: string): void => {
    const width = (got[0] as Float64Array).length;
    let worst = 0;
    for (let t = 0; t < T; t++) {
      for (let i = 0; i < width; i++) {
        const expected = want[(batch * T + t) * width + i] as number;
        worst = Math.max(worst, Math.abs((got[t]?.[i] as number) - expected));
      }
    }
    assert.ok(worst < 2e-5, `${what}: off by ${worst}`);
  };

  const starts = golden.document_starts[batch] as number[];
  // A vocabulary-parallel embedding: each rank knows its rows, the ranks' results are summed.
  let h = rows(T, D);
  for (const [rank, shard] of (stages[0] as SafetensorsFile[]).entries()) {
    const table = shard.read('embedding.word_embeddings.weight', backend);
    const own = table.length / D;
    for (const [t, token] of (golden.input_ids[batch] as number[]).entries()) {
      const row = token - rank * own;
      if (row >= 0 && row < own) for (let i = 0; i < D; i++) (h[t] as Float64Array)[i]! += table[row * D + i] as number;
    }
  }
  close(h, inside.read('embed', backend), 'embedding');
  for (let layer = 0; layer < layers; layer++) {
    const shards = stages[layer] as SafetensorsFile[];
    const read = (rank: number, name: string): Float32Array =>
      (shards[rank] as SafetensorsFile).read(`decoder.layers.0.${name}`, backend);
    const normed = h.map((row) => rmsNorm(row, read(0, 'self_attention.linear_qkv.layer_norm_weight')));
    const heads: Rows[] = [];
    for (let rank = 0; rank < tp; rank++) {
      const mixed = project(normed, read(rank, 'self_attention.linear_qkv.weight'));
      const qNorm = read(rank, 'self_attention.q_layernorm.weight');
      heads.push(attention(mixed, qNorm, read(rank, 'self_attention.k_layernorm.weight'), starts));
    }
    const joined = normed.map((_, t) => Float64Array.from(heads.flatMap((rank) => [...(rank[t] as Float64Array)])));
    close(joined, inside.read(`layer${layer}.attn_heads`, backend), `layer ${layer}, heads`);
    for (let rank = 0; rank < tp; rank++) {
      h = add(h, project(heads[rank] as Rows, read(rank, 'self_attention.linear_proj.weight')));
    }
    close(h, inside.read(`layer${layer}.after_attention`, backend), `layer ${layer}, attention`);
    const fed = h.map((row) => rmsNorm(row, read(0, 'mlp.linear_fc1.layer_norm_weight')));
    for (let rank = 0; rank < tp; rank++) {
      const p = softplus(read(rank, 'mlp.activation_func.alpha_p')[0] as number);
      const n = 0.5 + softplus(read(rank, 'mlp.activation_func.alpha_n')[0] as number);
      const up = project(fed, read(rank, 'mlp.linear_fc1.weight'));
      assert.equal(up[0]?.length, F / tp);
      const active = up.map((row) =>
        row.map((x) => (x > 0 ? p * x * x : n * (Math.expm1(Math.min(x, -1e-6)) - x)) + 0.5 * x),
      );
      h = add(h, project(active, read(rank, 'mlp.linear_fc2.weight')));
    }
    close(h, inside.read(`layer${layer}.out`, backend), `layer ${layer}, MLP`);
  }
  const last = stages[pp - 1] as SafetensorsFile[];
  const final = h.map((row) =>
    rmsNorm(row, (last[0] as SafetensorsFile).read('decoder.final_layernorm.weight', backend)),
  );
  const perRank = last.map((shard) => project(final, shard.read('output_layer.weight', backend)));
  const logits = final.map((_, t) => Float64Array.from(perRank.flatMap((rank) => [...(rank[t] as Float64Array)])));
  assert.equal(perRank[1]?.[0]?.length, V / tp);
  close(logits, logitsFile.read('logits', backend), 'logits');
  for (const shard of [...stages.flat(), inside, logitsFile]) shard.close();
});
