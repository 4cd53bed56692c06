// One run: a model from scratch on one side's settings, one learning rate and one seed, then its losses and its memory.
//
// `trainModel` is the only place that knows the training loop.
//
// Does not: choose rates or seeds; run.ts does.
import type { Log } from '../../src/base/progress.ts';
import { makeEngine } from '../../src/commands/engine.ts';
import { tokenData } from '../../src/commands/token-data.ts';
import { evaluatedModel } from '../../src/evaluate/evaluated-model.ts';
import { makeProbes, type ProbeResult, probeModel } from '../../src/evaluate/memorisation.ts';
import { validationLoss } from '../../src/evaluate/validation.ts';
import { Apertus } from '../../src/model/apertus.ts';
import { parameterCount } from '../../src/model/arithmetic.ts';
import { modelConfig } from '../../src/model/config.ts';
import { Curriculum } from '../../src/train/curriculum.ts';
import { train } from '../../src/train/loop.ts';
import type { TrainingData } from '../../src/train/step.ts';
import type { AblationData } from './data.ts';
import {
  batchSize,
  goldfishRule,
  gradientClip,
  modelOf,
  optimizerOf,
  plantedPlan,
  rateOf,
  sequenceLength,
  type Settings,
  steps,
} from './experiments.ts';

export interface RunResult {
  readonly bitsPerByte: number;
  readonly natsPerToken: number;
  readonly unigramBitsPerByte: number;
  /** Loss of the last step. */
  readonly trainingLoss: number;
  /** Share of the predictions that counted in the loss, over the whole run. */
  readonly countedShare: number;
  readonly parameters: number;
  readonly tokens: number;
  readonly seconds: number;
  readonly target: string;
  readonly compute: string;
  /** Of runs on planted texts. */
  readonly probes?: readonly ProbeResult[];
}

export async function trainOnce(
  data: AblationData,
  settings: Settings,
  peak: number,
  seed: number,
  log: Log,
): Promise<RunResult> {
  const started = performance.now();
  const planted = settings.data === 'planted' ? data.planted(seed) : undefined;
  const path = planted ? planted.path : data.articlesPath;
  const model = new Apertus(makeEngine('auto', log), modelConfig(modelOf(settings)));
  model.initialise(seed);
  const trained = await trainModel(model, path, settings, peak, seed, log);
  const evaluated = evaluatedModel(model);
  const { overall } = validationLoss({
    model: evaluated,
    documents: data.validation,
    unigram: data.unigram,
    window: sequenceLength,
  });
  const probes = planted && makeProbes(data.tokenizer, planted.texts, plantedPlan);
  if (probes && probes.tooShort.length > 0) throw new Error(`planted texts too short for a probe: ${probes.tooShort}`);
  return {
    bitsPerByte: overall.bitsPerByte,
    natsPerToken: overall.natsPerToken,
    unigramBitsPerByte: overall.unigramBitsPerByte,
    ...trained,
    parameters: parameterCount(modelOf(settings)),
    seconds: (performance.now() - started) / 1000,
    ...(probes ? { probes: probeModel(evaluated, probes.probes) } : {}),
  };
}

async function trainModel(
  model: Apertus,
  path: string,
  settings: Settings,
  peak: number,
  seed: number,
  log: Log,
): Promise<Pick<RunResult, 'trainingLoss' | 'tokens' | 'target' | 'compute' | 'countedShare'>> {
  const { documentMask, goldfish } = settings;
  const masks = { goldfish: goldfish ? goldfishRule : null, documentMask, eodLossMask: true };
  let counted = 0;
  const openData = ({ samples }: { readonly samples: number }): TrainingData => {
    const data = tokenData({ path, sequenceLength, seed, samples, ...masks });
    return {
      ...data,
      async rows(first, count) {
        const batch = await data.rows(first, count);
        for (const weight of batch.lossMask) counted += weight;
        return batch;
      },
    };
  };
  const { loss, tokens, target, compute } = await train({
    model,
    openData,
    curriculum: new Curriculum({
      sequenceLength,
      batchSize,
      shards: 1,
      documentMask,
      seed,
      steps,
      rate: rateOf(settings, peak),
    }),
    seed,
    optimizer: optimizerOf(settings),
    gradientClip,
    log,
    label: 'ablation',
  });
  return { trainingLoss: loss, tokens, target, compute, countedShare: counted / tokens };
}
