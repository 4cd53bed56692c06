// A recipe as a whole training by Megatron: every phase with its arguments, and where each follows the one before.
//
// Does not: word arguments (cluster/megatron.ts) or the launch (cluster/megatron-launch.ts); submit.
import { existsSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { UserError } from '../base/errors.ts';
import { type PretrainRecipe, type Recipe, recipePart } from '../base/recipe.ts';
import { nodeCountsOf } from '../cluster/engine-megatron.ts';
import type { MegatronArgument } from '../cluster/megatron.ts';
import type { MegatronPhasePlan, MegatronPlan } from '../cluster/megatron-launch.ts';
import { phaseLayout } from '../cluster/megatron-layout.ts';
import type { MegatronSettings } from '../cluster/megatron-settings.ts';
import type { Site } from '../cluster/site.ts';
import { triggersFolder } from '../cluster/triggers.ts';
import { curriculumOf, type Phase } from '../train/curriculum.ts';
import { renderMegatron } from './render.ts';

export interface MegatronPlanOptions {
  /** Name of the campaign. */
  readonly name: string;
  /** Folder of the training, `DIR/pretrain`. */
  readonly run: string;
  /** With absolute paths (absoluteSettings). */
  readonly settings: MegatronSettings;
  /** Ranks on each node; that many as it has GPUs where it is not given. */
  readonly tasksPerNode?: number;
  readonly workarounds?: readonly string[];
  /** Variables over those of the site. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** The plan of a recipe's pretraining on a site. */
export function megatronPlan(recipe: Recipe, site: Site, options: MegatronPlanOptions): MegatronPlan {
  const pretrain = recipePart(recipe, 'pretrain');
  const { name, run: root, settings, tasksPerNode, workarounds = [], environment = {} } = options;
  const curriculum = curriculumOf(pretrain, recipe.seed);
  let previous = settings.start;
  const phases = curriculum.phases.map((phase): MegatronPhasePlan => {
    const own = pretrain.phases[phase.index]?.learningRate != null;
    const run = own ? join(root, phase.name) : root;
    const render = (start: string | null): readonly MegatronArgument[] => {
      const folders = {
        run: root,
        tokens: settings.tokens ?? join(dirname(root), 'tokens'),
        cache: settings.cache ?? join(root, 'cache'),
      };
      const rendered = renderMegatron(recipe, { ...folders, phase: phase.name, ...(start === null ? {} : { start }) });
      return rendered.arguments.map((argument) => inPlace(argument, root, settings.dataRoot));
    };
    if (own && previous === null) {
      throw new UserError(`phase ${phase.name} of ${recipe.name} begins with the weights of other training`, {
        expected: 'the folder of its checkpoints, which has latest_checkpointed_iteration.txt',
        next: 'name it: "megatron": { "start": DIR }',
      });
    }
    const begins = own || (phase.index === 0 && previous !== null);
    const plan: MegatronPhasePlan = {
      name: phase.name,
      run,
      from: own ? 0 : phase.startStep,
      to: own ? phase.steps : phase.startStep + phase.steps,
      begin: begins ? render(previous) : null,
      arguments: render(null),
      replica: replicaOf(recipe, phase),
      microBatchSize: phase.microBatchSize ?? 1,
      batchSizes: batchSizesOf(pretrain, phase),
    };
    previous = join(run, 'checkpoints');
    return plan;
  });
  const { code, copyCode, python, edf, threads, wandbProject, ncclLog, nsys } = settings;
  return {
    ...{ name, run: root, phases, code, copyCode, python, edf, threads, workarounds, environment, ncclLog, nsys },
    devicesPerNode: tasksPerNode ?? Math.max(1, site.node.gpus),
    wandb: wandbProject === null ? null : { project: wandbProject },
  };
}

/** An argument with the folders of this launch: one place for triggers, the run's tokenizer, data below its root. */
function inPlace(argument: MegatronArgument, root: string, dataRoot: string | null): MegatronArgument {
  if (argument.flag === '--trigger-path') return { ...argument, values: [triggersFolder(root)] };
  // What `belay render` prints for a recipe that names none.
  if (argument.flag === '--tokenizer-model' && argument.values[0] === 'tokenizer') {
    return { ...argument, values: [join(dirname(root), 'tokenizer')] };
  }
  if (argument.flag !== '--data-path' || dataRoot === null) return argument;
  const isWeight = (value: string): boolean => argument.values.length > 1 && Number.isFinite(Number(value));
  const values = argument.values.map((value, index) =>
    (index % 2 === 0 && isWeight(value)) || isAbsolute(value) ? value : join(dataRoot, value),
  );
  return { ...argument, values };
}

function replicaOf(recipe: Recipe, { name }: Phase): number {
  const { tensorParallel, pipelineParallel, contextParallel } = phaseLayout(recipe, name);
  return tensorParallel * pipelineParallel * contextParallel;
}

/** Batches in use between the first and the last sample of a phase. */
function batchSizesOf(pretrain: PretrainRecipe, phase: Phase): number[] {
  const worded = pretrain.phases[phase.index]?.batchSize;
  if (worded != null) return [worded];
  const { batchRamp: ramp, batchSize } = pretrain;
  if (!ramp) return [batchSize];
  const increments = (batchSize - ramp.start) / ramp.increment;
  const each = ramp.samples / increments;
  const last = phase.startSample + phase.samples - 1;
  const sizes = Array.from({ length: increments + 1 }, (_, index) => ({
    size: ramp.start + index * ramp.increment,
    from: index * each,
    to: index === increments ? Number.POSITIVE_INFINITY : (index + 1) * each,
  }));
  return sizes.filter(({ from, to }) => phase.startSample < to && last >= from).map(({ size }) => size);
}

/** A UserError where a phase cannot be trained on any number of nodes that a link may take. */
export function checkMegatronNodes(
  plan: MegatronPlan,
  { min, max }: { readonly min: number; readonly max: number },
): void {
  for (const phase of plan.phases) {
    const counts = nodeCountsOf(phase, plan.devicesPerNode, max);
    if (counts.some((count) => count >= min)) continue;
    const above = nodeCountsOf(phase, plan.devicesPerNode, 4 * max).filter((count) => count > max);
    throw new UserError(`Megatron cannot train phase ${phase.name} of ${plan.name} on ${min} to ${max} nodes`, {
      found: `${plan.devicesPerNode} ranks a node, replicas of ${phase.replica}, batches of ${phase.batchSizes.join(' and ')} in passes of ${phase.microBatchSize}`,
      expected: `such as ${[...above.slice(-2), ...counts.slice(0, 3)].join(', ') || 'more'} nodes`,
    });
  }
}

/** A UserError that names every file the plan needs and does not find, before a job is submitted. */
export function checkMegatronPlan(plan: MegatronPlan): void {
  const missing: string[] = [];
  const need = (what: string, path: string): void => {
    if (!existsSync(path)) missing.push(`${what}: ${path}`);
  };
  need('megatron code', join(plan.code, 'pretrain_gpt.py'));
  if (plan.edf !== null) need('EDF', plan.edf);
  const seen = new Set<string>();
  for (const { name, arguments: list } of plan.phases) {
    const data = list.find(({ flag }) => flag === '--data-path')?.values ?? [];
    for (const prefix of data.length === 1 ? data : data.filter((_, index) => index % 2 === 1)) {
      if (seen.has(prefix)) continue;
      seen.add(prefix);
      for (const extension of ['bin', 'idx']) need(`mixture of phase ${name}`, `${prefix}.${extension}`);
    }
  }
  const load = plan.phases[0]?.begin?.find(({ flag }) => flag === '--load')?.values[0];
  if (load !== undefined) need('start weights', join(load, 'latest_checkpointed_iteration.txt'));
  if (missing.length === 0) return;
  const shown = missing.slice(0, 8);
  if (missing.length > shown.length) shown.push(`and ${missing.length - shown.length} more`);
  throw new UserError(`files are missing for ${plan.name}`, {
    found: `nothing at\n            ${shown.join('\n            ')}`,
  });
}
