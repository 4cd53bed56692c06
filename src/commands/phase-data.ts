// The rows of a phase of pretraining: which token files its mixture names, read ahead by a thread.
//
// Does not: choose phases; train/curriculum.ts does.
import { join } from 'node:path';
import type { PretrainRecipe } from '../base/recipe.ts';
import type { MixtureOptions } from '../corpus/mixture.ts';
import { Prefetcher } from '../corpus/prefetch.ts';
import type { Phase } from '../train/curriculum.ts';
import type { TrainingData } from '../train/step.ts';

/** Folder of index files below that of the stage: they can be made again from the token files. */
export const indexCacheName = 'index-cache';

/** Whether the data of a mixture are a prefix of files, not a group of the tokens stage. */
export function isPrefix(data: string): boolean {
  return data.includes('/');
}

/** The mixture of a phase; data without a slash are groups of the tokens stage. */
export function mixtureOf(
  tokensDir: string,
  { goldfish, eodLossMask }: Pick<PretrainRecipe, 'goldfish' | 'eodLossMask'>,
  phase: Phase,
  cacheDir?: string,
): MixtureOptions {
  const { mixture, sequenceLength, seed, documentMask, dataStart, samples } = phase;
  return {
    datasets: mixture.map(({ data, weight }) => ({
      path: isPrefix(data) ? data : join(tokensDir, data),
      weight,
    })),
    sequenceLength,
    seed,
    samples: dataStart + samples,
    goldfish,
    documentMask,
    eodLossMask,
    cacheDir,
  };
}

/** The rows of a phase for the training loop. `ahead`: pieces of steps that may lie ready. */
export function phaseData(mixture: MixtureOptions, ahead: number): TrainingData {
  const prefetcher = new Prefetcher({ ...mixture, ahead });
  return {
    async rows(first, count) {
      const batch = await prefetcher.rows(first, count);
      return { batch, labels: batch.labels, lossMask: batch.lossMask };
    },
    prefetch(first, count) {
      prefetcher.prefetch(first, count);
    },
    close: () => prefetcher.close(),
  };
}
