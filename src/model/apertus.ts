// The Apertus transformer, top to bottom.
//
// Pre-norm blocks over a residual stream h [N, D]:
//   h += o_proj(attention(RMSNorm(h))), with RMS-normed, rotated queries and keys;  h += down(xIELU(up(RMSNorm(h))));
// a final RMSNorm and an untied head. No biases. For comparison the MLP can be down(silu(gate x) * up x) (SwiGLU) or
// down(max(up x, 0)^2) (squared ReLU) instead. Source: Apertus report section 2.1 (spec section 2.1), names as in
// Hugging Face's `modular_apertus.py` (spec section 4.2).
//
// Does not: train, sample, or read files.
import type { ModelRecipe } from '../base/recipe.ts';
import { Random } from '../base/rng.ts';
import {
  addRmsNorm,
  attention,
  type AttentionCache,
  type AttentionRange,
  cachedAttention,
  embedding,
  linear,
  linearCrossEntropy,
  relu2,
  rmsNorm,
  type RopeTable,
  swiglu,
  tokenLosses,
  xielu,
} from '../tensor/ops.ts';
import { ParameterSet, type ParameterSpec } from '../tensor/parameters.ts';
import type { Engine, Tensor } from '../tensor/tensor.ts';
import type { ModelConfig } from './config.ts';
import { ropeTable } from './rope.ts';

/** B rows of T tokens, packed documents: everything a forward pass needs. All arrays have N = B*T entries. */
export interface TokenBatch {
  readonly B: number;
  readonly T: number;
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  /** Row n may attend to rows lo[n] <= j < hi[n] of the batch. */
  readonly lo: Int32Array;
  readonly hi: Int32Array;
}

/** New tokens of running sequences: token n goes to cache row `rows[n]` and attends to cache rows lo[n] <= j < hi[n]. */
export interface CachedTokens {
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  readonly rows: Int32Array;
  readonly lo: Int32Array;
  readonly hi: Int32Array;
}

/** How one layer attends: over its own batch, or into a cache. */
type Attend = (layer: number, qkv: Tensor, qNorm: Tensor, kNorm: Tensor) => Tensor;

interface Layer {
  readonly attentionNorm: Tensor;
  readonly qkv: Tensor;
  readonly qNorm: Tensor;
  readonly kNorm: Tensor;
  readonly o: Tensor;
  readonly mlpNorm: Tensor;
  /** [F, D]; with a gate [2F, D], its rows first. */
  readonly up: Tensor;
  readonly down: Tensor;
  /** up's output [N, F] (or [N, 2F]) -> [N, F]. */
  readonly activate: (up: Tensor) => Tensor;
}

/** Names and shapes of all parameters, in the order of the flat buffer (the scalars last, so that matrices stay aligned). */
export function parameterSpecs(config: ModelRecipe): ParameterSpec[] {
  const { layers, hidden: D, intermediate: F, heads: H, kvHeads: K, headDim: hd, vocabularySize: V } = config;
  const { activation } = config;
  const specs: ParameterSpec[] = [{ name: 'model.embed_tokens.weight', shape: [V, D] }];
  const scalars: ParameterSpec[] = [];
  for (let i = 0; i < layers; i++) {
    const at = `model.layers.${i}`;
    specs.push(
      { name: `${at}.self_attn.q_proj.weight`, shape: [H * hd, D] },
      { name: `${at}.self_attn.k_proj.weight`, shape: [K * hd, D] },
      { name: `${at}.self_attn.v_proj.weight`, shape: [K * hd, D] },
      { name: `${at}.self_attn.o_proj.weight`, shape: [D, H * hd] },
      ...(activation === 'swiglu' ? [{ name: `${at}.mlp.gate_proj.weight`, shape: [F, D] }] : []),
      { name: `${at}.mlp.up_proj.weight`, shape: [F, D] },
      { name: `${at}.mlp.down_proj.weight`, shape: [D, F] },
      { name: `${at}.attention_layernorm.weight`, shape: [D] },
      { name: `${at}.feedforward_layernorm.weight`, shape: [D] },
      { name: `${at}.self_attn.q_norm.weight`, shape: [hd] },
      { name: `${at}.self_attn.k_norm.weight`, shape: [hd] },
    );
    if (activation === 'xielu')
      scalars.push({ name: `${at}.mlp.act_fn.alpha_p`, shape: [1] }, { name: `${at}.mlp.act_fn.alpha_n`, shape: [1] });
  }
  specs.push({ name: 'model.norm.weight', shape: [D] }, { name: 'lm_head.weight', shape: [V, D] });
  return [...specs, ...scalars];
}

/** What a layer does between up and down; `name` gives the full name of one of its parameters. */
function activationOf(
  config: ModelConfig,
  parameters: ParameterSet,
  name: (part: string) => string,
): (up: Tensor) => Tensor {
  if (config.activation === 'swiglu') return swiglu;
  if (config.activation === 'relu2') return relu2;
  const alphaP = parameters.tensor(name('mlp.act_fn.alpha_p'));
  const alphaN = parameters.tensor(name('mlp.act_fn.alpha_n'));
  const constants = { beta: config.xieluBeta, eps: config.xieluEps };
  return (up) => xielu(up, alphaP, alphaN, constants);
}

/** Elements [from, to) of the flat buffers. */
interface Elements {
  readonly from: number;
  readonly to: number;
}

export class Apertus {
  /** Sizes; RoPE's base and the longest context change with `setContext`. */
  config: ModelConfig;
  /** Parts of the flat buffers in the order in which a backward pass completes their gradients: head and last layer first. */
  readonly gradientBuckets: readonly Elements[];
  /** Called during backward passes when the gradients of a bucket (by its index) are complete for that pass. */
  onBucket: ((bucket: number) => void) | undefined;
  readonly engine: Engine;
  readonly parameters: ParameterSet;
  private readonly layers: readonly Layer[];
  private readonly embed: Tensor;
  private readonly finalNorm: Tensor;
  private readonly head: Tensor;
  private rope: RopeTable;

  /** A model whose parameters are all zero; `initialise` or model/hf-folder.ts fills them. */
  constructor(engine: Engine, config: ModelConfig, options: { readonly gradients?: boolean } = {}) {
    this.config = config;
    this.engine = engine;
    const parameters = new ParameterSet(engine, parameterSpecs(config), options);
    this.parameters = parameters;
    this.embed = parameters.tensor('model.embed_tokens.weight');
    this.finalNorm = parameters.tensor('model.norm.weight');
    this.head = parameters.tensor('lm_head.weight');
    this.layers = Array.from({ length: config.layers }, (_, i) => {
      const name = (part: string): string => `model.layers.${i}.${part}`;
      return {
        attentionNorm: parameters.tensor(name('attention_layernorm.weight')),
        qkv: parameters.tensor(
          name('self_attn.q_proj.weight'),
          name('self_attn.k_proj.weight'),
          name('self_attn.v_proj.weight'),
        ),
        qNorm: parameters.tensor(name('self_attn.q_norm.weight')),
        kNorm: parameters.tensor(name('self_attn.k_norm.weight')),
        o: parameters.tensor(name('self_attn.o_proj.weight')),
        mlpNorm: parameters.tensor(name('feedforward_layernorm.weight')),
        up:
          config.activation === 'swiglu'
            ? parameters.tensor(name('mlp.gate_proj.weight'), name('mlp.up_proj.weight'))
            : parameters.tensor(name('mlp.up_proj.weight')),
        down: parameters.tensor(name('mlp.down_proj.weight')),
        activate: activationOf(config, parameters, name),
      };
    });
    this.gradientBuckets = bucketsOf(parameters, config.layers);
    this.rope = ropeTable(config, Math.min(config.maxPositions, 512));
  }

  /** Another base of the rotary embedding, for contexts of at least `positions` tokens; weights stay as they are. */
  setContext(ropeTheta: number, positions: number): void {
    if (ropeTheta === this.config.ropeTheta && positions <= this.config.maxPositions) return;
    const maxPositions = Math.max(positions, this.config.maxPositions);
    this.config = { ...this.config, ropeTheta, maxPositions };
    this.rope = ropeTable(this.config, this.rope.positions);
  }

  /**
   * Normal initialisation with the recipe's deviation; matrices that write into the residual stream (o_proj, down_proj)
   * are scaled by 1/sqrt(2 layers) as Megatron does by default. Norms are 1; alpha_p = softplus^-1(0.8) and
   * alpha_n = softplus^-1(0.8 - beta) (spec section 2.1).
   */
  initialise(seed: number): void {
    const { config, parameters } = this;
    for (const { name, shape } of parameters.slices) {
      const values = parameters.valuesOf(name);
      if (name.endsWith('alpha_p')) values.fill(Math.log(Math.expm1(0.8)));
      else if (name.endsWith('alpha_n')) values.fill(Math.log(Math.expm1(0.8 - config.xieluBeta)));
      else if (shape.length === 1) values.fill(1);
      else {
        const residual = name.endsWith('o_proj.weight') || name.endsWith('down_proj.weight');
        const std = residual ? config.initStd / Math.sqrt(2 * config.layers) : config.initStd;
        const random = new Random(seed, 'initialise', name);
        for (let i = 0; i < values.length; i++) values[i] = std * random.normal();
      }
    }
  }

  /** The final, normed residual stream [N, D] of a batch. */
  hidden(batch: TokenBatch): Tensor {
    const { heads: H, kvHeads: K, headDim: hd, rmsNormEps } = this.config;
    const rope = this.ropeFor(batch.positions);
    const shape = { B: batch.B, T: batch.T, H, K, hd };
    const range: AttentionRange = batch;
    return this.blocks(batch.tokens, (_, qkv, qNorm, kNorm) =>
      attention(qkv, qNorm, kNorm, rmsNormEps, rope, batch.positions, range, shape),
    );
  }

  /** The same for new tokens of running sequences; keys and values go into `caches`, one per layer. */
  hiddenCached(input: CachedTokens, caches: readonly AttentionCache[]): Tensor {
    const { heads: H, kvHeads: K, headDim: hd, rmsNormEps } = this.config;
    const rope = this.ropeFor(input.positions);
    return this.blocks(input.tokens, (layer, qkv, qNorm, kNorm) =>
      cachedAttention(
        qkv,
        qNorm,
        kNorm,
        rmsNormEps,
        rope,
        input.positions,
        input,
        caches[layer] as AttentionCache,
        input.rows,
        { H, K, hd },
      ),
    );
  }

  /** Logits [N, V] of a final residual stream [N, D]. */
  logits(hidden: Tensor): Tensor {
    return linear(hidden, this.head);
  }

  /** sum_n coefficient[n] * CE[n] over the batch, a scalar to take gradients of; `losses` receives the CE of every token. */
  loss(batch: TokenBatch, labels: Int32Array, coefficient: Float32Array, losses?: Float32Array): Tensor {
    return linearCrossEntropy(this.hidden(batch), this.head, labels, coefficient, losses);
  }

  /** Cross-entropy of every label in nats [N], without gradients. */
  tokenLosses(batch: TokenBatch, labels: Int32Array): Tensor {
    return tokenLosses(this.hidden(batch), this.head, labels);
  }

  private blocks(tokens: Int32Array, attend: Attend): Tensor {
    const { rmsNormEps: eps, padTokenId, layers } = this.config;
    this.engine.mark(() => {
      this.onBucket?.(layers);
      this.onBucket?.(layers + 1);
    });
    let h = embedding(this.embed, tokens, padTokenId);
    let delta: Tensor | undefined;
    const next = (weight: Tensor): Tensor => {
      if (!delta) return rmsNorm(h, weight, eps);
      const { sum, normed } = addRmsNorm(h, delta, weight, eps);
      this.done(h, delta);
      h = sum;
      return normed;
    };
    for (const [i, layer] of this.layers.entries()) {
      this.engine.mark(() => this.onBucket?.(layers - 1 - i));
      const x = next(layer.attentionNorm);
      const qkv = linear(x, layer.qkv);
      const mixed = attend(i, qkv, layer.qNorm, layer.kNorm);
      this.done(x, qkv);
      delta = linear(mixed, layer.o);
      this.done(mixed);
      const y = next(layer.mlpNorm);
      const up = linear(y, layer.up);
      this.done(y);
      const activated = layer.activate(up);
      this.done(up);
      delta = linear(activated, layer.down);
      this.done(activated);
    }
    const normed = next(this.finalNorm);
    this.done(h);
    return normed;
  }

  /** Gives back activations that only a backward pass would read again. */
  private done(...tensors: readonly Tensor[]): void {
    if (this.engine.isRecording) return;
    for (const tensor of tensors) tensor.free();
  }

  /** A RoPE table that covers the positions; grown by doubling. */
  private ropeFor(positions: Int32Array): RopeTable {
    let last = 0;
    for (let n = 0; n < positions.length; n++) if ((positions[n] as number) > last) last = positions[n] as number;
    if (last >= this.rope.positions) this.rope = ropeTable(this.config, 2 ** Math.ceil(Math.log2(last + 1)));
    return this.rope;
  }
}

/**
 * One bucket per layer, last layer first (with the final norm and the head); then the embedding, and the scalars of all
 * layers, which lie behind everything else.
 */
function bucketsOf({ slices, size }: ParameterSet, layers: number): Elements[] {
  const startOf = (prefix: string): number => slices.find(({ name }) => name.startsWith(prefix))?.offset ?? size;
  const scalars = slices.find(({ name }) => name.includes('.act_fn.'))?.offset ?? size;
  const starts = Array.from({ length: layers }, (_, i) => startOf(`model.layers.${i}.`));
  const perLayer = starts.map((from, i): Elements => ({ from, to: starts[i + 1] ?? scalars })).reverse();
  return [...perLayer, { from: 0, to: starts[0] ?? scalars }, { from: scalars, to: size }];
}
