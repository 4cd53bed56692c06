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

export class Optimizer {
  readonly recipe: OptimizerRecipe;
  /** State buffers by name, each as long as all parameters. */
  readonly state: ReadonlyMap<string, Float32Array>;
  /** Steps taken. */
  step = 0;
  private readonly parameters: ParameterSet;
  private readonly groups: readonly Group[];
  private readonly warmup: number | null;

  /** `totalSteps` is what a warm-up of `run` means. */
  constructor(parameters: ParameterSet, recipe: OptimizerRecipe, totalSteps: number) {
    this.parameters = parameters;
    this.recipe = recipe;
    this.groups = weightDecayGroups(parameters, recipe.weightDecay);
    const { backend } = parameters.engine;
    this.state = new Map(
      stateNames[recipe.name].map((name) => [
        name,
        new Float32Array(backend.allocate(parameters.size * 4), 0, parameters.size),
      ]),
    );
    const warmup = recipe.name === 'ademamix' ? recipe.warmupSteps : null;
    this.warmup = warmup === 'run' ? totalSteps : warmup;
  }

  /** One step with the gradients in the parameter set. `maxNorm` null: no clipping. */
  update(lr: number, maxNorm: number | null): StepReport {
    const { parameters, recipe } = this;
    const { backend } = parameters.engine;
    const gradientNorm = Math.sqrt(backend.sumOfSquares(parameters.size, parameters.gradients));
    const clip = maxNorm === null ? 1 : Math.min(1, maxNorm / (gradientNorm + 1e-6));
    this.step++;
    const correction1 = 1 - recipe.beta1 ** this.step;
    const correction2 = 1 - recipe.beta2 ** this.step;
    const common = { clip, lr, beta1: recipe.beta1, beta2: recipe.beta2, eps: recipe.eps, correction1, correction2 };
    for (const { from, to, weightDecay } of this.groups) {
      const part = (buffer: Float32Array): Float32Array => buffer.subarray(from, to);
      const p = part(parameters.values);
      const g = part(parameters.gradients);
      const state = (name: string): Float32Array => part(this.state.get(name) as Float32Array);
      if (recipe.name === 'ademamix') {
        const alpha = alphaAt(this.step, recipe.alpha, this.warmup);
        const beta3 = beta3At(this.step, recipe.beta1, recipe.beta3, this.warmup);
        const step = { ...common, alpha, beta3, weightDecay };
        backend.ademamix(to - from, p, g, state('m1'), state('m2'), state('v'), step);
      } else {
        backend.adamw(to - from, p, g, state('m'), state('v'), { ...common, weightDecay });
      }
    }
    return { gradientNorm, clip };
  }
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
