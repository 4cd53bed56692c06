// What every stage of a run does beside its work: says that it starts or is skipped, and notes how long it took.
//
// Does not: order stages; line.ts does.
import { appendEvent } from '../base/events.ts';
import type { StageResult } from '../base/stage.ts';
import { trainingFlopsPerToken } from '../model/arithmetic.ts';
import type { PretrainRecipe, SftRecipe } from '../base/recipe.ts';
import type { Curriculum } from '../train/curriculum.ts';
import type { TrainOptions } from '../train/loop.ts';
import type { Run, StageName } from './run-folder.ts';
import { control } from './signals.ts';

/** The `onStart` of a stage: one line for people. */
export function announce(run: Run, stage: StageName): (what: 'skip' | 'run' | 'resume') => void {
  return (what) => {
    if (what === 'skip') run.log.line(`${stage}: up to date`);
    else if (what === 'resume') run.log.line(`${stage}: going on in ${run.folder(stage)}`);
    else run.log.line(`${stage}: starts`);
  };
}

/** Keys of a training part, of its phases and of their mixtures that change no weight. */
const changeNothing = [
  'minutes',
  'checkpointEverySteps',
  'meanHoursBetweenFailures',
  'keepCheckpoints',
  'keepEverySteps',
  'keepPhaseEnds',
  'validateEverySteps',
  'normsEverySteps',
  'startSample',
  'devices',
  'tokensPerSecondPerDevice',
  'tokens',
  // What the folder holds counts, not where it lies; the stage notes that beside the recipe.
  'from',
];

/** A training part of a recipe without what changes no weight: another checkpoint interval is not another run. */
export function whatMakesBits<T>(recipe: T): T {
  if (Array.isArray(recipe)) return recipe.map((item: unknown) => whatMakesBits(item)) as T;
  if (recipe === null || typeof recipe !== 'object') return recipe;
  return Object.fromEntries(
    Object.entries(recipe).flatMap(([key, value]) =>
      changeNothing.includes(key) ? [] : [[key, whatMakesBits(value)]],
    ),
  ) as T;
}

/** What pretraining and fine-tuning tell the loop alike. */
export function trainingOf(run: Run, recipe: PretrainRecipe | SftRecipe, curriculum: Curriculum) {
  const { model, seed } = run.recipe;
  return {
    curriculum,
    optimizer: recipe.optimizer,
    gradientClip: recipe.gradientClip,
    flopsPerToken: (sequenceLength: number) => trainingFlopsPerToken(model, sequenceLength),
    seed,
    log: run.log,
    control,
    allowOtherTarget: run.allowOtherTarget,
    ...startedBy(process.env['BELAY_STARTED_BY']),
  } satisfies Partial<TrainOptions>;
}

function startedBy(words: string | undefined): Pick<TrainOptions, 'startedBy'> {
  return words === undefined ? {} : { startedBy: words };
}

/** Runs a stage and appends how long it took, and the memory the process had needed by then, to the run's events. */
export async function timed(run: Run, stage: StageName, work: () => Promise<StageResult>): Promise<StageResult> {
  const started = performance.now();
  const result = await work();
  const seconds = Math.round((performance.now() - started) / 10) / 100;
  if (!result.skipped) {
    const peakMemoryBytes = process.resourceUsage().maxRSS * 1024;
    appendEvent(run.eventsPath, 'stage', { stage, seconds, peakMemoryBytes });
  }
  return result;
}
