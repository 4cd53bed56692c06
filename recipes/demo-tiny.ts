// The demo in a minute: every stage of recipes/demo.ts on a tenth of the pages and a model of toy size.
//
// For CI and for the tests that kill the line at random moments; its numbers mean nothing.
import { defineRecipe } from '../src/base/recipe.ts';

export default defineRecipe({
  name: 'demo-tiny',
  seed: 28,
  data: {
    source: { kind: 'udhr', maxPages: 40 },
    plant: {
      optOutHosts: 0.1,
      personalDataPages: 6,
      duplicatePages: 4,
      probes: { repetitions: [1, 4, 8], textsPerBucket: 2, words: 60 },
    },
    heldOutSections: ['article-6', 'article-13', 'article-20', 'article-27'],
  },
  tokenizer: { vocabularySize: 1024 },
  model: {
    layers: 2,
    hidden: 64,
    intermediate: 128,
    heads: 2,
    kvHeads: 1,
    headDim: 32,
    vocabularySize: 1024,
    maxPositions: 256,
    initStd: 0.02,
  },
  pretrain: {
    steps: 40,
    sequenceLength: 64,
    batchSize: 8,
    peakLearningRate: 3e-3,
    cooldown: 0.3,
    goldfish: { k: 50, h: 13 },
    optimizer: { name: 'ademamix', beta3: 0.999, warmupSteps: 'run' },
    checkpointEverySteps: 10,
    validateEverySteps: 20,
  },
  sft: { steps: 20, sequenceLength: 128, batchSize: 8, peakLearningRate: 1e-3, checkpointEverySteps: 5 },
  evaluate: { sequenceLength: 64, maxQuestions: 20 },
  memorisation: {
    seeds: [1, 2],
    model: { layers: 1, hidden: 32, intermediate: 64, heads: 2, kvHeads: 1, headDim: 16, initStd: 0.02 },
    steps: 15,
    sequenceLength: 64,
    batchSize: 4,
    goldfish: { k: 4, h: 13 },
    backgroundDocuments: 6,
    prefixTokens: 16,
    suffixTokens: 16,
  },
  release: { modelName: 'Apertus-demo-tiny' },
});
