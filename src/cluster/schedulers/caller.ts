// What is checked and made alike before any transport asks Slurm: ids, signals, the environment, doubtful submissions.
//
// Does not: ask.
import { constants } from 'node:os';
import { SchedulerError } from '../scheduler.ts';

/** Refuses what is no id of a Slurm job, of an element of an array or of several elements. */
export function checkJobId(id: string): void {
  if (!/^\d+(_\d+|_\[[\d,%:-]+\])?$/.test(id)) throw new SchedulerError('refused', `no id of a job: ${id}`);
}

/** The name of a signal without SIG; refuses what is none. */
export function checkedSignal(signal: string): string {
  const name = signal.replace(/^SIG/, '');
  if (!(`SIG${name}` in constants.signals)) throw new SchedulerError('refused', `no signal: ${signal}`);
  return name;
}

/** This process's environment without what describes the job that it may run in, which must not leak into the next. */
export function environmentForJobs(): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => !/^SLURMD?_(?!CONF$|JWT$|CLUSTERS$)/.test(name));
  return Object.fromEntries(kept) as Record<string, string>;
}

/** The error of a submission that got no answer: made again, it could be a second job. */
export function mayBeTaken(name: string, why: string): SchedulerError {
  const message = `${why}; the job ${name} may have been taken: look for it before it is submitted again`;
  return new SchedulerError('timeout', message, { retryable: false });
}

/** Whether Slurm knows no job of an id: there never was one, or it ended and was forgotten. */
export function isUnknownJob(error: unknown): boolean {
  return error instanceof SchedulerError && /Invalid job id specified/.test(error.message);
}
