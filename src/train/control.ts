// How a running training is told to save or to stop: trigger files in the run folder, and requests by signal.
//
// `triggers/save` and `triggers/exit` are the names Megatron polls (docs/run-folder.md). The loop says when it begins and
// ends to look at requests, so that commands/ listens to signals only then; it looks after every step.
//
// Does not: install signal handlers.
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export type StopRequest = 'save-and-exit' | 'exit-now';

/** Told when a training loop begins to look at requests, and when it ends. */
export interface RunControlHooks {
  readonly onWatch?: () => void;
  readonly onRelease?: () => void;
}

/** What the world asks of a running training. One per process; commands/signals.ts sets it. */
export class RunControl {
  request: StopRequest | undefined;
  private readonly hooks: RunControlHooks;

  constructor(hooks: RunControlHooks = {}) {
    this.hooks = hooks;
  }

  /** From here on somebody looks at `request`. */
  watch(): void {
    this.hooks.onWatch?.();
  }

  /** From here on nobody does. */
  release(): void {
    this.hooks.onRelease?.();
  }
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
