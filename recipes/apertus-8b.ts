// Apertus 8B as it was pretrained at a context of 4,096 (Apertus report sections 2.1-2.3 and 3.3, appendix C).
//
// Sizes, optimizer, schedule, stages and mixtures are the published ones; the data itself is not part of this recipe.
// Training it is the work of a cluster: `belay plan recipes/apertus-8b.ts` shows what it costs.
import { defineRecipe } from '../src/base/recipe.ts';
import { megatron8b, model8b, training, wattsPerDevice } from './apertus/models.ts';
import { stagePhases } from './apertus/stages.ts';

/** 1,024 sequences a step, and 2,048 after 1,718,272,000 samples: 1,678,000 steps, where stage 3 begins. */
const batchRamp = { start: 1024, increment: 1024, samples: 1_718_272_000 };
const batchSize = 2048;

export default defineRecipe({
  name: 'apertus-8b',
  seed: 28,
  model: model8b,
  pretrain: {
    ...training,
    batchSize,
    batchRamp,
    microBatchSize: 4,
    peakLearningRate: 1.1e-4,
    finalLearningRate: 1.1e-5,
    checkpointEverySteps: 2000,
    // The published iterations are those of checkpoints, that is, steps done: the batch doubles exactly at the first,
    // and the cooldown of the learning rate (the last 403,905,806 samples) starts within the step before the last.
    phases: stagePhases(
      [
        ['stage-1', 0],
        ['stage-3', 1_678_000],
        ['stage-4', 2_269_525],
        ['stage-5', 2_429_920],
      ],
      { ...batchRamp, final: batchSize },
    ),
  },
  hardware: {
    // 256 nodes in the last jobs. Figure 10 of the report shows 4,000-7,000 tokens/s per GPU; the number is our choice.
    devices: 1024,
    tokensPerSecondPerDevice: 6000,
    wattsPerDevice,
  },
  megatron: megatron8b,
});
