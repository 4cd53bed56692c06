// What a campaign is: a recipe, an engine, and where it runs. Written once, checked before anything is submitted.
//
// A spec is JSON. Places in it name things of the site profile (sites.ts); what the site enforces, limits of partitions
// and the like, is checked against the profile, and what Slurm alone knows is left to sbatch.
//
// Does not: submit, render scripts (campaign-script.ts), or read recipes.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { schemaProblems } from '../base/schema.ts';
import { megatronSettingsSchema } from './megatron-settings.ts';
import { restartSettingsSchema } from './restart-policy.ts';
import { checkJob, environmentOf, type Site } from './site.ts';
import { vetSettingsSchema } from './vetting/settings.ts';

const count = z.int().min(1);
const variableName = z.string().regex(/^[A-Za-z_]\w*$/, 'a name of an environment variable');

/** Seconds, or Slurm's words for a time: `12:00:00`, `2-00:00:00`, `90` (minutes). */
const timeSchema = z.union([count, z.string().regex(/^(?:\d+-)?\d+(?::\d\d){0,2}$/, 'a time such as 12:00:00')]);

/** What a campaign asks of sbatch by itself, and what says it in a spec; the chain breaks where these are others. */
const ownOptions: Readonly<Record<string, string>> = {
  'job-name': 'name',
  nodes: 'nodes',
  time: 'time',
  signal: 'warningSeconds',
  dependency: 'no key: links follow each other',
  output: 'no key: logs are in the campaign',
  chdir: 'no key: jobs run in the campaign',
  array: 'no key: a link is one job',
  requeue: 'no key: a successor goes on',
};

/** An option as sbatch reads it in a script, whole, and none that a campaign gives itself. */
const sbatchOption = z.string().superRefine((option, context) => {
  const [, name] = /^--([a-z][a-z-]*)(?:=|$)/.exec(option) ?? [];
  const own = name !== undefined && Object.hasOwn(ownOptions, name) ? ownOptions[name] : undefined;
  const message =
    name === undefined
      ? `${JSON.stringify(option)}; expected a whole option of sbatch: --mem=0`
      : `--${name} is the campaign's own (${own})`;
  if (name === undefined || own !== undefined) context.addIssue({ code: 'custom', message });
});

export const campaignSpecSchema = z.strictObject({
  /** Part of the jobs' name. */
  name: z
    .string()
    .regex(
      /^[a-z0-9][a-z0-9._-]{0,63}$/,
      'lower-case letters, digits, dots, dashes and underscores, a letter or digit first',
    ),
  /** Recipe file, or the name of a shipped one. */
  recipe: z.string().min(1),
  /** Changes of the recipe: `path=value`. */
  set: z.array(z.string().regex(/^[^=]+=/, 'path=value')).default([]),
  engine: z.enum(['belay', 'megatron']).default('belay'),
  /** What the engine megatron needs beyond recipe and site. */
  megatron: megatronSettingsSchema.nullable().default(null),
  /** A shipped site profile, or a JSON file that changes one. */
  site: z.string().min(1).default('generic'),
  /** Nodes that a link takes: at least `min`, at most `max`. */
  nodes: z
    .union(
      [count.transform((exactly) => ({ min: exactly, max: exactly })), z.strictObject({ min: count, max: count })],
      'a whole number of at least 1, or {"min", "max"} of such',
    )
    .refine(({ min, max }) => min <= max, 'min must not be above max'),
  /** Nodes held beside `max`, to take the place of those that fail. */
  spares: z.int().min(0).default(0),
  /** Ranks on each node; null: those of the site. */
  tasksPerNode: count.nullable().default(null),
  partition: z.string().nullable().default(null),
  account: z.string().nullable().default(null),
  reservation: z.string().nullable().default(null),
  /** Time limit of a link; null: the longest that the partition allows. */
  time: timeSchema.nullable().default(null),
  /** Seconds before the limit at which ranks are told to save and leave; null: those of the site. */
  warningSeconds: count.nullable().default(null),
  /** Over those of the site. */
  environment: z.record(variableName, z.string()).default({}),
  /** Names of the site's work-arounds. */
  workarounds: z.array(z.string()).default([]),
  /** Seconds without a sign of life after which a rank is lost. */
  heartbeatSeconds: z.number().min(0.1).max(3600).default(30),
  /** Silence of a link's controller after which another node ends the job, so that the successor goes on. */
  silenceSeconds: z.number().min(2).max(3600).default(30),
  /** Nodes are measured before training (`belay vet`); null: not. */
  vet: vetSettingsSchema.nullable().prefault({}),
  restart: restartSettingsSchema.prefault({}),
  /** Further options of sbatch, each whole: `--mem=0`. */
  sbatch: z.array(sbatchOption).default([]),
  /** Name of the environment variable that holds the address alerts are posted to. */
  webhookVariable: variableName.nullable().default(null),
});

export type CampaignSpec = z.output<typeof campaignSpecSchema>;
export type CampaignSpecInput = z.input<typeof campaignSpecSchema>;

/** Checks a spec. `where` names it in messages. */
export function parseCampaignSpec(value: unknown, where: string): CampaignSpec {
  const parsed = campaignSpecSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new UserError(`the campaign ${where} is not valid`, {
    found: schemaProblems(parsed.error, campaignSpecSchema),
    next: 'docs/cluster.md has its keys and an example',
  });
}

export function loadCampaignSpec(path: string): CampaignSpec {
  if (!existsSync(path)) throw new UserError(`there is no file ${path}`, { expected: 'a campaign as JSON' });
  return parseCampaignSpec(readJson(resolve(path), 'campaign'), path);
}

/** Seconds of a time as sbatch reads it: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]. */
export function secondsOf(time: number | string): number {
  if (typeof time === 'number') return time;
  const [days, clock] = time.includes('-') ? (time.split('-') as [string, string]) : [undefined, time];
  const parts = clock.split(':').map(Number);
  const [a = 0, b = 0, c = 0] = parts;
  if (days !== undefined) return 86_400 * Number(days) + 3600 * a + 60 * b + c;
  if (parts.length === 1) return 60 * a;
  return parts.length === 2 ? 60 * a + b : 3600 * a + 60 * b + c;
}

/** What a link asks of the scheduler, with what the site decides where the spec says nothing. */
export interface LinkShape {
  readonly timeSeconds: number;
  readonly warningSeconds: number;
  readonly warningSignal: string;
  readonly tasksPerNode: number;
  /** Sorted by name. */
  readonly environment: readonly (readonly [name: string, value: string])[];
}

/** The shape of a campaign's links at its site. A UserError where the site would refuse them. */
export function linkShape(spec: CampaignSpec, site: Site): LinkShape {
  const partitionName = spec.partition ?? site.defaultPartition;
  const partition = site.partitions[partitionName];
  const time = spec.time ?? partition?.timeSeconds ?? null;
  if (time === null) {
    throw new UserError(`the campaign ${spec.name} has no time limit`, {
      found: `site ${site.name} does not say how long its partition "${partitionName}" lets a job run`,
      expected: 'time, e.g. "time": "12:00:00"',
    });
  }
  const timeSeconds = secondsOf(time);
  const warningSeconds = spec.warningSeconds ?? site.slurm.warningSeconds;
  const warned = { ...site, slurm: { ...site.slurm, warningSeconds } };
  checkJob(warned, {
    ...(spec.partition === null ? {} : { partition: spec.partition }),
    nodes: spec.nodes.max + spec.spares,
    timeSeconds,
  });
  const own = Object.entries(spec.environment);
  const merged = new Map([
    ...environmentOf(site, spec.workarounds).map(({ name, value }) => [name, value] as const),
    ...own,
  ]);
  return {
    timeSeconds,
    warningSeconds,
    warningSignal: site.slurm.warningSignal,
    tasksPerNode: spec.tasksPerNode ?? site.node.tasksPerNode,
    environment: [...merged].sort(([a], [b]) => (a < b ? -1 : 1)),
  };
}
