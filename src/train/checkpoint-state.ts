// What a checkpoint is: its folder, its files, and the numbers in `checkpoint.json`.
//
// `checkpoints/step-000000200/` holds `weights.safetensors`, one `optimizer-00000-of-00002.safetensors` per rank and
// `checkpoint.json`, written last. Weights, moments and these numbers are all a run needs: data follows from the place
// in its order, random numbers from seed and place, so there is no generator or reader whose state would be saved.
//
// Does not: read or write tensors (checkpoint-reader.ts, checkpoint-commit.ts).
import { z } from 'zod';
import type { Json } from '../base/json.ts';
import { checkpointFormat } from './checkpoint-folder.ts';

const count = z.int().min(0);

/** A file of a checkpoint. */
const fileSchema = z.object({ path: z.string(), sha256: z.string(), bytes: count });
export type CheckpointFile = z.infer<typeof fileSchema>;

export const checkpointStateSchema = z.object({
  format: z.literal(checkpointFormat),
  /** Steps taken, and samples (sequences) consumed by the run, skipped ones included. */
  step: count,
  samples: count,
  /** The phase that the next step belongs to (after the last step: the last one), and samples consumed in it. */
  phase: count,
  phaseSamples: count,
  /** Whether a phase was complete with this step. */
  phaseEnd: z.boolean(),
  /** Of the recipe: names every random stream of the run. */
  seed: z.int(),
  /** Dispatch target and precision whose bits the run has. */
  target: z.string(),
  compute: z.enum(['float32', 'bfloat16']),
  /** Loss of the last step. */
  loss: z.number(),
  /** Ranges [from, to) of samples that guards left out. */
  skipped: z.array(z.tuple([count, count])),
  /** What the guards remember. */
  guard: z.custom<Json>((value) => value !== undefined),
  /** Attempt and number of ranks that saved it; it loads on any number. */
  attempt: count,
  ranks: count,
  files: z.array(fileSchema),
});
export type CheckpointState = z.infer<typeof checkpointStateSchema>;
/** What the loop says at a save; the writer knows the rest. */
export type NewCheckpointState = Omit<CheckpointState, 'format' | 'files' | 'attempt' | 'ranks'>;

/** What is saved of an optimizer: the moments of elements [from, to) of the flat parameter buffer. */
export interface SavedOptimizer {
  readonly from: number;
  readonly to: number;
  /** Steps it has taken. */
  step: number;
  /** Moments by name, to - from elements each. */
  readonly state: ReadonlyMap<string, Float32Array>;
}

/** Which checkpoints stay when a newer one is committed. */
export interface Retention {
  /** The newest so many, at least one ... */
  readonly keepLast: number;
  /** ... each one whose step divides by this ... */
  readonly keepEverySteps: number | null;
  /** ... and the last one of each phase. */
  readonly keepPhaseEnds: boolean;
}
