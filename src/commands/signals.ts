// What Ctrl-C and the scheduler's signals do to a verb.
//
// SIGUSR2 and the first SIGINT ask a running training to save and stop (exit code 75); SIGTERM asks it to stop after the
// step without saving. There are handlers only while a training loop looks at what they ask for: a handler runs between
// steps, so during any other work, most of which never lets go of the thread, it would only swallow the signal. Without
// one the signal ends the process at once: a stage that did not finish left no manifest and runs again.
//
// Does not: know what runs; train/control.ts carries the request.
import { RunControl, type StopRequest } from '../train/control.ts';

const requests: Readonly<Record<'SIGINT' | 'SIGTERM' | 'SIGUSR2', StopRequest>> = {
  SIGINT: 'save-and-exit',
  SIGTERM: 'exit-now',
  SIGUSR2: 'save-and-exit',
};

/** The request box of this process; trainings that are given it obey signals. */
export const control: RunControl = new RunControl({
  onWatch() {
    // What was asked before is still to be done; a second signal does not wait.
    if (control.request === undefined) for (const signal of Object.keys(requests)) process.on(signal, ask);
  },
  onRelease: stopListening,
});

function ask(signal: NodeJS.Signals): void {
  control.request = requests[signal as keyof typeof requests];
  stopListening();
}

function stopListening(): void {
  for (const signal of Object.keys(requests)) process.off(signal, ask);
}
