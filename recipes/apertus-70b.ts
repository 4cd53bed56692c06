// Apertus 70B as it was pretrained at a context of 4,096 (Apertus report sections 2.1-2.3, appendix C).
//
// Sizes, optimizer and schedule are the published ones; the data is not part of this recipe. Training it is the work
// of a cluster: `belay plan recipes/apertus-70b.ts` shows what it costs.
import { defineRecipe } from '../src/base/recipe.ts';

export default defineRecipe({
  name: 'apertus-70b',
  seed: 28,
  model: {
    layers: 80,
    hidden: 8192,
    intermediate: 43008,
    heads: 64,
    kvHeads: 8,
    headDim: 128,
    vocabularySize: 131_072,
    maxPositions: 4096,
  },
  pretrain: {
    // 3,662,109,375 samples: 2,048 sequences a step up to 1,072,164,864 samples, then 4,096.
    steps: 1_155_828,
    sequenceLength: 4096,
    batchSize: 4096,
    peakLearningRate: 1.0e-5,
    finalLearningRate: 1.0e-6,
    warmup: 2000,
    cooldown: 98_609,
    optimizer: { name: 'ademamix' },
  },
  hardware: {
    // Sections 6.2 and 6.3.6 of the report: 723 tokens/s per GPU at 4,096 GPUs; 560 W per module assumed there.
    devices: 4096,
    tokensPerSecondPerDevice: 723,
    wattsPerDevice: 560,
    tokens: 15e12,
  },
});
