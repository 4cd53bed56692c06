// What a recipe costs before anything is run.
//
// Parameters, FLOPs, memory and checkpoint size follow from the recipe (model/arithmetic.ts), steps and tokens from its
// phases (plan-phases.ts); hours on a cluster from the throughput that the recipe states; time on this machine from a
// matrix product timed now.
//
// Does not: look at data: what a mixture holds is what the recipe says.
import type { Recipe } from '../base/recipe.ts';
import { parameterSpecs } from '../model/apertus.ts';
import { cacheBytesPerToken, type MemoryPlan, parameterCount, trainingFlopsPerToken } from '../model/arithmetic.ts';
import type { Compute } from '../tensor/backend.ts';
import { selectedBackend } from '../tensor/backend-select.ts';
import { computeOn } from './engine.ts';
import { type ClusterPlan, clusterInAll, momentsOf, type PhasePlan, planCluster, planPhases } from './plan-phases.ts';

export interface Plan {
  readonly recipe: string;
  readonly parameters: number;
  /** Parameters outside the embedding and the head. */
  readonly bodyParameters: number;
  /** Of pretraining; null where the recipe has no such part. */
  readonly pretrain: PretrainPlan | null;
  /** Of pretraining, in order; one where the recipe has no phases, none where its length is not known. */
  readonly phases: readonly PhasePlan[];
  readonly releaseBytes: number;
  /** Keys and values of one token, in float32. */
  readonly cacheBytesPerToken: number;
  /** By the throughputs that the recipe states. */
  readonly cluster: ClusterPlan | null;
  readonly thisMachine: MachinePlan | null;
}

export interface PretrainPlan {
  /** Of the recipe's own part; phases may have others. */
  readonly sequenceLength: number;
  readonly tokensPerStep: number;
  /** Null where the recipe gives minutes and the rate of this machine is not measured. */
  readonly steps: number | null;
  readonly tokens: number | null;
  /** Forward and backward, per token; the mean over phases. */
  readonly flopsPerToken: number;
  readonly flops: number | null;
  /** Sequences of one forward pass and its memory, in the phase that needs the most. */
  readonly microBatchSize: number;
  readonly memory: MemoryPlan;
  /** Weights and optimizer moments in float32. */
  readonly checkpointBytes: number;
}

export interface MachinePlan {
  readonly backend: string;
  readonly compute: Compute;
  /** Of a 512 x 512 x 512 matrix product, measured now. */
  readonly measuredFlopsPerSecond: number;
  /** At the measured rate; training itself reaches less. */
  readonly days: number | null;
}

/** The plan of a recipe. `measure: false` leaves out what depends on this machine. */
export function planRecipe(recipe: Recipe, options: { readonly measure?: boolean } = {}): Plan {
  const { model, hardware } = recipe;
  const parameters = parameterCount(model);
  const outside = parameterSpecs(model)
    .filter(({ name }) => name === 'model.embed_tokens.weight' || name === 'lm_head.weight')
    .reduce((sum, { shape }) => sum + shape.reduce((product, length) => product * length, 1), 0);
  const rate = options.measure === false ? undefined : measureRate(recipe.pretrain?.compute ?? 'auto');
  const steps = recipe.pretrain ? stepsOf(recipe, recipe.pretrain, rate?.measuredFlopsPerSecond) : null;
  // Where nothing but minutes is known, one step says what a step needs.
  const phases = planPhases(recipe, steps === 'not known' ? 1 : steps);
  const known = steps !== 'not known';
  const pretrain = recipe.pretrain ? sumOf(recipe, recipe.pretrain, phases, known) : null;
  const flops = pretrain?.flops ?? null;
  return {
    recipe: recipe.name,
    parameters,
    bodyParameters: parameters - outside,
    pretrain,
    phases: known ? phases : [],
    releaseBytes: parameters * (recipe.release?.dtype === 'float32' ? 4 : 2),
    cacheBytesPerToken: cacheBytesPerToken(model),
    cluster: !known
      ? null
      : pretrain
        ? clusterInAll(phases)
        : hardware?.tokens
          ? planCluster(
              hardware.devices,
              hardware.tokensPerSecondPerDevice,
              hardware.wattsPerDevice,
              hardware.tokens,
              trainingFlopsPerToken(model, model.maxPositions),
            )
          : null,
    thisMachine: rate ? { ...rate, days: flops === null ? null : flops / rate.measuredFlopsPerSecond / 86_400 } : null,
  };
}

/** Steps for the curriculum: those of a recipe in minutes by the measured rate; null where the recipe says its length. */
function stepsOf(
  { model }: Recipe,
  { steps, minutes, samples, phases, sequenceLength, batchSize }: NonNullable<Recipe['pretrain']>,
  flopsPerSecond: number | undefined,
): number | null | 'not known' {
  if (steps !== null || samples !== null || phases.length > 0 || minutes === null) return steps;
  if (flopsPerSecond === undefined) return 'not known';
  // A recipe in minutes is planned at the measured rate; the run measures whole steps and saves what it chose.
  const flopsPerStep = trainingFlopsPerToken(model, sequenceLength) * sequenceLength * batchSize;
  return Math.max(1, Math.floor((minutes * 60 * flopsPerSecond) / flopsPerStep));
}

function sumOf(
  recipe: Recipe,
  { sequenceLength, batchSize }: NonNullable<Recipe['pretrain']>,
  phases: readonly PhasePlan[],
  known: boolean,
): PretrainPlan {
  const sum = (of: (phase: PhasePlan) => number): number => phases.reduce((total, phase) => total + of(phase), 0);
  const tokens = sum((phase) => phase.tokens);
  const flops = sum((phase) => phase.flops);
  const widest = phases.reduce((most, phase) => (phase.memory.total > most.memory.total ? phase : most));
  return {
    sequenceLength,
    tokensPerStep: sequenceLength * batchSize,
    steps: known ? sum((phase) => phase.steps) : null,
    tokens: known ? tokens : null,
    flopsPerToken: flops / tokens,
    flops: known ? flops : null,
    microBatchSize: widest.microBatchSize,
    memory: widest.memory,
    checkpointBytes: 4 * (1 + momentsOf(recipe)) * parameterCount(recipe.model),
  };
}

/** Times matrix products for about a quarter of a second (one product where the slow backend runs). */
function measureRate(wanted: 'auto' | Compute): Omit<MachinePlan, 'days'> {
  const { backend } = selectedBackend();
  const compute = computeOn(backend, wanted);
  const n = backend.name === 'js' ? 128 : 512;
  const matrix = (): { data: Float32Array; offset: number; stride: number } => ({
    data: new Float32Array(backend.allocate(4 * n * n), 0, n * n).fill(0.5),
    offset: 0,
    stride: n,
  });
  const [a, b, c] = [matrix(), matrix(), matrix()];
  const product = (): void => backend.gemm(compute, false, true, n, n, n, a, b, false, c);
  product();
  let best = Number.POSITIVE_INFINITY;
  const end = performance.now() + 250;
  do {
    const start = performance.now();
    product();
    best = Math.min(best, performance.now() - start);
  } while (performance.now() < end);
  return {
    backend: `${backend.name}/${backend.target}`,
    compute,
    measuredFlopsPerSecond: (2 * n ** 3) / (best / 1000),
  };
}
