// Whether a campaign goes on after a failure: a bug stops it, broken hardware does not, as long as it gets further.
//
// Three rules, in this order. The same line at the same step twice is a bug, whatever was reached before it. Failures
// without progress in a row are counted, with a budget by who is to blame: a crash of the workload is rarely cured by
// trying again, a node often is. And a user's mistake is never tried again.
//
// Does not: say who is to blame (attribution.ts), or start anything.
import { z } from 'zod';
import type { Verdict } from './history-files.ts';

const budget = z.int().min(1).max(1000);

export const restartSettingsSchema = z.strictObject({
  /** Failures in a row without a step more in a checkpoint, after which the campaign stops. */
  withoutProgress: z
    .strictObject({
      workload: budget.default(2),
      unknown: budget.default(3),
      infrastructure: budget.default(10),
    })
    .prefault({}),
});

export type RestartSettings = z.output<typeof restartSettingsSchema>;

/** A start of the training that failed. */
export interface Failure {
  readonly verdict: Verdict;
  /** Steps in the newest whole checkpoint before and after it. */
  readonly from: number;
  readonly to: number;
  /** The last step it computed, where that is known. */
  readonly lastStep?: number;
}

export type Decision = { readonly restart: true } | { readonly restart: false; readonly why: string };

/** What to do after the last of `failures`, which followed each other without an end of another kind. */
export function decide(failures: readonly Failure[], settings: RestartSettings): Decision {
  const last = failures.at(-1);
  if (!last) return { restart: true };
  const { verdict } = last;
  if (verdict.cause === 'mistake') return stop(`a mistake that every start would meet`, last);
  if (verdict.domain === 'workload' && verdict.line !== undefined) {
    const same = failures.filter(
      (failure) =>
        failure.verdict.line === verdict.line && failure.lastStep !== undefined && failure.lastStep === last.lastStep,
    );
    if (same.length >= 2)
      return stop(`${same.length} times the same failure after step ${last.lastStep}, no progress`, last);
  }
  const stuck = failures.slice(failures.findLastIndex(({ from, to }) => to > from) + 1);
  const most = settings.withoutProgress[verdict.domain];
  const counted = stuck.filter((failure) => failure.verdict.domain === verdict.domain).length;
  if (counted >= most) return stop(`${counted} failures in a row, no progress beyond step ${last.to}`, last);
  // A mixture of kinds must end too.
  const widest = Math.max(...Object.values(settings.withoutProgress));
  if (stuck.length >= widest)
    return stop(`${stuck.length} failures in a row, no progress beyond step ${last.to}`, last);
  return { restart: true };
}

function stop(why: string, { verdict: { domain, cause, line, node } }: Failure): Decision {
  const where = node === undefined ? '' : ` on ${node}`;
  return { restart: false, why: `${why}: ${domain}, ${cause}${where}${line === undefined ? '' : `: ${line}`}` };
}
