// `belay campaign plan` and `submit`: a spec becomes a chain of jobs.
//
// Does not: run in jobs; campaign-link.ts does.
import { randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { buildCommand } from '@stricli/core';
import { makeFolder, writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { hashJson } from '../base/hashing.ts';
import type { Json } from '../base/json.ts';
import { takeLock } from '../base/lock.ts';
import { duration, terminalLog } from '../base/progress.ts';
import { loadRecipe, type Recipe } from '../base/recipe.ts';
import { version } from '../base/version.ts';
import { type CampaignFile, CampaignFolder, campaignFormat } from '../cluster/campaign-folder.ts';
import { linkRequest } from '../cluster/campaign-script.ts';
import { type CampaignSpec, linkShape, loadCampaignSpec } from '../cluster/campaign-spec.ts';
import { batchScript, type JobRequest, type Scheduler, SchedulerError } from '../cluster/scheduler.ts';
import type { Site } from '../cluster/site.ts';
import { loadSite } from '../cluster/sites.ts';
import { clearTriggers } from '../cluster/triggers.ts';
import {
  checkMegatronCampaign,
  megatronOfCampaign,
  megatronPhasesText,
  megatronTaskText,
  withAbsolutePaths,
} from './campaign-megatron.ts';
import {
  campaignRecipe,
  engineOfCampaign,
  openCampaign,
  recipeOfSpec,
  schedulerNames,
  type SchedulerName,
  schedulerOf,
} from './campaign-parts.ts';
import { stageFolders, submitLockName } from './run-folder.ts';

/** How this belay is called, for jobs on nodes that see the same files. */
export function ownCommand(): string[] {
  return [process.execPath, ...process.execArgv, process.argv[1] as string];
}

/** A new campaign in its folder, or the one that is there if the spec says the same. */
export function campaignFile(
  folder: CampaignFolder,
  spec: CampaignSpec,
  recipe: Recipe,
  scheduler: string,
): CampaignFile {
  const specHash = hashJson({ spec, recipe } as unknown as Json);
  if (folder.exists) {
    const there = folder.read();
    if (there.specHash !== specHash) {
      throw new UserError(`${folder.dir} is another campaign`, {
        found: `campaign ${there.name} (${there.id}) of another spec or recipe`,
        next: 'give another --out; what a running campaign does is not changed',
      });
    }
    return there;
  }
  const id = randomBytes(4).toString('hex');
  return {
    ...{ format: campaignFormat, name: spec.name, id, created: new Date().toISOString(), spec, specHash, scheduler },
    ...{ belay: ownCommand(), version },
  };
}

export interface SubmittedLink {
  readonly job: string;
  readonly link: string;
}

/** Submits the first link, or, where the chain stands, the next. */
export async function submitCampaign(
  folder: CampaignFolder,
  campaign: CampaignFile,
  recipe: Recipe,
  site: Site,
  scheduler: Scheduler,
): Promise<SubmittedLink> {
  const request = linkRequest(campaign, site, folder);
  const script = batchScript(request);
  const living = (await scheduler.jobs({ name: request.name })).filter(({ state }) => state !== 'ended');
  if (living.length > 0) {
    throw new UserError(`the campaign ${campaign.name} is under way`, {
      found: living.map(({ id, state }) => `job ${id} ${state}`).join(', '),
      next: `belay campaign status --out ${folder.dir}`,
    });
  }
  const isNew = !folder.exists;
  if (isNew) folder.create(campaign);
  if (!existsSync(campaignRecipe(folder))) writeJsonAtomic(campaignRecipe(folder), recipe);
  const stopped = folder.stopped();
  folder.goOn();
  folder.answered('stop');
  folder.answered('save');
  // Requests that a training did not live to hear; who submits now wants it to go on.
  clearTriggers(join(folder.dir, stageFolders.pretrain));
  const link = folder.newLink();
  folder.writeScript(link, script);
  folder.addSubmission(link);
  let job: string;
  try {
    job = await scheduler.submit(request);
  } catch (error) {
    // After silence it may have been taken, and must not find that the chain stands.
    if (stopped && !(error instanceof SchedulerError && error.kind === 'timeout')) folder.stop(stopped);
    // What never had a job is no campaign yet: its spec may be mended and submitted again.
    const isRefused = error instanceof SchedulerError && error.kind === 'refused';
    if (isNew && isRefused && folder.links().length === 1) rmSync(folder.campaign, { recursive: true, force: true });
    throw error;
  }
  const before = folder.links().at(-2) ?? null;
  folder.write(link, 'job.json', { job, submitted: Date.now() / 1000, predecessor: before });
  await submitReserve(folder, request, link, scheduler);
  return { job, link };
}

/** The next job, for a first one that ends before its controller could submit it: its node dies, or a prolog fails. */
async function submitReserve(
  folder: CampaignFolder,
  request: JobRequest,
  before: string,
  scheduler: Scheduler,
): Promise<void> {
  try {
    const link = folder.newLink();
    folder.writeScript(link, batchScript(request));
    const job = await scheduler.submit(request);
    folder.write(link, 'job.json', { job, submitted: Date.now() / 1000, predecessor: before });
  } catch {
    // Its controller tries again. Some sites let a user queue few jobs.
  }
}

interface SubmitFlags {
  readonly spec?: string;
  readonly out: string;
  readonly scheduler: SchedulerName;
  readonly dryRun: boolean;
  readonly json: boolean;
}

const specFlags = {
  spec: { kind: 'parsed', parse: String, brief: 'the campaign as JSON', optional: true },
  out: { kind: 'parsed', parse: String, brief: 'run folder, on a file system that all nodes share' },
  scheduler: { kind: 'enum', values: schedulerNames, brief: 'where jobs go', default: 'slurm' },
  json: { kind: 'boolean', brief: 'print JSON', default: false },
} as const;

/** Spec, recipe and campaign of the flags: of --spec, or of the campaign that is there. */
async function given({ spec: path, out, scheduler: name }: Pick<SubmitFlags, 'spec' | 'out' | 'scheduler'>) {
  const folder = new CampaignFolder(out);
  if (path === undefined) {
    const open = openCampaign(out);
    const saved = campaignRecipe(folder);
    return {
      ...open,
      recipe: existsSync(saved) ? await loadRecipe(saved) : await recipeOfSpec(open.campaign.spec, out),
    };
  }
  const spec = withAbsolutePaths(loadCampaignSpec(path));
  const site = loadSite(spec.site);
  linkShape(spec, site);
  const recipe = await recipeOfSpec(spec, out);
  checkMegatronCampaign(folder, spec, recipe, site);
  const campaign = campaignFile(folder, spec, recipe, name);
  return { folder, campaign, site, scheduler: schedulerOf(campaign.scheduler), recipe };
}

export const submit = buildCommand<SubmitFlags>({
  docs: {
    brief: 'start a campaign, or let one go on that stands',
    fullDescription: `Checks the spec, and submits the first job of a chain that trains the recipe to its end. Each job submits its successor
(and one more, in reserve) before it does anything else, saves before its time is up, and goes on after failures; the chain stops by itself. A campaign that
was stopped goes on by the same verb, without --spec. --dry-run prints the batch script, byte for byte.

EXAMPLE
  belay campaign submit --spec campaign.json --out /scratch/me/run1 --dry-run
  belay campaign submit --spec campaign.json --out /scratch/me/run1`,
  },
  parameters: {
    flags: { ...specFlags, dryRun: { kind: 'boolean', brief: 'print the script, submit nothing', default: false } },
  },
  async func(flags) {
    const asked = await given(flags);
    if (flags.dryRun) {
      process.stdout.write(batchScript(linkRequest(asked.campaign, asked.site, asked.folder)));
      return;
    }
    // Two who submit at once would both find no job: the second asks again once the first has one.
    makeFolder(asked.folder.dir);
    await takeLock(join(asked.folder.dir, submitLockName), {
      onWait: ({ pid, host }) => process.stderr.write(`process ${pid} on ${host} submits here; waiting for it\n`),
    });
    const { folder, campaign, site, scheduler, recipe } = await given(flags);
    const isKnown = existsSync(campaignRecipe(folder));
    if (isKnown && (await engineOfCampaign({ folder, campaign, site, scheduler })).progress().isFinished) {
      if (flags.json) process.stdout.write(`${JSON.stringify({ campaign: campaign.id, job: null, link: null })}\n`);
      else terminalLog().line(`campaign ${campaign.name} (${campaign.id}) is trained to the end: nothing is submitted`);
      return;
    }
    const { job, link } = await submitCampaign(folder, campaign, recipe, site, scheduler);
    if (flags.json) process.stdout.write(`${JSON.stringify({ campaign: campaign.id, job, link })}\n`);
    else terminalLog().line(`campaign ${campaign.name} (${campaign.id}): link ${link} is job ${job}`);
  },
});

interface PlanFlags extends Omit<SubmitFlags, 'dryRun'> {
  readonly task?: string;
}

export const plan = buildCommand<PlanFlags>({
  docs: {
    brief: 'what a campaign would ask for, checked, without submitting',
    fullDescription: `Checks the spec against recipe and site, and says what each link asks the scheduler for. With Megatron also
the phases, and with --task the whole script that every task of a phase runs.

EXAMPLE
  belay campaign plan --spec campaign.json --out /scratch/me/run1
  belay campaign plan --spec campaign.json --out /scratch/me/run1 --task stage-1`,
  },
  parameters: {
    flags: {
      ...specFlags,
      task: {
        kind: 'parsed',
        parse: String,
        brief: "print the script of Megatron's tasks in this phase, and nothing else",
        optional: true,
      },
    },
  },
  async func(flags) {
    const { folder, campaign, site, recipe } = await given(flags);
    const { spec } = campaign;
    const megatron = spec.engine === 'megatron' ? megatronOfCampaign(folder, spec, recipe, site) : undefined;
    if (flags.task !== undefined) {
      if (!megatron) throw new UserError('--task is for the engine megatron', { found: `engine ${spec.engine}` });
      process.stdout.write(megatronTaskText(megatron, spec, site, flags.task));
      return;
    }
    const shape = linkShape(spec, site);
    const facts = {
      ...{ name: spec.name, recipe: recipe.name, engine: spec.engine, site: site.name },
      ...{ nodes: spec.nodes, spares: spec.spares, ranks: spec.nodes.max * shape.tasksPerNode, ...shape },
      steps: recipe.pretrain?.steps ?? null,
      ...(megatron ? { megatron } : {}),
    };
    if (flags.json) {
      process.stdout.write(
        `${JSON.stringify({ ...facts, environment: Object.fromEntries(shape.environment) }, null, 2)}\n`,
      );
      return;
    }
    const { min, max } = spec.nodes;
    const lines = [
      ['recipe', `${recipe.name}${facts.steps === null ? '' : `, ${facts.steps} steps`}, with ${spec.engine}`],
      ['site', `${site.name}: ${site.about}`],
      [
        'nodes',
        `${min === max ? min : `${min} to ${max}`}${spec.spares > 0 ? ` and ${spec.spares} spare` : ''}, ${shape.tasksPerNode} ranks on each`,
      ],
      [
        'links',
        `${duration(shape.timeSeconds)} each; ${shape.warningSignal} ${shape.warningSeconds} s before the end: saved, and on to the next`,
      ],
      [
        'vetting',
        spec.vet === null
          ? 'none'
          : `before each link's first start; at most ${100 * spec.vet.cap} % of the nodes are left out`,
      ],
      [
        'stops after',
        `${spec.restart.withoutProgress.workload} failures of the workload, ${spec.restart.withoutProgress.unknown} unclear ones or ${spec.restart.withoutProgress.infrastructure} of the infrastructure without progress`,
      ],
      [
        'environment',
        shape.environment.length === 0
          ? 'as it is'
          : shape.environment.map(([key, value]) => `${key}=${value}`).join('\n               '),
      ],
      ...(megatron ? [['phases', megatronPhasesText(megatron, spec.nodes).join('\n               ')]] : []),
    ];
    process.stdout.write(lines.map(([name, value]) => `${(name as string).padEnd(14)} ${value}\n`).join(''));
  },
});
