// The plan of a campaign whose engine is Megatron, from its spec, its recipe and its site.
//
// Does not: plan phases (megatron-plan.ts) or start anything (cluster/engine-megatron.ts).
import { join, resolve } from 'node:path';
import { UserError } from '../base/errors.ts';
import type { Recipe } from '../base/recipe.ts';
import type { CampaignFolder } from '../cluster/campaign-folder.ts';
import type { CampaignSpec } from '../cluster/campaign-spec.ts';
import { type MegatronPlan, taskScript } from '../cluster/megatron-launch.ts';
import { absoluteSettings } from '../cluster/megatron-settings.ts';
import { nodeCountsOf } from '../cluster/engine-megatron.ts';
import type { Site } from '../cluster/site.ts';
import { checkMegatronNodes, checkMegatronPlan, megatronPlan } from './megatron-plan.ts';
import { stageFolders } from './run-folder.ts';

/** A spec whose paths do not depend on where a link, or a verb, is started. */
export function withAbsolutePaths(spec: CampaignSpec): CampaignSpec {
  // Names of shipped sites and recipes have no such ending.
  const absolute = (path: string): string => (/\.(?:json|[jt]s|mjs)$/.test(path) ? resolve(path) : path);
  return {
    ...{ ...spec, site: absolute(spec.site), recipe: absolute(spec.recipe) },
    megatron: spec.megatron === null ? null : absoluteSettings(spec.megatron, process.cwd()),
  };
}

/** The plan of a campaign. */
export function megatronOfCampaign(
  folder: CampaignFolder,
  spec: CampaignSpec,
  recipe: Recipe,
  site: Site,
): MegatronPlan {
  if (spec.megatron === null) {
    throw new UserError(`the campaign ${spec.name} does not say where Megatron is`, {
      expected: '"megatron": { "code": FOLDER }',
      next: 'docs/megatron.md has its keys',
    });
  }
  return megatronPlan(recipe, site, {
    ...{ name: spec.name, run: join(folder.dir, stageFolders.pretrain), settings: spec.megatron },
    ...{ workarounds: spec.workarounds, environment: spec.environment },
    tasksPerNode: spec.tasksPerNode ?? site.node.tasksPerNode,
  });
}

/** Refuses what Megatron could not start or train, before a job is submitted. */
export function checkMegatronCampaign(folder: CampaignFolder, spec: CampaignSpec, recipe: Recipe, site: Site): void {
  if (spec.engine !== 'megatron') {
    if (spec.megatron === null) return;
    throw new UserError(`the campaign ${spec.name} has a part "megatron" and another engine`, {
      found: `engine ${spec.engine}`,
      expected: '"engine": "megatron"',
    });
  }
  const plan = megatronOfCampaign(folder, spec, recipe, site);
  checkMegatronPlan(plan);
  checkMegatronNodes(plan, spec.nodes);
}

/** Lines about the phases: their steps, and the numbers of nodes that each can be trained on. */
export function megatronPhasesText(plan: MegatronPlan, { min, max }: CampaignSpec['nodes']): string[] {
  return plan.phases.map((phase) => {
    const counts = nodeCountsOf(phase, plan.devicesPerNode, max).filter((count) => count >= min);
    const batches = phase.batchSizes.join(' and ');
    const begins = phase.begin === null ? '' : ', begins with other weights';
    return `${phase.name}: steps ${phase.from + 1} to ${phase.to} of ${phase.run}, batches of ${batches}${begins}; on ${counts.join(', ')} nodes`;
  });
}

/** The script of a task in the first start of a phase on as many nodes as the campaign may take; names of nodes are made up. */
export function megatronTaskText(plan: MegatronPlan, spec: CampaignSpec, site: Site, phaseName: string): string {
  const phase = plan.phases.find(({ name }) => name === phaseName);
  if (!phase) {
    throw new UserError(`the campaign ${spec.name} has no phase "${phaseName}"`, {
      expected: plan.phases.map(({ name }) => name).join(', '),
    });
  }
  const [count = spec.nodes.max] = nodeCountsOf(phase, plan.devicesPerNode, spec.nodes.max);
  const nodes = Array.from({ length: count }, (_, index) => `NODE${index + 1}`);
  const place = { nodes, tasksPerNode: plan.devicesPerNode, folder: 'FOLDER', job: 'JOB', index: 0 };
  return taskScript(plan, site, phase, place, phase.begin !== null);
}
