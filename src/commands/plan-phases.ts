// The phases of a recipe with what each costs: tokens, FLOPs, memory, and time and energy where its throughput is known.
//
// Does not: lay out phases (train/curriculum.ts does) or count operations (model/arithmetic.ts does).
import type { Recipe } from '../base/recipe.ts';
import { type MemoryPlan, trainingFlopsPerToken, trainingMemory } from '../model/arithmetic.ts';
import { type Curriculum, curriculumOf, type Phase } from '../train/curriculum.ts';

export interface PhasePlan {
  readonly name: string;
  /** Steps and tokens of the run before it, and its own. */
  readonly startStep: number;
  readonly steps: number;
  readonly startTokens: number;
  readonly tokens: number;
  readonly sequenceLength: number;
  readonly ropeTheta: number;
  readonly documentMask: boolean;
  /** Sequences of its first and its last step. */
  readonly batchSize: readonly [first: number, last: number];
  /** Of its first and its last step. */
  readonly learningRate: readonly [first: number, last: number];
  readonly resetOptimizer: boolean;
  readonly mixture: readonly MixturePlan[];
  /** Forward and backward, per token. */
  readonly flopsPerToken: number;
  readonly flops: number;
  /** Sequences of one forward pass, and the memory of one process that holds the whole model and runs such passes. */
  readonly microBatchSize: number;
  readonly memory: MemoryPlan;
  /** By the throughput of the phase, else of recipe.hardware; null where neither is known. */
  readonly cluster: ClusterPlan | null;
}

export interface MixturePlan {
  readonly data: string;
  /** Of the phase's samples. */
  readonly share: number;
  readonly tokens: number;
  /** Tokens there are and how often the phase reads them; null where the recipe does not say. */
  readonly available: number | null;
  readonly epochs: number | null;
}

export interface ClusterPlan {
  /** The most that work at a time. */
  readonly devices: number;
  /** Means over the time it takes. */
  readonly tokensPerSecond: number;
  readonly flopsPerSecondPerDevice: number;
  readonly deviceHours: number;
  readonly days: number;
  readonly energyMegawattHours: number | null;
}

/** The phases of pretraining (one where the recipe has none); `steps` for a recipe that names minutes. */
export function planPhases(recipe: Recipe, steps: number | null): PhasePlan[] {
  const { pretrain, seed } = recipe;
  if (!pretrain) return [];
  const curriculum = curriculumOf(pretrain, seed, steps);
  let startTokens = 0;
  return curriculum.phases.map((phase) => {
    const plan = planPhase(recipe, curriculum, phase, startTokens);
    startTokens += plan.tokens;
    return plan;
  });
}

function planPhase(recipe: Recipe, curriculum: Curriculum, phase: Phase, startTokens: number): PhasePlan {
  const { model, pretrain, hardware } = recipe;
  const { index, name, startStep, steps, samples, sequenceLength, documentMask, resetOptimizer } = phase;
  const tokens = samples * sequenceLength;
  const first = curriculum.at(startStep);
  const last = curriculum.at(startStep + steps - 1);
  const flopsPerToken = trainingFlopsPerToken(model, sequenceLength);
  const microBatchSize = phase.microBatchSize ?? Math.ceil(last.batchSize / phase.shards);
  const worded = pretrain?.phases[index];
  const devices = worded?.devices ?? hardware?.devices;
  const rate = worded?.tokensPerSecondPerDevice ?? hardware?.tokensPerSecondPerDevice;
  const known = devices !== undefined && rate !== undefined;
  return {
    name,
    startStep,
    steps,
    startTokens,
    tokens,
    sequenceLength,
    ropeTheta: phase.ropeTheta ?? model.ropeTheta,
    documentMask,
    batchSize: [first.batchSize, last.batchSize],
    learningRate: [first.learningRate, last.learningRate],
    resetOptimizer,
    mixture: planMixture(phase.mixture, tokens),
    flopsPerToken,
    flops: tokens * flopsPerToken,
    microBatchSize,
    memory: trainingMemory(model, microBatchSize, sequenceLength, momentsOf(recipe), phase.shards),
    cluster: known ? planCluster(devices, rate, hardware?.wattsPerDevice ?? null, tokens, flopsPerToken) : null,
  };
}

/** Buffers of the size of the weights that the optimizer of pretraining keeps. */
export function momentsOf({ pretrain }: Recipe): number {
  return pretrain?.optimizer.name === 'adamw' ? 2 : 3;
}

function planMixture(mixture: Phase['mixture'], tokens: number): MixturePlan[] {
  const sum = mixture.reduce((total, { weight }) => total + weight, 0);
  return mixture.map(({ data, weight, tokens: available }) => {
    const share = weight / sum;
    return {
      data,
      share,
      tokens: share * tokens,
      available,
      epochs: available === null ? null : (share * tokens) / available,
    };
  });
}

/** Time and energy of `tokens` on so many devices. */
export function planCluster(
  devices: number,
  tokensPerSecondPerDevice: number,
  wattsPerDevice: number | null,
  tokens: number,
  flopsPerToken: number,
): ClusterPlan {
  const tokensPerSecond = devices * tokensPerSecondPerDevice;
  const seconds = tokens / tokensPerSecond;
  const deviceHours = (devices * seconds) / 3600;
  return {
    devices,
    tokensPerSecond,
    flopsPerSecondPerDevice: tokensPerSecondPerDevice * flopsPerToken,
    deviceHours,
    days: seconds / 86_400,
    energyMegawattHours: wattsPerDevice === null ? null : megawattHours(deviceHours, wattsPerDevice),
  };
}

/** Energy of devices that draw so many watts for so long. */
export function megawattHours(deviceHours: number, wattsPerDevice: number): number {
  return (deviceHours * wattsPerDevice) / 1e6;
}

/** The phases one after the other; null where the throughput of one is not known. */
export function clusterInAll(phases: readonly PhasePlan[]): ClusterPlan | null {
  const all = phases.flatMap(({ cluster }) => cluster ?? []);
  if (all.length === 0 || all.length < phases.length) return null;
  const sum = (of: (plan: ClusterPlan) => number): number => all.reduce((total, plan) => total + of(plan), 0);
  const seconds = 86_400 * sum(({ days }) => days);
  const deviceHours = sum((plan) => plan.deviceHours);
  return {
    devices: Math.max(...all.map(({ devices }) => devices)),
    tokensPerSecond: phases.reduce((total, { tokens }) => total + tokens, 0) / seconds,
    flopsPerSecondPerDevice: phases.reduce((total, { flops }) => total + flops, 0) / (3600 * deviceHours),
    deviceHours,
    days: seconds / 86_400,
    energyMegawattHours: all.some((plan) => plan.energyMegawattHours === null)
      ? null
      : sum((plan) => plan.energyMegawattHours ?? 0),
  };
}
