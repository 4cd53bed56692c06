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
import { runFiles, train, type TrainingData } from '../train/loop.ts';
import type { PretrainRecipe } from '../base/recipe.ts';
import { EOS } from '../tokenizer/special-tokens.ts';
import { makeEngine } from './engine.ts';
import type { Run } from './run-folder.ts';
import { announce, trainingOf, whatMakesBits } from './stages.ts';
import { tokenData } from './token-data.ts';

/** The batches of pretraining. */
export function pretrainData(tokensDir: string, recipe: PretrainRecipe, seed: number, steps: number): TrainingData {
  const { sequenceLength, batchSize, microBatchSize, goldfish, documentMask, eodLossMask } = recipe;
  const path = join(tokensDir, 'train');
  return tokenData(
    { path, sequenceLength, seed, goldfish, documentMask, eodLossMask },
    steps,
    batchSize,
    microBatchSize ?? batchSize,
  );
}

/** Pretrains the model of the run. `validation` is asked, when the stage really runs, for what measures a model on the way. */
export async function pretrainStage(
  run: Run,
  validation: () => Promise<((model: Apertus) => number) | undefined>,
): Promise<StageResult> {
  const recipe = recipePart(run.recipe, 'pretrain');
  const { model: sizes, seed } = run.recipe;
  const steps = recipe.steps as number;
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
      const data = pretrainData(run.folder('tokens'), recipe, seed, steps);
      const result = await train({
        dir,
        model,
        data,
        ...trainingOf(run, recipe, steps),
        keepCheckpoints: recipe.keepCheckpoints,
        label: 'pretrain',
        validateEverySteps: recipe.validateEverySteps,
        ...(validate ? { validate: () => validate(model) } : {}),
      }).finally(() => data.close?.());
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
