// What the verbs of `belay campaign` share: the folder, the site, the scheduler, the engine of a campaign.
//
// Does not: decide or print anything.
import { existsSync, readdirSync } from 'node:fs';
import { homedir, hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { UserError } from '../base/errors.ts';
import { readLines } from '../base/events.ts';
import { loadRecipe, type Recipe, recipePart, setInRecipe } from '../base/recipe.ts';
import { CampaignFolder, type CampaignFile } from '../cluster/campaign-folder.ts';
import type { CampaignSpec } from '../cluster/campaign-spec.ts';
import type { Engine } from '../cluster/engine.ts';
import { engineOf } from '../cluster/engines.ts';
import { localScheduler } from '../cluster/schedulers/local.ts';
import type { Patience } from '../cluster/schedulers/retry.ts';
import { slurmCli } from '../cluster/schedulers/slurm-cli.ts';
import type { Scheduler } from '../cluster/scheduler.ts';
import type { Site } from '../cluster/site.ts';
import { loadSite } from '../cluster/sites.ts';
import { curriculumOf } from '../train/curriculum.ts';
import { checkTokenizer, checkWeights } from './beginnings.ts';
import { megatronOfCampaign } from './campaign-megatron.ts';
import { isPrefix } from './phase-data.ts';
import { stageFolders } from './run-folder.ts';

export const schedulerNames = ['slurm', 'local'] as const;
export type SchedulerName = (typeof schedulerNames)[number];

/** Where jobs of the local scheduler are kept, unless BELAY_LOCAL_SCHEDULER names another folder, as it does in its jobs. */
function localFolder(): string {
  return process.env['BELAY_LOCAL_SCHEDULER'] ?? join(homedir(), '.belay', 'jobs');
}

export function schedulerOf(name: string, patience: Partial<Patience> = {}): Scheduler {
  if (name === 'slurm') return slurmCli(patience);
  if (name === 'local') return localScheduler({ folder: localFolder() });
  throw new UserError(`there is no scheduler "${name}"`, { expected: schedulerNames.join(', ') });
}

export interface OpenCampaign {
  readonly folder: CampaignFolder;
  readonly campaign: CampaignFile;
  readonly site: Site;
  readonly scheduler: Scheduler;
}

/** Who only looks waits a few seconds for a scheduler that is away, and then tells what the files say. */
export const looking: Partial<Patience> = { attempts: 2 };

/** The campaign of a run folder. */
export function openCampaign(out: string, patience: Partial<Patience> = {}): OpenCampaign {
  const folder = new CampaignFolder(out);
  const campaign = folder.read();
  return { folder, campaign, site: loadSite(campaign.spec.site), scheduler: schedulerOf(campaign.scheduler, patience) };
}

/** The recipe that a campaign follows, as it was when it was submitted. */
export const campaignRecipe = (folder: CampaignFolder): string => join(folder.campaign, 'recipe.json');

/**
 * The recipe of a spec with its changes, for the run folder `out`, checked: what it names must be there. Its jobs run in
 * another folder than this process, so paths are absolute.
 */
export async function recipeOfSpec(spec: CampaignSpec, out: string): Promise<Recipe> {
  const recipe = withAbsolutePaths(setInRecipe(await loadRecipe(spec.recipe), spec.set), spec.engine);
  curriculumOf(recipePart(recipe, 'pretrain'), recipe.seed);
  for (const path of recipe.data?.source.paths ?? []) {
    if (!existsSync(path)) {
      throw new UserError(`the recipe of the campaign ${spec.name} names files that are not there`, {
        found: `data.source.paths: ${path}`,
      });
    }
  }
  checkTokenizer(recipe, out);
  checkWeights(recipe, out);
  return recipe;
}

function withAbsolutePaths(recipe: Recipe, engine: CampaignSpec['engine']): Recipe {
  const copy = structuredClone(recipe);
  const { data, tokenizer, pretrain } = copy;
  const absolute = (path: string | null): string | null => (path === null ? null : resolve(path));
  if (data) {
    data.source.paths = data.source.paths.map((path) => resolve(path));
    data.probes = absolute(data.probes);
    data.countTokens = absolute(data.countTokens);
  }
  if (tokenizer) tokenizer.from = absolute(tokenizer.from);
  if (pretrain) pretrain.from = absolute(pretrain.from);
  // Those of Megatron are below a folder of its own (`dataRoot`).
  for (const phase of engine === 'megatron' ? [] : (pretrain?.phases ?? [])) {
    for (const part of phase.mixture) if (isPrefix(part.data)) part.data = resolve(part.data);
  }
  return copy;
}

/** What trains it. */
export async function engineOfCampaign({ folder, campaign, site }: OpenCampaign): Promise<Engine> {
  const { spec } = campaign;
  const recipe = await loadRecipe(campaignRecipe(folder));
  if (spec.engine === 'megatron') {
    return engineOf({ engine: 'megatron', plan: megatronOfCampaign(folder, spec, recipe, site), site });
  }
  const flags = ['--recipe', campaignRecipe(folder), '--heartbeat', `${spec.heartbeatSeconds}`];
  const { dir } = folder;
  return engineOf({ engine: 'belay', dir, belay: campaign.belay, flags, steps: recipe.pretrain?.steps ?? null });
}

/** The job that this process runs in. */
export function ownJob(): string {
  const job = process.env['BELAY_JOB_ID'] ?? process.env['SLURM_JOB_ID'];
  if (job === undefined) {
    throw new UserError('this is no job of a scheduler', {
      found: `neither SLURM_JOB_ID nor BELAY_JOB_ID on ${hostname()}`,
      next: 'belay campaign submit starts links; a link is not started by hand',
    });
  }
  return job;
}

/** The last step that the newest attempt computed. */
export function lastComputedStep(folder: CampaignFolder): number | undefined {
  const attempts = join(folder.dir, stageFolders.pretrain, 'attempts');
  if (!existsSync(attempts)) return undefined;
  const newest = readdirSync(attempts)
    .filter((name) => /^\d+$/.test(name))
    .sort((a, b) => Number(a) - Number(b))
    .at(-1);
  // This file alone: a controller asks, and the whole history of a long training is larger than what it may wait for.
  const last = newest && readLines<{ readonly step?: unknown }>(join(attempts, newest, 'steps.jsonl')).at(-1);
  return last && typeof last.step === 'number' ? last.step : undefined;
}

/** Names of the trainer's events since a Unix second. */
export function trainingEventsSince(folder: CampaignFolder, time: number): string[] {
  const path = join(folder.dir, stageFolders.pretrain, 'events.jsonl');
  return readLines<{ readonly time: string; readonly event: string }>(path)
    .filter((line) => Date.parse(line.time) / 1000 >= time - 1)
    .map(({ event }) => event);
}
