// The five stages of pretraining (Apertus report section 3.3, tables 6 and F.7/H.8; scripts of swiss-ai/pretrain-code).
//
// A stage is another mixture of data; batch size, learning rate and optimizer go on across it. Weights are implicit: the
// original weighs each file prefix by its number of samples, so a weight is the tokens there are, in billions.
// Names stand for the filtered and tokenized sets, of which many lie in several prefixes.
//
// The seed of the data order changes with stages 3, 4 and 5 (report 3.3; a script's comment asks for it from stage 2 on).
// The new numbers were not published: 29, 30 and 31 are our choice. Each stage starts at the first sample of its order.
//
// Does not: exist as files. `belay plan` needs sizes alone; to train, replace `data` by groups or prefixes of your own.
import type { RecipeInput } from '../../src/base/recipe.ts';
import { totalSamples } from './models.ts';

type Phase = NonNullable<NonNullable<RecipeInput['pretrain']>['phases']>[number];
type Mixture = NonNullable<Phase['mixture']>;
type BatchRamp = NonNullable<NonNullable<RecipeInput['pretrain']>['batchRamp']>;

/** Data sets by billions of tokens there are. */
export function mixture(billions: { readonly [data: string]: number }): Mixture {
  return Object.entries(billions).map(([data, weight]) => ({ data, weight, tokens: weight * 1e9 }));
}

const stage1 = mixture({
  'fineweb-edu-score-2': 4815,
  'fineweb-2-hq-33': 3557,
  starcoder: 235,
  'finemath-3plus': 32,
  'gutenberg-v1-and-poison': 2,
});

const stage2 = mixture({
  'fineweb-hq-33': 4064,
  'fineweb-2-hq-33': 3557,
  'fineweb-edu-score-3': 1179,
  starcoder: 235,
  'finemath-3plus': 32,
  'gutenberg-v1-and-poison': 2,
});

const stage3 = mixture({
  'fineweb-hq-33': 4064,
  'fineweb-2-hq-33': 3556,
  'fineweb-edu-score-3': 1179,
  'megamath-web': 260,
  starcoder: 235,
  'finemath-3plus': 32,
  'infimm-webmath-3plus': 19,
  'gutenberg-v2': 1,
});

const stage4 = mixture({
  'dclm-edu': 1619,
  'fineweb-2-hq-10': 986,
  starcoder: 234,
  'finemath-3plus': 32,
  'infimm-webmath-3plus': 19,
  'megamath-web-pro': 15,
});

/** The cooldown's data. Code of at least level 3 and the three replicas of task data (1B each) count as often as they lie there. */
const stage5 = mixture({
  'dclm-edu': 1619,
  'fineweb-2-hq-10': 986,
  'starcoder-2-and-3': 182,
  'stack-v2-edu': 68,
  'clean-wikipedia': 33,
  'finemath-3plus': 32,
  parallel: 21,
  'infimm-webmath-3plus': 19,
  'megamath-web-pro': 15,
  'task-data-x3': 3,
});

const stages = [
  { name: 'stage-1', mixture: stage1 },
  { name: 'stage-2', mixture: stage2 },
  { name: 'stage-3', mixture: stage3, seed: 29 },
  { name: 'stage-4', mixture: stage4, seed: 30 },
  { name: 'stage-5', mixture: stage5, seed: 31 },
] as const;

/** Name of a stage and the steps done when it begins. */
export type StageStarts = readonly (readonly [name: (typeof stages)[number]['name'], steps: number])[];

/** The phases of a run whose stages begin after so many steps, with a batch that doubles as the ramp says. */
export function stagePhases(starts: StageStarts, batch: BatchRamp & { readonly final: number }): Phase[] {
  const rampSteps = batch.samples / batch.start;
  const samplesAfter = (steps: number): number =>
    Math.min(steps, rampSteps) * batch.start + Math.max(0, steps - rampSteps) * batch.final;
  return starts.map(([name, start], i) => {
    const stage = stages.find((one) => one.name === name) as (typeof stages)[number];
    const startSample = samplesAfter(start);
    const next = starts[i + 1];
    const end = next ? samplesAfter(next[1]) : totalSamples;
    return { ...stage, startSample, samples: end - startSample };
  });
}
