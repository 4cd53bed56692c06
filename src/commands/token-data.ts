// The rows of token files as the training loop wants them: for the phases of pretraining and for side runs.
//
// Does not: choose files or masks; the stages do.
import { TokenBatches, type TokenBatchesOptions } from '../corpus/batches.ts';
import type { TrainingData } from '../train/step.ts';

/** Rows of one token file. Closing is the caller's. */
export function tokenData(options: TokenBatchesOptions): TrainingData {
  const batches = new TokenBatches(options);
  return {
    rows(first, count) {
      const batch = batches.batch(first, count);
      return { batch, labels: batch.labels, lossMask: batch.lossMask };
    },
    close() {
      batches.close();
    },
  };
}
