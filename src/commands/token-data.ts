// The batches of a token file as the training loop wants them: for pretraining and for the memorisation side runs.
//
// Does not: choose files or masks; the stages do.
import { TokenBatches, type TokenBatchesOptions } from '../corpus/batches.ts';
import type { TrainingData } from '../train/loop.ts';

/** Step s reads samples s*B .. (s+1)*B - 1 of the shuffled file (B = batchSize), in micro-batches. Closing is the caller's. */
export function tokenData(
  options: Omit<TokenBatchesOptions, 'samples'>,
  steps: number,
  batchSize: number,
  microBatchSize = batchSize,
): TrainingData {
  const batches = new TokenBatches({ ...options, samples: steps * batchSize });
  return {
    samplesPerStep: batchSize,
    step(step) {
      const parts = [];
      for (let from = 0; from < batchSize; from += microBatchSize) {
        const batch = batches.batch(step * batchSize + from, Math.min(microBatchSize, batchSize - from));
        parts.push({ batch, labels: batch.labels, lossMask: batch.lossMask });
      }
      return parts;
    },
    close() {
      batches.close();
    },
  };
}
