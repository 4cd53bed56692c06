// What a campaign must know of the place it runs at: nodes, partitions and their limits, environment, storage, container.
//
// A profile is plain data. Every value that somebody published says where (`source`); what is not published is null, or
// says so. A user's JSON file names a profile as its base and replaces what differs.
//
// Does not: hold the profiles (sites.ts), ask a scheduler, or write an EDF.
import { z } from 'zod';
import { UserError } from '../base/errors.ts';

const count = z.int().min(1);
const variableName = /^[A-Za-z_]\w*$/;

/** The value of an environment variable and who says so. */
const variableSchema = z.strictObject({
  value: z.string(),
  source: z.string(),
  /** What it is for, where the name does not say. */
  why: z.string().optional(),
});

const variablesSchema = z.record(z.string().regex(variableName, 'a name of an environment variable'), variableSchema);

const partitionSchema = z.strictObject({
  /** What `--partition` names; null: no such line, the scheduler's default. */
  slurmName: z.string().nullable(),
  /** Longest job; null: not known. */
  timeSeconds: count.nullable(),
  maxNodes: count.nullable().default(null),
  /** Nodes times minutes of one job. */
  maxNodeMinutes: count.nullable().default(null),
  /** Jobs of one user that run, and that are submitted in all. */
  maxRunning: count.nullable().default(null),
  maxSubmitted: count.nullable().default(null),
  exclusive: z.boolean().default(false),
  source: z.string(),
});

/** What a file system is for. */
export const storageUses = ['home', 'code', 'images', 'indices', 'tokens', 'checkpoints', 'logs', 'archive'] as const;

const storageSchema = z.strictObject({
  /** `$USER` and `$PROJECT` stand for what they name. */
  path: z.string(),
  /** Kind of file system; only on Lustre are files striped. */
  kind: z.enum(['lustre', 'nfs', 'local', 'unknown']),
  media: z.enum(['flash', 'disk', 'memory', 'unknown']),
  /** Files unread for so many days are deleted; null: never. */
  cleanupDays: count.nullable(),
  quotaBytes: z.number().positive().nullable().default(null),
  quotaFiles: count.nullable().default(null),
  readBytesPerSecond: z.number().positive().nullable().default(null),
  writeBytesPerSecond: z.number().positive().nullable().default(null),
  /** Whether jobs may write there. */
  jobsWrite: z.boolean().default(true),
  uses: z.array(z.enum(storageUses)),
  source: z.string(),
});

export const siteSchema = z.strictObject({
  name: z.string().min(1),
  /** One line for people. */
  about: z.string(),
  node: z.strictObject({
    /** Devices for training; 0: none. */
    gpus: z.int().min(0),
    gpu: z.string().nullable(),
    gpuMemoryBytes: z.number().positive().nullable(),
    cpus: count.nullable(),
    /** What a job asks for; null: no such line. */
    cpusPerTask: count.nullable(),
    memoryMegabytes: count.nullable(),
    tasksPerNode: count,
    /** Upper limit and assumed mean of one module (GPU with its CPU). */
    wattsPerModuleCap: z.number().positive().nullable(),
    wattsPerModuleMean: z.number().positive().nullable(),
    /** In front of the command of every task, e.g. numactl. */
    prefix: z.array(z.string()),
    source: z.string(),
  }),
  slurm: z.strictObject({
    constraint: z.string().nullable(),
    /** Seconds before the time limit at which tasks are warned. Slurm may do so up to 60 s early. */
    warningSeconds: count,
    warningSignal: z.enum(['USR2', 'TERM', 'USR1']),
    /** A node that is silent for so long is DOWN. */
    slurmdTimeoutSeconds: count,
    /** From SIGTERM to SIGKILL at the end of a job. */
    killWaitSeconds: count,
    source: z.string(),
  }),
  partitions: z.record(z.string(), partitionSchema),
  defaultPartition: z.string(),
  /** Times at which a reservation keeps jobs away. */
  maintenance: z.string().nullable(),
  /** Set for every task. */
  environment: variablesSchema,
  /** Sets to add by name when the trouble they are named after is met. */
  workarounds: z.record(z.string(), variablesSchema),
  container: z.strictObject({
    engine: z.enum(['edf', 'none']),
    /** For the EDF; hooks of the container engine. */
    annotations: z.record(z.string(), z.string()),
    mounts: z.array(z.string()),
    /** A folder in memory inside the container for caches of compilers. */
    scratch: z.string(),
    source: z.string(),
  }),
  storage: z.record(z.string(), storageSchema),
  rendezvousPort: z.int().min(1024).max(65_535),
});

export type Site = z.output<typeof siteSchema>;
export type Partition = Site['partitions'][string];
export type Storage = Site['storage'][string];
export type StorageUse = (typeof storageUses)[number];

/** A profile as its file words it: defaults may be left out. */
export type SiteInput = z.input<typeof siteSchema>;

/** Checks a profile. `where` names it in messages. */
export function parseSite(value: unknown, where: string): Site {
  const parsed = siteSchema.safeParse(value);
  if (!parsed.success) {
    throw new UserError(`the site profile ${where} is not valid`, {
      found: z.prettifyError(parsed.error).replaceAll('\n', '\n            '),
      next: 'docs/cluster.md has an example',
    });
  }
  const site = parsed.data;
  if (!(site.defaultPartition in site.partitions)) {
    throw new UserError(`the site profile ${where} has no partition "${site.defaultPartition}"`, {
      found: `defaultPartition ${site.defaultPartition}`,
      expected: Object.keys(site.partitions).join(', '),
    });
  }
  return site;
}

type Plain = { readonly [key: string]: unknown };
const isPlain = (value: unknown): value is Plain =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** Parts whose members have names of the user's own: null takes one away there, and a text is a variable's value. */
const named = ['environment', 'workarounds', 'partitions', 'storage', 'annotations'];

/** `changes` over `base`: objects are merged, everything else is replaced. */
export function overrideSite(base: Site, changes: Plain, where: string): Site {
  const merge = (under: unknown, over: unknown, path: readonly string[]): unknown => {
    const parent = path.at(-1) ?? '';
    if (!isPlain(over)) return over;
    const result: Record<string, unknown> = isPlain(under) ? { ...under } : {};
    for (const [key, value] of Object.entries(over)) {
      const isVariable = parent === 'environment' || path.at(-2) === 'workarounds';
      if (value === null && (named.includes(parent) || isVariable)) delete result[key];
      else if (typeof value === 'string' && isVariable) result[key] = { value, source: where };
      else result[key] = merge(result[key], value, [...path, key]);
    }
    return result;
  };
  return parseSite(merge(base, changes, []), where);
}

/** The variables of a site with the work-arounds that were asked for, sorted by name. */
export function environmentOf(
  site: Site,
  workarounds: readonly string[] = [],
): { readonly name: string; readonly value: string; readonly source: string }[] {
  const known = Object.keys(site.workarounds);
  const merged: Record<string, Site['environment'][string]> = { ...site.environment };
  for (const name of workarounds) {
    const set = Object.hasOwn(site.workarounds, name) ? site.workarounds[name] : undefined;
    if (!set) {
      throw new UserError(`the site ${site.name} has no work-around "${name}"`, {
        expected: known.length > 0 ? known.join(', ') : 'none: it has no work-arounds',
      });
    }
    Object.assign(merged, set);
  }
  return Object.entries(merged)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { value, source }]) => ({ name, value, source }));
}

/** The file systems meant for a use, flash before disk. */
export function storageFor(site: Site, use: StorageUse): { readonly name: string; readonly storage: Storage }[] {
  const order = ['memory', 'flash', 'unknown', 'disk'];
  return Object.entries(site.storage)
    .filter(([, { uses }]) => uses.includes(use))
    .sort(([, a], [, b]) => order.indexOf(a.media) - order.indexOf(b.media))
    .map(([name, storage]) => ({ name, storage }));
}

/**
 * A partition by name, or the default one. Where not even the name of the default one is known, other names are for sbatch to
 * judge.
 */
export function partitionOf(site: Site, name?: string): Partition {
  const wanted = name ?? site.defaultPartition;
  const known = (key: string): Partition | undefined =>
    Object.hasOwn(site.partitions, key) ? site.partitions[key] : undefined;
  const usual = known(site.defaultPartition);
  const partition = known(wanted) ?? (usual?.slurmName === null ? { ...usual, slurmName: wanted } : undefined);
  if (!partition) {
    throw new UserError(`the site ${site.name} has no partition "${wanted}"`, {
      expected: Object.keys(site.partitions).join(', '),
    });
  }
  return partition;
}

/** What a job would ask of a partition. */
export interface JobShape {
  /** Name in the profile; the default one where it is not given. */
  readonly partition?: string;
  /** The most it may get. */
  readonly nodes: number;
  readonly timeSeconds: number;
}

/** A UserError where the partition would refuse the job, before sbatch is asked. */
export function checkJob(site: Site, { partition: name, nodes, timeSeconds }: JobShape): void {
  const partition = partitionOf(site, name);
  const { timeSeconds: most, maxNodes, maxNodeMinutes } = partition;
  const refuse = (what: string, found: string, expected: string): never => {
    throw new UserError(`the partition ${name ?? site.defaultPartition} of ${site.name} takes no such job: ${what}`, {
      found,
      expected,
    });
  };
  if (most !== null && timeSeconds > most) refuse('too long', duration(timeSeconds), `at most ${duration(most)}`);
  if (maxNodes !== null && nodes > maxNodes) refuse('too many nodes', `${nodes}`, `at most ${maxNodes}`);
  const nodeMinutes = (nodes * timeSeconds) / 60;
  if (maxNodeMinutes !== null && nodeMinutes > maxNodeMinutes) {
    refuse('too many node-minutes', `${nodeMinutes.toFixed(0)}`, `at most ${maxNodeMinutes}`);
  }
  // Slurm warns up to a minute early: a job shorter than this would be asked to stop before it began.
  if (timeSeconds <= site.slurm.warningSeconds + 60) {
    refuse(
      'it would be warned before it starts',
      duration(timeSeconds),
      `more than ${duration(site.slurm.warningSeconds + 60)}, the warning's ${site.slurm.warningSeconds} s and a minute`,
    );
  }
}

/** 5400 -> 1:30:00 */
function duration(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(Math.floor(seconds) % 60)}`;
}
