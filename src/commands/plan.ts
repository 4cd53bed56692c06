// `belay plan RECIPE`: what a recipe costs before anything is run.
//
// Parameters, FLOPs, memory and checkpoint size follow from the recipe (model/arithmetic.ts); hours on a cluster from
// the throughput that the recipe states; time on this machine from a matrix product timed now.
//
// Does not: look at data: tokens are steps times tokens per step, or what recipe.hardware states.
import { buildCommand } from '@stricli/core';
import { amount } from '../base/progress.ts';
import { loadRecipe, type Recipe } from '../base/recipe.ts';
import { parameterSpecs } from '../model/apertus.ts';
import {
  cacheBytesPerToken,
  type MemoryPlan,
  parameterCount,
  trainingFlopsPerToken,
  trainingMemory,
} from '../model/arithmetic.ts';
import type { Compute } from '../tensor/backend.ts';
import { selectedBackend } from '../tensor/backend-select.ts';
import { computeOn } from './engine.ts';

export interface Plan {
  readonly recipe: string;
  readonly parameters: number;
  /** Parameters outside the embedding and the head. */
  readonly bodyParameters: number;
  /** Of pretraining; null where the recipe has no such part. */
  readonly pretrain: PretrainPlan | null;
  readonly releaseBytes: number;
  /** Keys and values of one token, in float32. */
  readonly cacheBytesPerToken: number;
  /** By the throughput of recipe.hardware. */
  readonly cluster: ClusterPlan | null;
  readonly thisMachine: MachinePlan | null;
}

export interface PretrainPlan {
  readonly sequenceLength: number;
  readonly tokensPerStep: number;
  /** Null where the recipe gives minutes and the rate of this machine is not measured. */
  readonly steps: number | null;
  readonly tokens: number | null;
  /** Forward and backward, per token. */
  readonly flopsPerToken: number;
  readonly flops: number | null;
  /** Sequences of one forward pass: by the recipe, else a device's share of the batch. */
  readonly microBatchSize: number;
  /** Of one process that holds the whole model and runs such passes. */
  readonly memory: MemoryPlan;
  /** Weights and optimizer moments in float32. */
  readonly checkpointBytes: number;
}

export interface ClusterPlan {
  readonly devices: number;
  readonly tokensPerSecond: number;
  /** Floating-point operations per second and device that this throughput means. */
  readonly flopsPerSecondPerDevice: number;
  readonly deviceHours: number;
  readonly days: number;
  readonly energyMegawattHours: number | null;
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
  const pretrain = recipe.pretrain ? planPretraining(recipe, recipe.pretrain, rate?.measuredFlopsPerSecond) : null;
  const flops = pretrain?.flops ?? null;
  return {
    recipe: recipe.name,
    parameters,
    bodyParameters: parameters - outside,
    pretrain,
    releaseBytes: parameters * (recipe.release?.dtype === 'float32' ? 4 : 2),
    cacheBytesPerToken: cacheBytesPerToken(model),
    cluster: hardware
      ? planCluster(hardware, pretrain?.flopsPerToken ?? trainingFlopsPerToken(model, model.maxPositions))
      : null,
    thisMachine: rate ? { ...rate, days: flops === null ? null : flops / rate.measuredFlopsPerSecond / 86_400 } : null,
  };
}

function planPretraining(
  { model, hardware }: Recipe,
  pretrain: NonNullable<Recipe['pretrain']>,
  flopsPerSecond: number | undefined,
): PretrainPlan {
  const { sequenceLength, batchSize, minutes } = pretrain;
  const tokensPerStep = sequenceLength * batchSize;
  const flopsPerToken = trainingFlopsPerToken(model, sequenceLength);
  // A recipe in minutes is planned at the measured rate; the run measures whole steps and saves what it chose.
  const inMinutes =
    minutes === null || flopsPerSecond === undefined
      ? null
      : Math.max(1, Math.floor((minutes * 60 * flopsPerSecond) / (flopsPerToken * tokensPerStep)));
  const steps = pretrain.steps ?? inMinutes;
  const tokens = hardware?.tokens ?? (steps === null ? null : steps * tokensPerStep);
  const microBatchSize = pretrain.microBatchSize ?? Math.max(1, Math.ceil(batchSize / (hardware?.devices ?? 1)));
  const moments = pretrain.optimizer.name === 'ademamix' ? 3 : 2;
  return {
    sequenceLength,
    tokensPerStep,
    steps,
    tokens,
    flopsPerToken,
    flops: tokens === null ? null : tokens * flopsPerToken,
    microBatchSize,
    memory: trainingMemory(model, microBatchSize, sequenceLength, moments),
    checkpointBytes: 4 * (1 + moments) * parameterCount(model),
  };
}

function planCluster(hardware: NonNullable<Recipe['hardware']>, flopsPerToken: number): ClusterPlan {
  const { devices, tokensPerSecondPerDevice, wattsPerDevice, tokens } = hardware;
  const tokensPerSecond = devices * tokensPerSecondPerDevice;
  const seconds = tokens / tokensPerSecond;
  const deviceHours = (devices * seconds) / 3600;
  return {
    devices,
    tokensPerSecond,
    flopsPerSecondPerDevice: tokensPerSecondPerDevice * flopsPerToken,
    deviceHours,
    days: seconds / 86_400,
    energyMegawattHours: wattsPerDevice === null ? null : (deviceHours * wattsPerDevice) / 1e6,
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

/** The plan as a table for people. */
export function planText(plan: Plan): string {
  const rows: [string, string][] = [
    ['recipe', plan.recipe],
    [
      'parameters',
      `${plan.parameters.toLocaleString('en')} (${amount(plan.bodyParameters)} without embedding and head)`,
    ],
  ];
  const { pretrain, cluster, thisMachine } = plan;
  if (pretrain) {
    const { memory } = pretrain;
    rows.push(
      ['steps', pretrain.steps === null ? 'chosen by the measured rate' : pretrain.steps.toLocaleString('en')],
      [
        'tokens',
        `${pretrain.tokens === null ? '?' : amount(pretrain.tokens)} (${amount(pretrain.tokensPerStep)} a step)`,
      ],
      ['FLOPs per token', `${scientific(pretrain.flopsPerToken)} (sequences of ${pretrain.sequenceLength})`],
      ['FLOPs in all', pretrain.flops === null ? '?' : scientific(pretrain.flops)],
      [
        'memory, one process',
        `${byteText(memory.total)}: weights ${byteText(memory.weights)}, gradients ${byteText(memory.gradients)}, optimizer ${byteText(memory.optimizer)}, activations ${byteText(memory.activations)} (${pretrain.microBatchSize} sequences at once)`,
      ],
      ['checkpoint', byteText(pretrain.checkpointBytes)],
    );
  }
  rows.push(['release', byteText(plan.releaseBytes)], ['cache', `${byteText(plan.cacheBytesPerToken)} per token`]);
  if (cluster) {
    const energy = cluster.energyMegawattHours;
    rows.push([
      'cluster',
      `${cluster.devices.toLocaleString('en')} devices at ${amount(cluster.tokensPerSecond)} tokens/s (${scientific(cluster.flopsPerSecondPerDevice)} FLOP/s each): ${timeText(cluster.days)}, ${amount(cluster.deviceHours)} device-hours${energy === null ? '' : `, ${amount(energy)} MWh`}`,
    ]);
  }
  if (thisMachine) {
    rows.push([
      'this machine',
      `${scientific(thisMachine.measuredFlopsPerSecond)} FLOP/s in ${thisMachine.compute} matrix products (${thisMachine.backend}, measured now)${thisMachine.days === null ? '' : `: at best ${timeText(thisMachine.days)}`}`,
    ]);
  }
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, text]) => `${name.padEnd(width)}  ${text}\n`).join('');
}

function scientific(value: number): string {
  return value.toExponential(2).replace('e+', 'e');
}

function byteText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  const power = Math.max(0, Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return `${(bytes / 1000 ** power).toPrecision(3)} ${units[power]}`;
}

function timeText(days: number): string {
  if (days >= 730) return `${amount(days / 365.25)} years`;
  if (days >= 2) return `${days.toFixed(1)} days`;
  const minutes = days * 1440;
  return minutes >= 120
    ? `${(minutes / 60).toFixed(1)} hours`
    : minutes >= 2
      ? `${minutes.toFixed(1)} minutes`
      : `${(minutes * 60).toFixed(1)} seconds`;
}

interface Flags {
  readonly json: boolean;
}

export const command = buildCommand<Flags, [string]>({
  docs: {
    brief: 'What a recipe costs',
    fullDescription: `Prints parameters, FLOPs, memory, checkpoint size and time of a recipe, without running it. FLOPs are counted as in
appendix D of the Apertus report; the rate of this machine is measured in a quarter of a second.

Example:
  belay plan recipes/apertus-70b.ts
  belay plan recipes/demo.ts --json`,
  },
  parameters: {
    flags: { json: { kind: 'boolean', brief: 'one JSON object', default: false } },
    positional: {
      kind: 'tuple',
      parameters: [{ parse: String, brief: 'a recipe: .ts, .js or .json', placeholder: 'RECIPE' }],
    },
  },
  async func({ json }, path) {
    const plan = planRecipe(await loadRecipe(path));
    process.stdout.write(json ? `${JSON.stringify(plan)}\n` : planText(plan));
  },
});
