// How a running training is told to save or to stop: trigger files in the run folder, and requests by signal.
//
// `triggers/save` and `triggers/exit` are the names Megatron polls (docs/run-folder.md). A signal handler, installed by
// commands/, sets the request; the loop looks after every step.
//
// Does not: install signal handlers.
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export type StopRequest = 'save-and-exit' | 'exit-now';

/** What the world asks of a running training. One per process; commands/signals.ts sets it. */
export class RunControl {
  request: StopRequest | undefined;
  /** True while a training loop looks at `request`; else a signal ends the process at once. */
  isWatched = false;
}

export interface Triggers {
  /** Asked to save; the trigger is removed once that is done. */
  readonly save: boolean;
  readonly exit: boolean;
}

export function readTriggers(runDir: string): Triggers {
  return { save: existsSync(join(runDir, 'triggers', 'save')), exit: existsSync(join(runDir, 'triggers', 'exit')) };
}

export function clearTrigger(runDir: string, name: keyof Triggers): void {
  rmSync(join(runDir, 'triggers', name), { force: true });
}
