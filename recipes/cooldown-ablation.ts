// Which data to cool down on: a 1.5B model, 100B tokens, 70 % of a base mixture and 30 % of a candidate (Apertus report
// sections 2.4 and 3.3, tables 3 and 7).
//
// One run per candidate, each from the same checkpoint before the cooldown:
// `--set pretrain.phases.0.mixture.1.data=dclm` asks for another (or `fineweb-hq-10`, `fineweb-edu`), and
// `mixture.0.data=fineweb-hq-33` for the other base. docs/curriculum.md has what the report measured.
//
// Published: sizes, batch and length (table 3, with the wider MLP of xIELU), 100B tokens, 70/30, a rate that falls to 0
// by 1-sqrt, and 1.5e-4 as this model's WSD peak. Not published for these runs: the optimizer; it is that of the models.
import { defineRecipe } from '../src/base/recipe.ts';
import { context, training } from './apertus/models.ts';

const { warmupSamples: _warmup, cooldownSamples: _cooldown, ...shared } = training;

export default defineRecipe({
  name: 'cooldown-ablation',
  seed: 28,
  model: {
    layers: 16,
    hidden: 2048,
    intermediate: 12_288,
    heads: 32,
    kvHeads: 8,
    headDim: 64,
    vocabularySize: 131_072,
    maxPositions: context,
    // The ablations scale RoPE by 32 where Apertus does by 8.
    ropeScaling: { factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 },
  },
  pretrain: {
    ...shared,
    batchSize: 504,
    microBatchSize: 6,
    peakLearningRate: 1.5e-4,
    finalLearningRate: 0,
    phases: [
      {
        name: 'cooldown',
        steps: 48_441,
        mixture: [
          { data: 'regular', weight: 70 },
          { data: 'dclm-edu', weight: 30 },
        ],
        // The whole phase is the cooldown.
        learningRate: { peak: 1.5e-4, final: 0, cooldown: 48_441 },
      },
    ],
  },
});
