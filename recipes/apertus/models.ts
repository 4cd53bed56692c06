// What the recipes of Apertus share: sizes of the models, how they were trained, what a device draws.
//
// Source: Apertus report sections 2.1 and 2.3 and appendix C, and the launch scripts of swiss-ai/pretrain-code.
// RoPE's frequency scaling (factor 8 from 8,192 positions) and the deviation of the initial weights are the schema's
// defaults.
//
// Does not: hold data or phases; stages.ts and long-context.ts do.
import type { RecipeInput } from '../../src/base/recipe.ts';

type Model = RecipeInput['model'];
type Pretrain = NonNullable<RecipeInput['pretrain']>;
type Megatron = NonNullable<RecipeInput['megatron']>;

/** Tokens of a sequence before the long-context phases. */
export const context = 4096;

/** Apertus 8B: 8,053,338,176 parameters. */
export const model8b = {
  layers: 32,
  hidden: 4096,
  intermediate: 21_504,
  heads: 32,
  kvHeads: 8,
  headDim: 128,
  vocabularySize: 131_072,
  maxPositions: context,
} satisfies Model;

/** Apertus 70B: 70,599,864,480 parameters. */
export const model70b = {
  layers: 80,
  hidden: 8192,
  intermediate: 43_008,
  heads: 64,
  kvHeads: 8,
  headDim: 128,
  vocabularySize: 131_072,
  maxPositions: context,
} satisfies Model;

/** Samples (sequences of 4,096) of the whole run, of its warm-up and of its cooldown: 15.0T, 16.8B and 1.654T tokens. */
export const totalSamples = 3_662_109_375;
export const warmupSamples = 4_096_000;
export const cooldownSamples = 403_905_806;

/**
 * Optimizer, schedule and loss of both models. The rate starts at 0, as the scripts have it; the report says a tenth of
 * the peak.
 */
export const training = {
  sequenceLength: context,
  warmupSamples,
  cooldownSamples,
  decay: 'WSD',
  cooldownShape: '1-sqrt',
  optimizer: { name: 'ademamix', alpha: 8, beta3: 0.9999, warmupSteps: 100_000, weightDecay: 0.1 },
  gradientClip: 0.1,
  goldfish: { k: 50, h: 50 },
  documentMask: true,
  eodLossMask: true,
  compute: 'bfloat16',
} satisfies Partial<Pretrain>;

/** Watts of a GH200 module that section 6.2 of the report assumes (its limit is 660). */
export const wattsPerDevice = 560;

/** Devices of a node of Alps (report, 6.1.1). */
export const devicesPerNode = 4;

/** Arguments of Megatron-LM that all published scripts share and no other key of a recipe says. */
export const megatronArguments = {
  'dist-ckpt-strictness': 'assume_ok_unexpected',
  'log-memory-to-tensorboard': true,
  'manual-gc': true,
  'no-check-for-nan-in-loss-and-grad': true,
  'no-log-loss-scale-to-tensorboard': true,
  'num-dataset-builder-threads': 4,
} satisfies Megatron['arguments'];

/** How Megatron-LM cut the models before the long-context phases, and what else its scripts set. */
export const megatron8b = {
  tensorParallel: 2,
  dataWorkers: 64,
  tokenizer: 'swiss-ai/Apertus-8B-2509',
  arguments: {
    ...megatronArguments,
    'distributed-timeout-minutes': 60,
    'log-params-norm': true,
    'manual-gc-interval': 500,
  },
} satisfies Megatron;

export const megatron70b = {
  tensorParallel: 4,
  pipelineParallel: 8,
  layersPerVirtualStage: 2,
  sequenceParallel: true,
  dataWorkers: 32,
  tokenizer: 'swiss-ai/Apertus-70B-2509',
  arguments: {
    ...megatronArguments,
    'ckpt-assume-constant-structure': true,
    'ddp-bucket-size': 10_000_000_000,
    'decrease-batch-size-if-needed': true,
    'log-progress': true,
    'manual-gc-interval': 50,
    'overlap-p2p-communication-warmup-flush': true,
    'transformer-impl': 'transformer_engine',
  },
} satisfies Megatron;
