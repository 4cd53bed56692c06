// The arithmetic of an Apertus model: parameters, floating-point operations and bytes.
//
// FLOPs follow appendix D of the Apertus report (spec section 2.3): per sequence of s tokens and layer
//   q 2sd(hk); k, v 2sd(gk) each; scores 2hs^2k; QK-norm 4s(h+g)k; softmax 3hs^2; mixing 2hs^2k; out 2s(hk)d;
//   MLP 2s(2df), with a gate 2s(3df); two RMSNorms 4sd each; plus logits 2sdV; training costs three times the forward pass.
// (h query heads, g key/value heads, k head width, d hidden, f feed-forward). Checked: 70B x 15T tokens = 6.74e24.
//
// Does not: measure; bench/ does.
import type { ModelRecipe } from '../base/recipe.ts';
import { mostWaiting } from '../parallel/tree.ts';
import { parameterSpecs } from './apertus.ts';

/** Number of parameters. */
export function parameterCount(model: ModelRecipe): number {
  return parameterSpecs(model).reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0);
}

/** Matrices of [F, D] in one MLP: up and down, and the gate of SwiGLU. */
const mlpMatrices = ({ activation }: ModelRecipe): number => (activation === 'swiglu' ? 3 : 2);

/** FLOPs of one forward pass over one sequence of `s` tokens. */
export function forwardFlops(model: ModelRecipe, s: number): number {
  const { layers, hidden: d, intermediate: f, heads: h, kvHeads: g, headDim: k, vocabularySize: V } = model;
  const layer =
    2 * s * d * h * k +
    2 * (2 * s * d * g * k) +
    2 * h * s * s * k +
    4 * s * (h + g) * k +
    3 * h * s * s +
    2 * h * s * s * k +
    2 * s * h * k * d +
    2 * s * (mlpMatrices(model) * d * f) +
    2 * (4 * s * d);
  return layers * layer + 2 * s * d * V;
}

/** FLOPs of training on one token in sequences of `s` (forward and backward). */
export function trainingFlopsPerToken(model: ModelRecipe, s: number): number {
  return (3 * forwardFlops(model, s)) / s;
}

export interface MemoryPlan {
  /** Bytes of float32 master weights, gradients and optimizer moments. */
  readonly weights: number;
  readonly gradients: number;
  readonly optimizer: number;
  /** Copies of gradients that wait for their neighbours in the tree of shards. */
  readonly waiting: number;
  /** A checkpoint on its way to the disk: weights and moments once more. */
  readonly snapshot: number;
  /** Bytes of the activations that one micro-batch keeps for its backward pass. */
  readonly activations: number;
  readonly total: number;
}

/** Bytes that training with micro-batches of `B` sequences of `T` tokens holds in one process that computes all shards. */
export function trainingMemory(model: ModelRecipe, B: number, T: number, moments: number, shards = 1): MemoryPlan {
  const { layers, hidden: d, intermediate: f, heads: h, kvHeads: g, headDim: k } = model;
  const N = B * T;
  const weights = 4 * parameterCount(model);
  // Per layer and token: two normed inputs, two residual sums, qkv, rotated q and k, mixed heads, up (and
  // gate), activated, and the row statistics; then the final residual, its norm and its gradient.
  const perLayer = 4 * d + (h + 2 * g) * k + (h + g) * k + h * k + mlpMatrices(model) * f + 2 + 2 * h + g;
  const activations = 4 * N * (layers * perLayer + 4 * d);
  const optimizer = moments * weights;
  const waiting = mostWaiting(shards) * weights;
  const snapshot = weights + optimizer;
  const total = 2 * weights + optimizer + waiting + snapshot + activations;
  return { weights, gradients: weights, optimizer, waiting, snapshot, activations, total };
}

/** Bytes of keys and values that one token leaves in the cache (float32). */
export function cacheBytesPerToken(model: ModelRecipe): number {
  return 4 * 2 * model.layers * model.kvHeads * model.headDim;
}
