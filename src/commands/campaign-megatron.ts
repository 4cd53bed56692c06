// The plan of a campaign whose engine is Megatron, from its spec, its recipe and its site.
//
// Does not: plan phases (megatron-plan.ts) or start anything (cluster/engine-megatron.ts).
import { join } from 'node:path';
import { UserError } from '../base/errors.ts';
import type { Recipe } from '../base/recipe.ts';
import type { CampaignFolder } from '../cluster/campaign-folder.ts';
import type { CampaignSpec } from '../cluster/campaign-spec.ts';
import type { MegatronPlan } from '../cluster/megatron-launch.ts';
import { absoluteSettings } from '../cluster/megatron-settings.ts';
import type { Site } from '../cluster/site.ts';
import { checkMegatronNodes, checkMegatronPlan, megatronPlan } from './megatron-plan.ts';
import { stageFolders } from './run-folder.ts';

/** A spec whose paths of Megatron do not depend on where a link is started; others as they are. */
export function withAbsolutePaths(spec: CampaignSpec): CampaignSpec {
  return spec.megatron === null ? spec : { ...spec, megatron: absoluteSettings(spec.megatron, process.cwd()) };
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
