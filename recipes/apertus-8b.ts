// Apertus 8B as it was pretrained at a context of 4,096 (Apertus report sections 2.1-2.3, appendix C).
//
// Sizes, optimizer and schedule are the published ones; the data is not part of this recipe. Training it is the work
// of a cluster: `belay plan recipes/apertus-8b.ts` shows what it costs.
import { defineRecipe } from '../src/base/recipe.ts';

export default defineRecipe({
  name: 'apertus-8b',
  seed: 28,
  model: {
    layers: 32,
    hidden: 4096,
    intermediate: 21504,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    vocabularySize: 131_072,
    maxPositions: 4096,
  },
  pretrain: {
    // 3,662,109,375 samples: 1,024 sequences a step up to 1,718,272,000 samples, then 2,048.
    steps: 2_627_139,
    sequenceLength: 4096,
    batchSize: 2048,
    peakLearningRate: 1.1e-4,
    finalLearningRate: 1.1e-5,
    warmup: 4000,
    cooldown: 197_219,
    optimizer: { name: 'ademamix' },
  },
  hardware: {
    // Figure 10 of the report: 4,000-7,000 tokens/s per GPU; 560 W per module assumed there.
    devices: 1024,
    tokensPerSecondPerDevice: 6000,
    wattsPerDevice: 560,
    tokens: 15e12,
  },
});
