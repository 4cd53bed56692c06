// The same line on the Debian documents: handbook, installation guide and GNOME help in 41 languages, about 33 MB.
//
// `belay data get debian` fetches the packages; their texts are GPL and CC-BY-SA and are never part of belay. About
// an hour on two cores.
import { defineRecipe } from '../src/base/recipe.ts';
import demo from './demo.ts';

const { sft: _conversations, evaluate, memorisation: _probes, ...line } = demo;

export default defineRecipe({
  ...line,
  name: 'debian',
  data: { source: { kind: 'debian', paths: ['data/debian'] }, heldOutShare: 0.02 },
  tokenizer: { vocabularySize: 16_384 },
  model: {
    layers: 6,
    hidden: 512,
    intermediate: 2048,
    heads: 8,
    kvHeads: 4,
    headDim: 64,
    vocabularySize: 16_384,
    maxPositions: 2048,
    initStd: 0.02,
  },
  pretrain: {
    minutes: 40,
    sequenceLength: 512,
    batchSize: 8,
    peakLearningRate: 1.5e-3,
    finalLearningRate: 1.5e-5,
    warmup: 0.05,
    cooldown: 0.3,
    optimizer: { name: 'ademamix', beta3: 0.999, warmupSteps: 'run' },
    checkpointEverySteps: 200,
    validateEverySteps: 200,
  },
  ...(evaluate ? { evaluate } : {}),
  release: { modelName: 'Apertus-debian' },
});
