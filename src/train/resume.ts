// Finds the checkpoint that a training goes on from, and refuses one whose bits could not be continued.
//
// Does not: read tensors (checkpoint-reader.ts), or decide when to go on from where (loop.ts).
import { join } from 'node:path';
import { UserError } from '../base/errors.ts';
import type { Json } from '../base/json.ts';
import type { Optimizer } from '../optim/optimizer.ts';
import { asideFolders } from './checkpoint-folder.ts';
import { type LoadOptions, loadLatestCheckpoint } from './checkpoint-reader.ts';
import type { CheckpointState } from './checkpoint-state.ts';
import type { TrainOptions } from './train-options.ts';

export interface ResumeOptions extends Pick<TrainOptions, 'model' | 'log' | 'allowOtherTarget'> {
  /** Run folder. */
  readonly dir: string;
  readonly optimizer: Optimizer;
  readonly event: (name: string, fields: Readonly<Record<string, Json>>) => void;
}

/** The newest whole checkpoint, or the one asked for, in the model and the optimizer; undefined where there is none. */
export function resumeFrom(options: ResumeOptions, which: LoadOptions): CheckpointState | undefined {
  const { dir, model, optimizer, log, allowOtherTarget, event } = options;
  const checkpoints = join(dir, 'checkpoints');
  const onDamaged = (folder: string, why: string): void => {
    log.line(`${folder} is damaged (${why}); trying the one before it`);
    event('damaged-checkpoint', { folder, why });
  };
  const state = loadLatestCheckpoint(checkpoints, model.parameters, optimizer, onDamaged, which);
  const { backend, compute } = model.engine;
  if (!state) {
    if (which.atMostStep === undefined && asideFolders(checkpoints).length > 0) {
      log.line('no whole checkpoint is left: training starts from the beginning');
    }
    return undefined;
  }
  if ((state.target !== backend.target || state.compute !== compute) && !allowOtherTarget) {
    throw new UserError(`${dir} was trained on other kernels, so its bits could not be continued`, {
      found: `${backend.target}, ${compute} here`,
      expected: `${state.target}, ${state.compute} as in the checkpoint of step ${state.step}`,
      next: `set BELAY_TARGET=${state.target}, or give --allow-other-target to go on with other rounding`,
    });
  }
  return state;
}
