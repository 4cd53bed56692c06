// The sizes of an Apertus model, as a recipe names them and as config.json of a Hugging Face folder does.
//
// Source of the keys: spec section 4.1 (transformers `models/apertus`). Newer transformers keep RoPE in one
// `rope_parameters` dict; both forms are read, the older is written.
//
// Does not: hold weights.
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import type { ModelRecipe } from '../base/recipe.ts';

/** xIELU's constants: fixed in training, stored beside the weights (a bfloat16 folder holds them rounded). */
export interface ModelConfig extends ModelRecipe {
  readonly xieluBeta: number;
  readonly xieluEps: number;
  /** Rows of the embedding without gradient (HF padding_idx). */
  readonly padTokenId: number;
}

/** -1e-6, the clamp of the exponential in xIELU. */
export const xieluEps = -1e-6;
export const xieluBeta = 0.5;

export function modelConfig(recipe: ModelRecipe): ModelConfig {
  return { ...recipe, xieluBeta, xieluEps, padTokenId: 3 };
}

/** `hidden_act` of config.json. A folder of ours with `silu` has a gate; only `xielu` is Apertus to others. */
const hiddenActs = { xielu: 'xielu', swiglu: 'silu', relu2: 'relu2' } as const;
const activations = { xielu: 'xielu', silu: 'swiglu', relu2: 'relu2' } as const;

const ropeSchema = z.looseObject({
  factor: z.number().optional(),
  low_freq_factor: z.number().optional(),
  high_freq_factor: z.number().optional(),
  original_max_position_embeddings: z.number().optional(),
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().optional(),
});

const hfSchema = z.looseObject({
  model_type: z.literal('apertus'),
  vocab_size: z.int(),
  hidden_size: z.int(),
  intermediate_size: z.int(),
  num_hidden_layers: z.int(),
  num_attention_heads: z.int(),
  num_key_value_heads: z.int().optional(),
  head_dim: z.int().nullish(),
  max_position_embeddings: z.int(),
  rope_theta: z.number().optional(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
  rms_norm_eps: z.number().default(1e-5),
  initializer_range: z.number().default(0.02),
  hidden_act: z.enum(['xielu', 'silu', 'relu2']).default('xielu'),
  tie_word_embeddings: z.literal(false).default(false),
  attention_bias: z.literal(false).default(false),
  mlp_bias: z.literal(false).default(false),
  qk_norm: z.literal(true).default(true),
  post_norm: z.literal(false).default(false),
  pad_token_id: z.int().nullish(),
});

/** Reads config.json; a setting this model does not have is a UserError that names it. */
export function fromHfConfig(value: unknown, where: string): ModelConfig {
  const parsed = hfSchema.safeParse(value);
  if (!parsed.success) {
    throw new UserError(`${where} does not describe an Apertus model that belay can run`, {
      found: schemaProblems(parsed.error),
      expected:
        'model_type "apertus" with xielu (or silu or relu2), QK-norm, pre-norm, untied embeddings and no biases',
    });
  }
  const hf = parsed.data;
  const rope = hf.rope_parameters ?? hf.rope_scaling ?? undefined;
  const kind = rope?.rope_type ?? rope?.type ?? 'default';
  if (kind !== 'default' && kind !== 'llama3') {
    throw new UserError(`${where} asks for RoPE scaling "${kind}"`, { expected: '"llama3" or "default"' });
  }
  const heads = hf.num_attention_heads;
  return {
    layers: hf.num_hidden_layers,
    hidden: hf.hidden_size,
    intermediate: hf.intermediate_size,
    activation: activations[hf.hidden_act],
    heads,
    kvHeads: hf.num_key_value_heads ?? heads,
    headDim: hf.head_dim ?? hf.hidden_size / heads,
    vocabularySize: hf.vocab_size,
    maxPositions: hf.max_position_embeddings,
    ropeTheta: hf.rope_parameters?.rope_theta ?? hf.rope_theta ?? 12_000_000,
    ropeScaling:
      kind === 'llama3' && rope
        ? {
            factor: rope.factor ?? 8,
            lowFreqFactor: rope.low_freq_factor ?? 1,
            highFreqFactor: rope.high_freq_factor ?? 4,
            originalMaxPositions: rope.original_max_position_embeddings ?? 8192,
          }
        : null,
    rmsNormEps: hf.rms_norm_eps,
    initStd: hf.initializer_range,
    xieluBeta,
    xieluEps,
    padTokenId: hf.pad_token_id ?? -1,
  };
}

/** config.json as transformers writes it for Apertus. `eosTokenId`: 2 for base models, 68 for instruct ones. */
export function toHfConfig(
  config: ModelConfig,
  options: { readonly dtype: 'float32' | 'bfloat16'; readonly eosTokenId: number },
): object {
  const scaling = config.ropeScaling;
  return {
    architectures: ['ApertusForCausalLM'],
    attention_bias: false,
    attention_dropout: 0,
    bos_token_id: 1,
    eos_token_id: options.eosTokenId,
    head_dim: config.headDim,
    hidden_act: hiddenActs[config.activation],
    hidden_dropout: 0,
    hidden_size: config.hidden,
    initializer_range: config.initStd,
    intermediate_size: config.intermediate,
    max_position_embeddings: config.maxPositions,
    mlp_bias: false,
    model_type: 'apertus',
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    num_key_value_heads: config.kvHeads,
    pad_token_id: config.padTokenId >= 0 ? config.padTokenId : null,
    post_norm: false,
    qk_norm: true,
    rms_norm_eps: config.rmsNormEps,
    rope_scaling: scaling && {
      factor: scaling.factor,
      high_freq_factor: scaling.highFreqFactor,
      low_freq_factor: scaling.lowFreqFactor,
      original_max_position_embeddings: scaling.originalMaxPositions,
      rope_type: 'llama3',
      type: 'llama3',
    },
    rope_theta: config.ropeTheta,
    tie_word_embeddings: false,
    torch_dtype: options.dtype,
    use_cache: true,
    vocab_size: config.vocabularySize,
  };
}
