// What Ctrl-C and the scheduler's signals do to a verb.
//
// SIGUSR2 and the first SIGINT ask a running training to save and stop (exit code 75); SIGTERM asks it to stop after the
// step without saving. Outside of training a signal ends the process at once: a stage that did not finish left no
// manifest and runs again.
//
// Does not: know what runs; train/control.ts carries the request.
import { RunControl } from '../train/control.ts';

/** The request box of this process. */
export const control = new RunControl();

let installed = false;

/** Installs the handlers; called by verbs that train. */
export function watchSignals(): RunControl {
  if (installed) return control;
  installed = true;
  const handle = (signal: 'SIGINT' | 'SIGTERM' | 'SIGUSR2', code: number): void => {
    process.on(signal, () => {
      // A second signal, or one outside of training, does not wait.
      if (!control.isWatched || control.request !== undefined) process.exit(code);
      control.request = signal === 'SIGTERM' ? 'exit-now' : 'save-and-exit';
    });
  };
  handle('SIGINT', 130);
  handle('SIGTERM', 143);
  handle('SIGUSR2', 140);
  return control;
}
