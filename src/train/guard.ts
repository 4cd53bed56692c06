// The guard: judges every step before its update: apply it, compute it again, pass it over, go back, or stop.
//
// Numbers that are not finite are seen before the update, so the weights are still good: the step is computed again
// (what a flipped bit did does not come again; computing is deterministic, so anything else does), then passed over.
// A jump is a loss above usual + spikeFactor x sigma, both taken robustly from the last accepted ones (`limit`
// below); it too is computed again first. A jump that stays for `patience` steps sends the run back to before it
// began; the run is replayed to there, and the batches around the beginning are passed over. Sources: PaLM (Chowdhery
// et al., 2022, section 5.1) for going back about 100 steps and passing over 200-500 batches, which cured all of some
// 20 spikes, and for the finding that no batch is bad in itself; OLMo-core's skip-step optimizer for 6 sigma over the
// last 128 steps, silent before max(20, half) of them; Megatron-LM's rerun machine for computing again to tell
// hardware from data.
//
// Decisions follow from losses and norms alone, which are the same on all ranks, and so are the decisions. A gradient
// norm that jumps is only reported: clipping bounds what it can do.
//
// Does not: load, replay or skip; the loop does. Knows no time and no file.
import { z } from 'zod';
import type { Json } from '../base/json.ts';
import { type GuardRecipe, guardDefaults } from '../base/recipe.ts';

export { type GuardRecipe, guardDefaults };

/** A line for events.jsonl. */
export interface GuardEvent {
  readonly name: 'not-finite' | 'transient' | 'loss-spike' | 'gradient-spike' | 'rollback' | 'gave-up';
  readonly fields: Readonly<Record<string, Json>>;
}

interface VerdictFields {
  /** One sentence for people; empty where nothing is remarkable. */
  readonly why: string;
  /** To be written, in this order. */
  readonly events: readonly GuardEvent[];
}

export type Verdict = VerdictFields &
  (
    | { readonly kind: 'apply' }
    /** Compute the same step again and ask again. */
    | { readonly kind: 'retry' }
    /** No update; the samples count as consumed. */
    | { readonly kind: 'skip' }
    /**
     * Load the newest checkpoint at or before `toStep` (0: the initial weights), drop later ones, replay to `toStep`,
     * pass over the steps from `skipFromStep` to `skipToStep` (`skips` says so), go on. The guard itself goes on as
     * it is.
     */
    | {
        readonly kind: 'rollback';
        readonly toStep: number;
        readonly skipFromStep: number;
        readonly skipToStep: number;
      }
    /** The run cannot go on by itself. */
    | { readonly kind: 'stop' }
  );

/** A step whose gradient is there and whose update is not. `step` counts from 1, skipped ones included. */
export interface JudgedStep {
  readonly step: number;
  readonly loss: number;
  readonly gradientNorm: number;
}

const pair = z.tuple([z.int(), z.number()]);
const range = z.tuple([z.int(), z.int()]);
const stateSchema = z.strictObject({
  /** [step, loss] and [step, log of the gradient norm] of the last accepted steps. */
  losses: z.array(pair),
  norms: z.array(pair),
  /** Where the jump that is watched was first seen, and how long it has lasted; count 0: none. */
  began: z.int(),
  count: z.int(),
  /** True where the last gradient norm was one that was reported. */
  normJumped: z.boolean(),
  /** Steps passed over because they were not finite, within the last window. */
  recentSkips: z.array(z.int()),
  /** All steps to pass over, as ranges with both ends. */
  skips: z.array(range),
  /** Last step of the skip of every rollback. */
  rollbacks: z.array(z.int()),
  /** Steps up to here were judged before. */
  replayedTo: z.int(),
});
type GuardState = z.output<typeof stateSchema>;

/** Sigma of the loss is taken to be at least this share of it; of the logarithm of the norm, at least this. */
const leastLossSigma = 0.01;
const leastNormSigma = 0.1;
/** Median absolute value -> standard deviation, for normal noise: 1 / the normal quantile of 3/4. */
const madToSigma = 1.4826;

export class LossGuard {
  private readonly recipe: GuardRecipe;
  private now: GuardState;
  /** The step that is computed again; never across a checkpoint, which follows an update. */
  private pending:
    | { readonly step: number; readonly tries: number; readonly loss: number; readonly norm: number }
    | undefined;

  /** With a `state` of an earlier guard it goes on as that one would have. */
  constructor(recipe: GuardRecipe, state?: Json) {
    this.recipe = recipe;
    this.now =
      state === undefined
        ? {
            losses: [],
            norms: [],
            began: 0,
            count: 0,
            normJumped: false,
            recentSkips: [],
            skips: [],
            rollbacks: [],
            replayedTo: 0,
          }
        : stateSchema.parse(state);
  }

  /** For the checkpoint; asked after an update. */
  state(): Json {
    return structuredClone(this.now) as unknown as Json;
  }

  /** True where a step is to be passed over without computing it. */
  skips(step: number): boolean {
    return this.now.skips.some(([from, to]) => from <= step && step <= to);
  }

  /**
   * At the beginning of a phase, after `steps` steps: other data has another loss, so nothing is compared with what came
   * before. A replay that comes past it again changes nothing: what is remembered is of before the replay's end.
   */
  newPhase(steps: number): void {
    if (steps < this.now.replayedTo) return;
    Object.assign(this.now, { losses: [], norms: [], count: 0, normJumped: false });
  }

  /** Before the update, with the loss and gradient norm of the step that is about to be applied. */
  judge({ step, loss, gradientNorm }: JudgedStep): Verdict {
    const before = this.pending?.step === step ? this.pending : undefined;
    this.pending = undefined;
    const tries = before?.tries ?? 0;
    const again = (why: string, events: readonly GuardEvent[]): Verdict => {
      this.pending = { step, tries: tries + 1, loss, norm: gradientNorm };
      return { kind: 'retry', why, events };
    };
    if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm)) {
      const fields = { step, loss: String(loss), gradientNorm: String(gradientNorm), try: tries + 1 };
      const event: GuardEvent = { name: 'not-finite', fields };
      const why = `step ${step} is not finite: loss ${loss}, gradient norm ${gradientNorm}`;
      return tries < this.recipe.maxRetries ? again(why, [event]) : this.passOver(step, why, event);
    }

    const events: GuardEvent[] = [];
    if (before && (before.loss !== loss || before.norm !== gradientNorm)) {
      const first = { loss: String(before.loss), gradientNorm: String(before.norm) };
      events.push({ name: 'transient', fields: { step, loss, gradientNorm, first } });
    }
    const why = events.length > 0 ? `step ${step} gave other numbers when it was computed again` : '';
    if (step <= this.now.replayedTo) return { kind: 'apply', why, events };

    const lossLimit = this.limit(this.now.losses, (usual) => leastLossSigma * Math.abs(usual));
    const normLimit = this.limit(this.now.norms, () => leastNormSigma);
    const logNorm = Math.log(Math.max(gradientNorm, Number.MIN_VALUE));
    const jumps = lossLimit !== undefined && loss > lossLimit.limit;
    const normJumps = normLimit !== undefined && logNorm > normLimit.limit;
    // The first of a series is computed again: equal bits mean data or weights, others mean hardware.
    const isNew = (jumps && this.now.count === 0) || (normJumps && !this.now.normJumped);
    if (isNew && tries < this.recipe.maxRetries) {
      return again(`step ${step} is out of line: loss ${loss}, gradient norm ${gradientNorm}`, events);
    }

    if (normJumps && !this.now.normJumped) {
      const usual = Math.exp(normLimit.usual);
      events.push({ name: 'gradient-spike', fields: { step, gradientNorm, usual, limit: Math.exp(normLimit.limit) } });
    }
    this.now.normJumped = normJumps;
    this.accept(this.now.norms, step, logNorm);
    if (!jumps) {
      if (this.now.count > 0) this.now.count--;
      this.accept(this.now.losses, step, loss);
      return { kind: 'apply', why, events };
    }
    if (this.now.count === 0) {
      this.now.began = step;
      const { usual, limit } = lossLimit;
      events.push({ name: 'loss-spike', fields: { step, loss, usual, limit } });
    }
    this.now.count++;
    if (this.now.count < this.recipe.patience) {
      return { kind: 'apply', why: `the loss jumped to ${loss}, usual are ${lossLimit.usual}`, events };
    }
    const what = `the loss jumped at step ${this.now.began} and stayed: ${loss}, usual were ${lossLimit.usual}`;
    return this.goBack(this.now.began, step, what, events);
  }

  /** A step that is not finite, again and again. */
  private passOver(step: number, why: string, event: GuardEvent): Verdict {
    const recent = [...this.now.recentSkips.filter((other) => other > step - this.recipe.window), step];
    if (recent.length > this.recipe.maxSkips) {
      return this.goBack(recent[0] as number, step, `${why}; ${recent.length} such steps since ${recent[0]}`, [event]);
    }
    this.now.recentSkips = recent;
    // A replay passes over it at once.
    this.now.skips = mergeRanges([...this.now.skips, [step, step]]);
    return { kind: 'skip', why, events: [event] };
  }

  private goBack(began: number, step: number, why: string, events: readonly GuardEvent[]): Verdict {
    const { window, maxRollbacks, skipBefore, skipAfter } = this.recipe;
    const lately = this.now.rollbacks.filter((end) => end > began - 10 * window).length;
    if (lately >= maxRollbacks) {
      const end: GuardEvent = { name: 'gave-up', fields: { step, began, rollbacks: lately, why } };
      return { kind: 'stop', why: `${why}; going back ${lately} times did not help`, events: [...events, end] };
    }
    let skipFromStep = Math.max(1, began - skipBefore * 2 ** lately);
    // Within steps that were passed over the weights are those of before.
    for (const [from, to] of this.now.skips) if (from <= skipFromStep && skipFromStep <= to + 1) skipFromStep = from;
    const skipToStep = step + skipAfter;
    const toStep = skipFromStep - 1;
    const earlier = ([at]: readonly [number, number]): boolean => at < skipFromStep;
    this.now = {
      losses: this.now.losses.filter(earlier),
      norms: this.now.norms.filter(earlier),
      began: 0,
      count: 0,
      normJumped: false,
      recentSkips: [],
      skips: mergeRanges([...this.now.skips, [skipFromStep, skipToStep]]),
      rollbacks: [...this.now.rollbacks, skipToStep],
      replayedTo: toStep,
    };
    const fields = { step, began, toStep, skipFromStep, skipToStep, why };
    return {
      kind: 'rollback',
      toStep,
      skipFromStep,
      skipToStep,
      why,
      events: [...events, { name: 'rollback', fields }],
    };
  }

  /**
   * What is usual now, and from where on a number is a jump; undefined while there are too few. Usual is the median
   * of the last quarter of the window. Sigma comes from differences of neighbours (their median absolute value,
   * scaled for normal noise), which know nothing of the trend: early in a run the fall within a window is larger than
   * the noise.
   */
  private limit(
    values: GuardState['losses'],
    leastSigma: (usual: number) => number,
  ): { readonly usual: number; readonly limit: number } | undefined {
    const { spikeFactor, window } = this.recipe;
    if (spikeFactor === null || values.length < Math.max(20, window / 2)) return undefined;
    const numbers = Float64Array.from(values, ([, value]) => value);
    const differences = numbers.slice(1).map((value, i) => Math.abs(value - (numbers[i] as number)));
    const usual = middle(numbers.slice(-Math.max(10, window >> 2)).sort());
    const sigma = Math.max((madToSigma / Math.SQRT2) * middle(differences.sort()), leastSigma(usual));
    return { usual, limit: usual + spikeFactor * sigma };
  }

  private accept(values: GuardState['losses'], step: number, value: number): void {
    values.push([step, value]);
    if (values.length > this.recipe.window) values.splice(0, values.length - this.recipe.window);
  }
}

/** Median of sorted numbers. */
function middle(sorted: Float64Array): number {
  const half = sorted.length >> 1;
  const upper = sorted[half] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] as number) + upper) / 2;
}

/** Ranges of whole numbers in order, those that touch made one. */
function mergeRanges(ranges: readonly (readonly [number, number])[]): [number, number][] {
  const merged: [number, number][] = [];
  for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}
