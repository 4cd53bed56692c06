// Pretraining as a stage: token shards in, a Hugging Face folder out.
//
// Wires corpus (batches), model, optim and train; resumes from the newest whole checkpoint in its folder.
//
// Does not: choose the number of steps; budgets.ts does.
import { join } from 'node:path';
import { recipePart } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import type { Json } from '../base/json.ts';
import { TokenBatches } from '../corpus/batches.ts';
import { Apertus } from '../model/apertus.ts';
import { parameterCount, trainingFlopsPerToken } from '../model/arithmetic.ts';
import { modelConfig } from '../model/config.ts';
import { saveHfFolder } from '../model/hf-folder.ts';
import { runFiles, train, type TrainingData } from '../train/loop.ts';
import { scheduleOf } from '../train/plan.ts';
import type { PretrainRecipe } from '../base/recipe.ts';
import { EOS } from '../tokenizer/special-tokens.ts';
import { makeEngine } from './engine.ts';
import type { Run } from './run-folder.ts';
import { announce, whatMakesBits } from './stages.ts';
import { control } from './signals.ts';

/** The batches of pretraining: step s reads samples s*B .. (s+1)*B - 1 of the shuffled corpus. */
export function pretrainData(tokensDir: string, recipe: PretrainRecipe, seed: number, steps: number): TrainingData {
  const { sequenceLength, batchSize, goldfish, documentMask, eodLossMask } = recipe;
  const batches = new TokenBatches({
    path: join(tokensDir, 'train'),
    sequenceLength,
    seed,
    samples: steps * batchSize,
    goldfish,
    documentMask,
    eodLossMask,
  });
  const micro = recipe.microBatchSize ?? batchSize;
  return {
    samplesPerStep: batchSize,
    step(step) {
      const parts = [];
      for (let from = 0; from < batchSize; from += micro) {
        const batch = batches.batch(step * batchSize + from, Math.min(micro, batchSize - from));
        parts.push({ batch, labels: batch.labels, lossMask: batch.lossMask });
      }
      return parts;
    },
    close() {
      batches.close();
    },
  };
}

/** Pretrains the model of the run. */
export async function pretrainStage(run: Run, validate?: (model: Apertus) => number): Promise<StageResult> {
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
      const data = pretrainData(run.folder('tokens'), recipe, seed, steps);
      const result = await train({
        dir,
        model,
        data,
        steps,
        schedule: scheduleOf(recipe, steps, recipe.batchSize),
        optimizer: recipe.optimizer,
        gradientClip: recipe.gradientClip,
        checkpointEverySteps: recipe.checkpointEverySteps,
        keepCheckpoints: recipe.keepCheckpoints,
        log: run.log,
        label: 'pretrain',
        control,
        allowOtherTarget: run.allowOtherTarget,
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
