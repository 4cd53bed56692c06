// Learning rates by samples consumed: warm-up, a plateau or a plain decay, and the WSD cooldown.
//
// Source: Apertus' Megatron-LM optimizer_param_scheduler (spec sections 2.3 and 8.8); golden/schedules.json. The step
// that starts after n samples uses the rate at n, so the very first step uses `initial` (0 by default).
//
// Does not: count samples; the loop does.

export type CooldownShape = '1-sqrt' | 'linear' | 'cosine' | 'exponential';
export type DecayStyle = 'WSD' | 'linear' | 'cosine' | 'constant' | 'inverse-square-root';

export interface Schedule {
  readonly style: DecayStyle;
  /** Rate at 0 samples. */
  readonly initial: number;
  readonly peak: number;
  readonly final: number;
  /** Samples of the linear warm-up. */
  readonly warmup: number;
  /** Samples of the whole schedule; the rate is `final` afterwards. */
  readonly total: number;
  /** Samples of the WSD cooldown at the end, and its shape. */
  readonly cooldown?: number;
  readonly cooldownShape?: CooldownShape;
}

/** Share of (peak - final) left at r in [0, 1] of a WSD cooldown. */
function cooldownLeft(shape: CooldownShape, r: number): number {
  switch (shape) {
    case '1-sqrt':
      return 1 - Math.sqrt(r);
    case 'linear':
      return 1 - r;
    case 'cosine':
      return 0.5 * (Math.cos(Math.PI * r) + 1);
    case 'exponential':
      return 2 * 0.5 ** r - 1;
  }
}

/** Learning rate of the step that starts after `n` samples. */
export function learningRate(schedule: Schedule, n: number): number {
  const { style, initial, peak, final, warmup, total } = schedule;
  if (warmup > 0 && n <= warmup) return initial + ((peak - initial) * n) / warmup;
  if (style === 'constant') return peak;
  if (n > total) return final;
  if (style === 'inverse-square-root') {
    return Math.max(final, (peak * Math.sqrt(Math.max(warmup, 1))) / Math.sqrt(Math.max(n, 1)));
  }
  if (style === 'WSD') {
    const start = total - (schedule.cooldown ?? 0);
    if (n <= start) return peak;
    return final + (peak - final) * cooldownLeft(schedule.cooldownShape ?? '1-sqrt', (n - start) / (total - start));
  }
  const r = (n - warmup) / (total - warmup);
  const left = style === 'linear' ? 1 - r : 0.5 * (Math.cos(Math.PI * r) + 1);
  return final + left * (peak - final);
}

export interface BatchRamp {
  /** Sequences per step at the start, how many are added each time, and the samples over which this happens. */
  readonly start: number;
  readonly increment: number;
  readonly samples: number;
  readonly final: number;
}

/** Sequences of the step that starts after `n` samples. */
export function batchSize(ramp: BatchRamp, n: number): number {
  if (n > ramp.samples) return ramp.final;
  const increments = (ramp.final - ramp.start) / ramp.increment;
  const samplesEach = ramp.samples / increments;
  return ramp.start + ramp.increment * Math.floor(n / samplesEach);
}
