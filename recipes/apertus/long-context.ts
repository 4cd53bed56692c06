// The four long-context phases after pretraining (Apertus report sections 2.5 and 3.4, tables 5 and 8; scripts of
// swiss-ai/pretrain-code, long_context/).
//
// Each phase doubles the length at the same tokens per step, raises the base of RoPE, starts its optimizer anew and
// keeps one learning rate after a warm-up of 1.2B tokens. Its data are 70 % of the cooldown's mixture, 20 % long web
// documents and 10 % books, chosen by whole files, so that the published shares differ a little from that; a weight is
// the billions of tokens there are, of which no phase reads more than once.
//
// Does not: name start weights. Phase `8k` begins with those that pretraining ended with (without its optimizer).
import type { RecipeInput } from '../../src/base/recipe.ts';
import {
  devicesPerNode,
  megatron70b,
  megatron8b,
  megatronArguments,
  model70b,
  model8b,
  training,
  wattsPerDevice,
} from './models.ts';
import { mixture } from './stages.ts';

/** The published values of a phase; steps, nodes and tokens per second and device for 8B and 70B. */
interface LongPhase {
  readonly name: string;
  readonly sequenceLength: number;
  readonly ropeTheta: number;
  readonly billions: readonly [cooldown: number, longWeb: number, books: number];
  readonly documentMask: boolean;
  readonly '8b': readonly [steps: number, nodes: number, rate: number];
  readonly '70b': readonly [steps: number, nodes: number, rate: number];
}

/**
 * Steps are table 5's; the 70B scripts ask for a few more (4,800, 3,600, 3,580), more than their mixtures hold. At 64k the
 * scripts switch the document mask off, and the one of 70B sets a base of 8M; the report and the released
 * configuration say 12M.
 */
const longPhases: readonly LongPhase[] = [
  {
    name: '8k',
    sequenceLength: 8192,
    ropeTheta: 1e6,
    billions: [55.8, 15.87, 6.88],
    documentMask: true,
    '8b': [9350, 256, 6150],
    '70b': [4680, 512, 780],
  },
  {
    name: '16k',
    sequenceLength: 16_384,
    ropeTheta: 2e6,
    billions: [41.31, 11.83, 5.15],
    documentMask: true,
    '8b': [6930, 512, 4300],
    '70b': [3470, 512, 710],
  },
  {
    name: '32k',
    sequenceLength: 32_768,
    ropeTheta: 4e6,
    billions: [41.62, 12.09, 5.16],
    documentMask: true,
    '8b': [7000, 512, 3700],
    '70b': [3500, 512, 480],
  },
  {
    name: '64k',
    sequenceLength: 65_536,
    ropeTheta: 12e6,
    billions: [20.74, 5.58, 2.96],
    documentMask: false,
    '8b': [3480, 512, 1800],
    '70b': [1742, 256, 160],
  },
];

/** What the models differ in. */
const sizes = {
  '8b': { model: model8b, tokensPerStep: 1024 * 8192, warmup: 150, learningRate: 1.1e-5 },
  '70b': { model: model70b, tokensPerStep: 2048 * 8192, warmup: 75, learningRate: 1.0e-6 },
} as const;

type Megatron = NonNullable<RecipeInput['megatron']>;

/** How Megatron-LM ran the phases; phase 8k has what is not named by phase. */
const megatron: Readonly<Record<keyof typeof sizes, Megatron>> = {
  '8b': {
    ...megatron8b,
    sequenceParallel: true,
    dataWorkers: 32,
    tokenizer: 'alehc/swissai-tokenizer',
    arguments: {
      ...megatronArguments,
      'ckpt-assume-constant-structure': true,
      'log-params-norm': true,
      'log-progress': true,
      'manual-gc-interval': 200,
    },
    phases: {
      '8k': { checkpointEverySteps: 500 },
      '16k': { tensorParallel: 4, checkpointEverySteps: 500 },
      '32k': { tensorParallel: 4, contextParallel: 2 },
      '64k': { tensorParallel: 4, contextParallel: 4, checkpointEverySteps: 125, dataWorkers: 8 },
    },
  },
  '70b': {
    ...megatron70b,
    tokenizer: 'alehc/swissai-tokenizer',
    arguments: { ...megatron70b.arguments, 'log-params-norm': true },
    phases: {
      '16k': { contextParallel: 2 },
      '32k': { contextParallel: 4 },
      '64k': { contextParallel: 8, checkpointEverySteps: 50, dataWorkers: 8 },
    },
  },
};

/** The long-context recipe of a model. */
export function longContextRecipe(size: keyof typeof sizes): RecipeInput {
  const { model, tokensPerStep, warmup, learningRate } = sizes[size];
  const phases = longPhases.map(({ name, sequenceLength, ropeTheta, billions, documentMask, [size]: own }) => {
    const [steps, nodes, tokensPerSecondPerDevice] = own;
    const [cooldown, longWeb, books] = billions;
    return {
      name,
      sequenceLength,
      ropeTheta,
      steps,
      batchSize: tokensPerStep / sequenceLength,
      documentMask,
      mixture: mixture({ 'stage-5': cooldown, [`fineweb-long-${name}`]: longWeb, 'institutional-books': books }),
      learningRate: { peak: learningRate, final: learningRate, warmup, decay: 'constant' as const },
      resetOptimizer: true,
      devices: nodes * devicesPerNode,
      tokensPerSecondPerDevice,
    };
  });
  const { warmupSamples: _warmup, cooldownSamples: _cooldown, ...shared } = training;
  const [first] = phases as [(typeof phases)[number]];
  return {
    name: `apertus-${size}-long-context`,
    seed: 28,
    model: { ...model, maxPositions: 65_536 },
    pretrain: {
      ...shared,
      sequenceLength: first.sequenceLength,
      batchSize: first.batchSize,
      microBatchSize: 1,
      peakLearningRate: learningRate,
      // Scripts: also 500 and 125 (8B) and 50 (70B), by phase.
      checkpointEverySteps: 250,
      phases,
    },
    hardware: {
      devices: first.devices,
      tokensPerSecondPerDevice: first.tokensPerSecondPerDevice,
      wattsPerDevice,
    },
    megatron: megatron[size],
  };
}
