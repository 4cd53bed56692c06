// Trying again what failed only because a scheduler was away for a moment.
//
// Does not: repeat what may have been done already; who calls says with `retryable` whether it can have been.
import { setTimeout as wait } from 'node:timers/promises';
import { SchedulerError } from '../scheduler.ts';

export interface Patience {
  /** Longest time of one call, seconds. */
  readonly timeoutSeconds: number;
  /** Calls until the error is passed on. */
  readonly attempts: number;
}

/** A controller that is restarted is back within 20 s. */
export const usualPatience: Patience = { timeoutSeconds: 3, attempts: 6 };

/** The answer of `call`, which is made again while its error says that this may help. */
export async function patiently<T>(attempts: number, call: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof SchedulerError && error.retryable) || attempt >= attempts) throw error;
    }
    await wait(Math.min(125 * 2 ** attempt, 2000));
  }
}
