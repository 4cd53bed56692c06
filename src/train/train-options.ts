// What the training loop is told, and what it answers.
//
// Does not: train; loop.ts does.
import type { Json } from '../base/json.ts';
import type { Log } from '../base/progress.ts';
import type { OptimizerRecipe } from '../base/recipe.ts';
import type { Apertus } from '../model/apertus.ts';
import type { Group } from '../parallel/group.ts';
import type { Retention } from './checkpoint-state.ts';
import type { RunControl } from './control.ts';
import type { Curriculum, Phase } from './curriculum.ts';
import type { GuardRecipe } from './guard.ts';
import type { Pulse } from './pulse.ts';
import type { TrainingData } from './step.ts';

export interface TrainOptions {
  /** Run folder: checkpoints/, attempts/, metrics.jsonl, tb/, events.jsonl, triggers/. Without it nothing is kept (side runs). */
  readonly dir?: string;
  readonly model: Apertus;
  readonly curriculum: Curriculum;
  /** Opens the data of a phase; the loop closes them. */
  readonly openData: (phase: Phase) => TrainingData;
  readonly optimizer: OptimizerRecipe;
  readonly gradientClip: number | null;
  /** When to save, and what to keep. */
  readonly saving?: Saving;
  /** What counts as a bad step; undefined: only numbers that are not finite. */
  readonly guard?: GuardRecipe;
  /** Steps between norms of each parameter in the metrics (0: never). */
  readonly normsEverySteps?: number;
  /** Floating-point operations of training on one token, for the metrics. */
  readonly flopsPerToken?: (sequenceLength: number) => number;
  readonly seed: number;
  /** Brings the model back to what it was before the first step; for a rollback before the first checkpoint. Default: `initialise(seed)`. */
  readonly restart?: () => void;
  readonly log: Log;
  /** Shown before the progress line. */
  readonly label: string;
  readonly control?: RunControl;
  /** Go on from a checkpoint of another dispatch target, giving up the promise of equal bits. */
  readonly allowOtherTarget?: boolean;
  /** Called every `validateEverySteps` steps (0: never); the number goes to the metrics as `validationLoss`. */
  readonly validateEverySteps?: number;
  readonly validate?: () => number;
  /** Called on rank 0 when a phase is over; what it returns goes to the events. */
  readonly onPhaseEnd?: (phase: Phase) => Promise<Readonly<Record<string, Json>>>;
  /** The ranks that train together; default: this process alone. */
  readonly group?: Group;
  /** Told where this rank is, as it goes on. */
  readonly pulse?: Pulse;
  /** What started this attempt; goes into attempt.json. */
  readonly startedBy?: string;
}

export interface Saving {
  /** Save every so many steps; null: as often as pays, by Young and Daly. */
  readonly everySteps: number | null;
  /** Of the whole run; a day by default. */
  readonly meanSecondsBetweenFailures?: number;
  readonly retention: Retention;
}

export interface TrainResult {
  readonly steps: number;
  readonly tokens: number;
  /** Loss of the last step. */
  readonly loss: number;
  /** Dispatch target and precision that made the weights. */
  readonly target: string;
  readonly compute: string;
}
