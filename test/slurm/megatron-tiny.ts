// A tiny training for Megatron's stand-in: 12 steps, then 18 of other data and seed, then a phase of 10 in a run of its own.
//
// Does not: run; megatron-launch.test.ts and slurm-megatron.test.ts do.
import { join } from 'node:path';
import { packageRoot } from '../../src/base/version.ts';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';

/** A folder with the stand-in for pretrain_gpt.py. */
export const standIn = join(packageRoot, 'test', 'slurm', 'megatron-stand-in');

/** The recipe as a file has it; a checkpoint every 5 steps. */
export const tinyRecipe = {
  name: 'tiny-megatron',
  model: { layers: 2, hidden: 64, intermediate: 128, heads: 2, kvHeads: 1, headDim: 32, vocabularySize: 512 },
  tokens: { groups: [{ name: 'late', languages: ['deu'] }] },
  pretrain: {
    sequenceLength: 64,
    batchSize: 4,
    peakLearningRate: 1e-3,
    finalLearningRate: 1e-4,
    warmupSamples: 8,
    cooldownSamples: 16,
    checkpointEverySteps: 5,
    phases: [
      { name: 'one', steps: 12, mixture: [{ data: 'train', weight: 1 }] },
      { name: 'two', steps: 18, startSample: 48, seed: 7, mixture: [{ data: 'late', weight: 1 }] },
      {
        name: 'long',
        steps: 10,
        seed: 8,
        sequenceLength: 128,
        batchSize: 2,
        mixture: [{ data: 'train', weight: 1 }],
        learningRate: { peak: 1e-4, final: 1e-4, warmup: 0, decay: 'constant' },
        resetOptimizer: true,
      },
    ],
  },
  megatron: {},
};

/** Files that stand for its token files. */
export function makeTokens(dir: string): void {
  const tokens = join(dir, 'tokens');
  mkdirSync(tokens, { recursive: true });
  for (const file of ['train.bin', 'train.idx', 'late.bin', 'late.idx']) writeFileSync(join(tokens, file), '');
}

/** The last value that every iteration of a Megatron run has in its log. */
export function losses(run: string): Map<number, string> {
  const path = join(run, 'logging', 'tensorboard', 'losses.txt');
  if (!existsSync(path)) return new Map();
  const rows = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return new Map(rows.map((row) => row.split(' ')).map(([step, value]) => [Number(step), value as string]));
}

/** Both runs of the training in `run`. */
export const curves = (run: string): [Map<number, string>, Map<number, string>] => [
  losses(run),
  losses(join(run, 'long')),
];
