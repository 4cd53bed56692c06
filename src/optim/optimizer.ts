// AdEMAMix and AdamW over all parameters of a model: groups, clipping, warm-up of their own constants.
//
// Weight decay applies to tensors of two and more dimensions, embeddings included; never to norms (1-D) and to the
// learned scalars of xIELU (spec section 2.1). The gradient is clipped by its global norm with coefficient
// min(1, max / (norm + 1e-6)). Sources: AdEMAMix (Pagliardini et al., 2024) as in Apertus' Megatron-LM (spec section
// 2.3; golden/optimizers.json); AdamW (Loshchilov and Hutter, 2019).
//
// Does not: know the learning rate; schedule.ts does.
import type { OptimizerRecipe } from '../base/recipe.ts';
import type { ParameterSet } from '../tensor/parameters.ts';

/** A run of elements with one weight decay. */
interface Group {
  readonly from: number;
  readonly to: number;
  readonly weightDecay: number;
}

export interface StepReport {
  /** Global L2 norm of the gradient before clipping. */
  readonly gradientNorm: number;
  /** What the gradient was multiplied by. */
  readonly clip: number;
}

/** ln 0.5 / ln(b) - 1: the half-life of a moving average, in steps (b + 1e-8 as in the original). */
function halfLife(b: number): number {
  return Math.log(0.5) / Math.log(b + 1e-8) - 1;
}

/** alpha(t) of AdEMAMix: linear from 0 over the warm-up. */
export function alphaAt(step: number, alpha: number, warmup: number | null): number {
  return warmup !== null && step < warmup ? (step / warmup) * alpha : alpha;
}

/** beta3(t) of AdEMAMix: from beta1, linear in half-life over the warm-up. */
export function beta3At(step: number, beta1: number, beta3: number, warmup: number | null): number {
  if (warmup === null || step >= warmup) return beta3;
  const share = step / warmup;
  const half = (1 - share) * halfLife(beta1) + share * halfLife(beta3);
  return 0.5 ** (1 / (half + 1));
}

/** Names of the state buffers of each optimizer, in the order they are saved. */
const stateNames = { ademamix: ['m1', 'm2', 'v'], adamw: ['m', 'v'] } as const;

/** Which elements of the flat buffer an optimizer keeps moments of and updates: all, or those a rank owns. */
export interface OwnedElements {
  readonly from: number;
  readonly to: number;
}

export class Optimizer {
  readonly recipe: OptimizerRecipe;
  /** Elements of the flat buffer that it updates: [from, to). */
  readonly from: number;
  readonly to: number;
  /** State buffers by name, [to - from] each. */
  readonly state: ReadonlyMap<string, Float32Array>;
  /** Steps taken. */
  step = 0;
  private readonly parameters: ParameterSet;
  private readonly groups: readonly Group[];
  private warmup: number | null = null;

  /** `totalSteps` is what a warm-up of `run` means. */
  constructor(parameters: ParameterSet, recipe: OptimizerRecipe, totalSteps: number, owned?: OwnedElements) {
    this.parameters = parameters;
    this.recipe = recipe;
    const { from, to } = owned ?? { from: 0, to: parameters.size };
    this.from = from;
    this.to = to;
    this.groups = weightDecayGroups(parameters, recipe.weightDecay).flatMap((group) => {
      const part = { ...group, from: Math.max(from, group.from), to: Math.min(to, group.to) };
      return part.from < part.to ? [part] : [];
    });
    const { backend } = parameters.engine;
    this.state = new Map(
      stateNames[recipe.name].map((name) => [name, new Float32Array(backend.allocate((to - from) * 4), 0, to - from)]),
    );
    this.warmUpOver(totalSteps);
  }

  /** How many steps a warm-up of `run` takes from the step after the last reset on. */
  warmUpOver(totalSteps: number): void {
    const warmup = this.recipe.name === 'ademamix' ? this.recipe.warmupSteps : null;
    this.warmup = warmup === 'run' ? totalSteps : warmup;
  }

  /** Forgets all moments: the next step is the first one. */
  reset(): void {
    for (const buffer of this.state.values()) buffer.fill(0);
    this.step = 0;
  }

  /** One step with the gradients in the parameter set (of one process). `maxNorm` null: no clipping. */
  update(lr: number, maxNorm: number | null): StepReport {
    const { parameters } = this;
    const gradientNorm = Math.sqrt(parameters.engine.backend.sumOfSquares(parameters.size, parameters.gradients));
    const clip = clipFactor(gradientNorm, maxNorm);
    this.apply(lr, clip);
    return { gradientNorm, clip };
  }

  /** One step on the own elements with the gradients there times `factor`. */
  apply(lr: number, factor: number): void {
    const { parameters, recipe } = this;
    const { backend } = parameters.engine;
    this.step++;
    const correction1 = 1 - recipe.beta1 ** this.step;
    const correction2 = 1 - recipe.beta2 ** this.step;
    const { beta1, beta2, eps } = recipe;
    const common = { clip: factor, lr, beta1, beta2, eps, correction1, correction2 };
    for (const { from, to, weightDecay } of this.groups) {
      const p = parameters.values.subarray(from, to);
      const g = parameters.gradients.subarray(from, to);
      const state = (name: string): Float32Array =>
        (this.state.get(name) as Float32Array).subarray(from - this.from, to - this.from);
      if (recipe.name === 'ademamix') {
        const alpha = alphaAt(this.step, recipe.alpha, this.warmup);
        const beta3 = beta3At(this.step, recipe.beta1, recipe.beta3, this.warmup);
        const step = { ...common, alpha, beta3, weightDecay };
        backend.ademamix(to - from, p, g, state('m1'), state('m2'), state('v'), step);
      } else {
        backend.adamw(to - from, p, g, state('m'), state('v'), { ...common, weightDecay });
      }
    }
  }
}

/** What the gradient is multiplied by: min(1, max / (norm + 1e-6)). */
export function clipFactor(gradientNorm: number, maxNorm: number | null): number {
  return maxNorm === null ? 1 : Math.min(1, maxNorm / (gradientNorm + 1e-6));
}

/** Neighbouring parameters with the same decay, merged. */
function weightDecayGroups(parameters: ParameterSet, weightDecay: number): Group[] {
  const groups: Group[] = [];
  for (const { shape, offset, size } of parameters.slices) {
    const decay = shape.length >= 2 ? weightDecay : 0;
    const last = groups.at(-1);
    if (last && last.weightDecay === decay && last.to === offset) {
      groups[groups.length - 1] = { ...last, to: offset + size };
    } else {
      groups.push({ from: offset, to: offset + size, weightDecay: decay });
    }
  }
  return groups;
}
