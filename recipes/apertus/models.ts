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
