// From a recipe's words to the loop's numbers: warm-up and cooldown in samples.
//
// Does not: choose the number of steps; budget.ts does.
import type { Schedule } from '../optim/schedule.ts';

export interface SchedulePlan {
  readonly peakLearningRate: number;
  readonly finalLearningRate?: number;
  /** Below 1 a share of all steps, else steps. */
  readonly warmup: number;
  readonly cooldown?: number;
  readonly cooldownShape?: Schedule['cooldownShape'];
}

/** The schedule over `steps` steps of `samplesPerStep` sequences: WSD, or linear to the final rate without a cooldown. */
export function scheduleOf(plan: SchedulePlan, steps: number, samplesPerStep: number): Schedule {
  const samples = (length: number): number => (length < 1 ? Math.round(length * steps) : length) * samplesPerStep;
  return {
    style: plan.cooldown === undefined ? 'linear' : 'WSD',
    initial: 0,
    peak: plan.peakLearningRate,
    final: plan.finalLearningRate ?? 0,
    warmup: samples(plan.warmup),
    total: steps * samplesPerStep,
    ...(plan.cooldown === undefined ? {} : { cooldown: samples(plan.cooldown) }),
    ...(plan.cooldownShape ? { cooldownShape: plan.cooldownShape } : {}),
  };
}
