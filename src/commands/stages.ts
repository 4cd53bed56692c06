// What every stage of a run does beside its work: says that it starts or is skipped, and notes how long it took.
//
// Does not: order stages; line.ts does.
import { appendEvent } from '../base/events.ts';
import type { StageResult } from '../base/stage.ts';
import type { Run, StageName } from './run-folder.ts';

/** The `onStart` of a stage: one line for people. */
export function announce(run: Run, stage: StageName): (what: 'skip' | 'run' | 'resume') => void {
  return (what) => {
    if (what === 'skip') run.log.line(`${stage}: up to date`);
    else if (what === 'resume') run.log.line(`${stage}: going on in ${run.folder(stage)}`);
    else run.log.line(`${stage}: starts`);
  };
}

/** Runs a stage and appends how long it took to the run's events. */
export async function timed(run: Run, stage: StageName, work: () => Promise<StageResult>): Promise<StageResult> {
  const started = performance.now();
  const result = await work();
  const seconds = Math.round((performance.now() - started) / 10) / 100;
  if (!result.skipped) appendEvent(run.eventsPath, 'stage', { stage, seconds });
  return result;
}
