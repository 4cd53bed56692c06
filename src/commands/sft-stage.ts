// Fine-tuning on conversations as a stage: a pretrained model in, one that answers out.
//
// Does not: make conversations; posttrain/conversations-stage.ts does.
import { join } from 'node:path';
import type { Json } from '../base/json.ts';
import { recipePart, type SftRecipe } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { loadHfFolder, saveHfFolder } from '../model/hf-folder.ts';
import { type SftData, sftData } from '../posttrain/sft.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { ASSISTANT_END } from '../tokenizer/special-tokens.ts';
import { Curriculum } from '../train/curriculum.ts';
import { earlyFiles, runFiles, train } from '../train/loop.ts';
import { makeEngine } from './engine.ts';
import type { Run } from './run-folder.ts';
import { announce, trainingOf, whatMakesBits } from './stages.ts';

/** The rows of fine-tuning. */
export async function readSftData(run: Run): Promise<SftData> {
  const { sequenceLength } = recipePart(run.recipe, 'sft');
  return await sftData({
    dir: run.folder('conversations'),
    tokenizer: Tokenizer.load(run.folder('tokenizer')),
    sequenceLength,
    seed: run.recipe.seed,
  });
}

/** Fine-tuning in steps: warm-up, then linear to nothing. */
export function sftCurriculum(recipe: SftRecipe, seed: number, steps: number): Curriculum {
  const { sequenceLength, batchSize, peakLearningRate: peak, warmup } = recipe;
  return new Curriculum({
    sequenceLength,
    batchSize,
    shards: 1,
    seed,
    steps,
    rate: { peak, final: 0, initial: 0, warmup, cooldown: 0, decay: 'linear', cooldownShape: '1-sqrt' },
  });
}

/** Fine-tunes the pretrained model of the run. `rows`, if they were read already, are not read again. */
export async function sftStage(run: Run, rows?: SftData): Promise<StageResult> {
  const recipe = recipePart(run.recipe, 'sft');
  const steps = recipe.steps as number;
  return await runStage({
    dir: run.folder('sft'),
    kind: 'model',
    version: 1,
    recipe: { sft: whatMakesBits(recipe), seed: run.recipe.seed } as unknown as Json,
    inputs: {
      base: run.folder('pretrain'),
      conversations: run.folder('conversations'),
      tokenizer: run.folder('tokenizer'),
    },
    resumable: true,
    exclude: runFiles,
    early: earlyFiles,
    onStart: announce(run, 'sft'),
    run: async (dir) => {
      const engine = makeEngine(recipe.compute, run.log);
      const base = join(run.folder('pretrain'), 'model');
      const model = loadHfFolder(base, engine);
      const data = rows ?? (await readSftData(run));
      const result = await train({
        dir,
        model,
        openData: () => data,
        restart: () => model.parameters.values.set(loadHfFolder(base, engine, { gradients: false }).parameters.values),
        ...trainingOf(run, recipe, sftCurriculum(recipe, run.recipe.seed, steps)),
        saving: {
          everySteps: recipe.checkpointEverySteps,
          retention: { keepLast: 2, keepEverySteps: null, keepPhaseEnds: false },
        },
        label: 'sft',
      });
      saveHfFolder(join(dir, 'model'), model, { dtype: 'float32', eosTokenId: ASSISTANT_END });
      return {
        conversations: data.conversations,
        conversationsLeftOut: data.leftOut,
        steps: result.steps,
        tokens: result.tokens,
        loss: result.loss,
        target: result.target,
        compute: result.compute,
      };
    },
  });
}
