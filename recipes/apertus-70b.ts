// Apertus 70B as it was pretrained at a context of 4,096 (Apertus report sections 2.1-2.3 and 3.3, appendix C).
//
// Sizes, optimizer, schedule, stages and mixtures are the published ones; the data itself is not part of this recipe.
// Training it is the work of a cluster: `belay plan recipes/apertus-70b.ts` shows what it costs.
import { defineRecipe } from '../src/base/recipe.ts';
import { megatron70b, model70b, training, wattsPerDevice } from './apertus/models.ts';
import { stagePhases } from './apertus/stages.ts';

/** 2,048 sequences a step, and 4,096 after 1,072,164,864 samples: 523,518 steps. */
const batchRamp = { start: 2048, increment: 2048, samples: 1_072_164_864 };
const batchSize = 4096;

export default defineRecipe({
  name: 'apertus-70b',
  seed: 28,
  model: model70b,
  pretrain: {
    ...training,
    batchSize,
    batchRamp,
    microBatchSize: 1,
    peakLearningRate: 1.0e-5,
    finalLearningRate: 1.0e-6,
    checkpointEverySteps: 250,
    // The published iterations are the first of each stage, so one more than the steps done: stages 3 and 4 begin at
    // checkpoints, which were saved every 250 steps. (Those of the 8B model are steps done; one step is 0.0168B tokens.)
    phases: stagePhases(
      [
        ['stage-1', 0],
        ['stage-2', 569_655 - 1],
        ['stage-3', 789_001 - 1],
        ['stage-4', 989_501 - 1],
        ['stage-5', 1_062_328 - 1],
      ],
      { ...batchRamp, final: batchSize },
    ),
  },
  hardware: {
    // Sections 6.2 and 6.3.6 of the report. (Before the batch doubled, the run had 2,048 GPUs.)
    devices: 4096,
    tokensPerSecondPerDevice: 723,
    wattsPerDevice,
  },
  megatron: megatron70b,
});
