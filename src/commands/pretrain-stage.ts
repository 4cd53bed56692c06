// Pretraining as a stage: token shards in, a Hugging Face folder out.
//
// Wires corpus (batches), model, optim and train; resumes from the newest whole checkpoint in its folder.
//
// Does not: choose the number of steps; budgets.ts does.
import { join } from 'node:path';
import { recipePart } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import type { Json } from '../base/json.ts';
import { Apertus } from '../model/apertus.ts';
import { parameterCount, trainingFlopsPerToken } from '../model/arithmetic.ts';
import { modelConfig } from '../model/config.ts';
import { saveHfFolder } from '../model/hf-folder.ts';
import { curriculumOf, type Phase } from '../train/curriculum.ts';
import { runFiles, train } from '../train/loop.ts';
import type { TrainingData } from '../train/step.ts';
import type { PretrainRecipe } from '../base/recipe.ts';
import { EOS } from '../tokenizer/special-tokens.ts';
import { makeEngine } from './engine.ts';
import type { Run } from './run-folder.ts';
import { announce, trainingOf, whatMakesBits } from './stages.ts';
import { tokenData } from './token-data.ts';

/** The rows of a phase of pretraining. */
export function pretrainData(tokensDir: string, recipe: PretrainRecipe, phase: Phase): TrainingData {
  const { goldfish, eodLossMask } = recipe;
  const { sequenceLength, seed, documentMask } = phase;
  const samples = phase.dataStart + phase.samples;
  const path = join(tokensDir, 'train');
  return tokenData({ path, sequenceLength, seed, samples, goldfish, documentMask, eodLossMask });
}

/** Pretrains the model of the run. `validation` is asked, when the stage really runs, for what measures a model on the way. */
export async function pretrainStage(
  run: Run,
  validation: () => Promise<((model: Apertus) => number) | undefined>,
): Promise<StageResult> {
  const recipe = recipePart(run.recipe, 'pretrain');
  const { model: sizes, seed } = run.recipe;
  const curriculum = curriculumOf(recipe, seed);
  return await runStage({
    dir: run.folder('pretrain'),
    kind: 'model',
    version: 1,
    recipe: { model: sizes, pretrain: whatMakesBits(recipe), seed } as unknown as Json,
    inputs: { tokens: run.folder('tokens'), tokenizer: run.folder('tokenizer') },
    resumable: true,
    exclude: runFiles,
    onStart: announce(run, 'pretrain'),
    run: async (dir) => {
      const engine = makeEngine(recipe.compute, run.log);
      const model = new Apertus(engine, modelConfig(sizes));
      model.initialise(seed);
      const validate = await validation();
      const result = await train({
        dir,
        model,
        openData: (phase) => pretrainData(run.folder('tokens'), recipe, phase),
        ...trainingOf(run, recipe, curriculum),
        saving: {
          everySteps: recipe.checkpointEverySteps,
          meanSecondsBetweenFailures: recipe.meanHoursBetweenFailures * 3600,
          retention: {
            keepLast: recipe.keepCheckpoints,
            keepEverySteps: recipe.keepEverySteps,
            keepPhaseEnds: recipe.keepPhaseEnds,
          },
        },
        guard: recipe.guard,
        normsEverySteps: recipe.normsEverySteps,
        label: 'pretrain',
        validateEverySteps: recipe.validateEverySteps,
        ...(validate ? { validate: () => validate(model) } : {}),
      });
      saveHfFolder(join(dir, 'model'), model, { dtype: 'float32', eosTokenId: EOS });
      return {
        parameters: parameterCount(sizes),
        steps: result.steps,
        tokens: result.tokens,
        loss: result.loss,
        flops: trainingFlopsPerToken(sizes, recipe.sequenceLength) * result.tokens,
        target: result.target,
        compute: result.compute,
      };
    },
  });
}
