// The files of a campaign folder that its history is made of, read as they are: whole, torn or missing.
//
// A campaign is killed at any moment, so every file may be absent and every last line torn; what cannot be read is named
// in `problems` and left out. Times are unix seconds here, whichever way a file writes them.
//
// Does not: draw conclusions; history.ts does. Does not write.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readLines } from '../base/events.ts';
import { errorText } from '../base/json.ts';

/** Who is to blame for an end: see docs/cluster.md. */
export interface Verdict {
  readonly domain: 'workload' | 'infrastructure' | 'unknown';
  readonly cause: string;
  readonly line?: string;
  readonly node?: string;
}

/** What a scheduler's accounting says about the job of a link; `accounting.json` in its folder. */
export interface Accounting {
  readonly job: string;
  readonly outcome?: string;
  readonly reason?: string;
  readonly nodes: readonly string[];
  readonly submitted?: number;
  readonly began?: number;
  readonly ended?: number;
  /** Measured by the nodes, where the scheduler gathers it. */
  readonly energyJoules?: number;
}

/** One start of the training inside a link: `steps/00`. */
export interface LaunchFiles {
  readonly name: string;
  readonly time?: number;
  readonly nodes?: readonly string[];
  readonly ended?: number;
  readonly exit?: number;
  readonly signal?: number;
  readonly verdict?: Verdict;
}

/** A link: one job of the chain. */
export interface LinkFiles {
  readonly name: string;
  readonly job?: string;
  readonly submitted?: number;
  readonly begin?: { readonly time: number; readonly nodes: readonly string[]; readonly host?: string };
  readonly end?: { readonly time: number; readonly why?: string; readonly verdict?: Verdict };
  readonly accounting?: Accounting;
  readonly launches: readonly LaunchFiles[];
}

/** A line of `attempts/NNNN/steps.jsonl`. */
export interface ComputedStep {
  readonly step: number;
  readonly time: number;
  readonly seconds: number;
  readonly tokens?: number;
  readonly loss?: number;
}

/** One start of the trainer, as it says itself. */
export interface AttemptFiles {
  readonly number: number;
  readonly host?: string;
  readonly ranks?: number;
  readonly started?: number;
  readonly startedBy?: string;
  readonly computed: readonly ComputedStep[];
}

/** A line of the trainer's events.jsonl, with its time in unix seconds. */
export interface TrainingEvent {
  readonly time: number;
  readonly event: string;
  readonly [field: string]: unknown;
}

/** A line of metrics.jsonl. */
export interface MetricsLine {
  readonly step: number;
  readonly [field: string]: unknown;
}

export interface CampaignFiles {
  readonly dir: string;
  readonly name: string;
  readonly id: string;
  readonly links: readonly LinkFiles[];
  readonly attempts: readonly AttemptFiles[];
  readonly events: readonly TrainingEvent[];
  readonly metrics: readonly MetricsLine[];
  readonly alerts: readonly Readonly<Record<string, unknown>>[];
  readonly problems: readonly string[];
}

/** Reads an object; one that is not there is empty, and what is wrong goes to `problems`. */
function reader(problems: string[]): (path: string) => Fields {
  return (path) => {
    if (!existsSync(path)) return {};
    try {
      const value = JSON.parse(readFileSync(path, 'utf8')) as unknown;
      if (isFields(value)) return value;
      problems.push(`${path} holds no object`);
    } catch (error) {
      problems.push(`${path} cannot be read: ${errorText(error)}`);
    }
    return {};
  };
}

/** The links alone: little to read, however long the training. */
export function readCampaignLinks(dir: string, problems: string[] = []): LinkFiles[] {
  const links = join(dir, 'campaign', 'links');
  return foldersIn(links).map((name) => readLink(join(links, name), name, reader(problems)));
}

/** Reads a campaign folder; `training` is the folder of the stage that trains. */
export function readCampaignFiles(dir: string, training = 'pretrain'): CampaignFiles {
  const problems: string[] = [];
  const read = reader(problems);
  const campaign = read(join(dir, 'campaign', 'campaign.json'));
  const links = readCampaignLinks(dir, problems);
  const stage = join(dir, training);
  const attempts = foldersIn(join(stage, 'attempts')).map((name): AttemptFiles => {
    const folder = join(stage, 'attempts', name);
    const record = read(join(folder, 'attempt.json'));
    return withoutUndefined({
      number: Number(name),
      host: text(record['host']),
      ranks: number(record['ranks']),
      started: seconds(record['started']),
      startedBy: text(record['startedBy']),
      computed: readLines<ComputedStep>(join(folder, 'steps.jsonl')).filter(
        (line) => isFields(line) && isStep(line.step) && isNumber(line.time) && isNumber(line.seconds),
      ),
    });
  });
  return {
    dir,
    name: text(campaign['name']) ?? '',
    id: text(campaign['id']) ?? '',
    links,
    attempts,
    events: readLines<Fields>(join(stage, 'events.jsonl')).flatMap((line) => {
      if (!isFields(line)) return [];
      const time = seconds(line['time']);
      const event = text(line['event']);
      return time === undefined || event === undefined ? [] : [{ ...line, time, event }];
    }),
    metrics: readLines<MetricsLine>(join(stage, 'metrics.jsonl')).filter((line) => isFields(line) && isStep(line.step)),
    alerts: readLines<Fields>(join(dir, 'campaign', 'alerts.jsonl')).filter(isFields),
    problems,
  };
}

function readLink(folder: string, name: string, read: (path: string) => Fields): LinkFiles {
  const job = read(join(folder, 'job.json'));
  const begin = read(join(folder, 'begin.json'));
  const end = read(join(folder, 'end.json'));
  const accounted = read(join(folder, 'accounting.json'));
  const began = seconds(begin['time']);
  const ended = seconds(end['time']);
  const id = text(job['job']) ?? text(begin['job']);
  return withoutUndefined({
    name,
    job: id,
    submitted: seconds(job['submitted']),
    begin:
      began === undefined
        ? undefined
        : withoutUndefined({ time: began, nodes: texts(begin['nodes']) ?? [], host: text(begin['host']) }),
    end:
      ended === undefined
        ? undefined
        : withoutUndefined({ time: ended, why: text(end['why']), verdict: verdict(end['verdict']) }),
    accounting: accounted['job'] === undefined ? undefined : accounting(accounted),
    launches: foldersIn(join(folder, 'steps')).map((step): LaunchFiles => {
      const started = read(join(folder, 'steps', step, 'step.json'));
      const over = read(join(folder, 'steps', step, 'end.json'));
      return withoutUndefined({
        name: step,
        time: seconds(started['time']),
        nodes: texts(started['nodes']),
        ended: seconds(over['time']),
        exit: number(over['exit']),
        signal: number(over['signal']),
        verdict: verdict(over['verdict']),
      });
    }),
  });
}

function accounting(fields: Fields): Accounting {
  return withoutUndefined({
    job: String(fields['job']),
    outcome: text(fields['outcome']),
    reason: text(fields['reason']),
    nodes: texts(fields['nodes']) ?? [],
    submitted: seconds(fields['submitted']),
    began: seconds(fields['began']),
    ended: seconds(fields['ended']),
    energyJoules: number(fields['energyJoules']),
  });
}

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
const isStep = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const number = (value: unknown): number | undefined => (isNumber(value) ? value : undefined);
const text = (value: unknown): string | undefined =>
  typeof value === 'string' ? value : typeof value === 'number' ? String(value) : undefined;

function texts(value: unknown): string[] | undefined {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : undefined;
}

/** Unix seconds of a number, which is taken as such, or of an ISO 8601 time. */
function seconds(value: unknown): number | undefined {
  if (isNumber(value)) return value;
  if (typeof value !== 'string') return undefined;
  const time = Date.parse(value) / 1000;
  return Number.isFinite(time) ? time : undefined;
}

const domains = ['workload', 'infrastructure', 'unknown'] as const;

function verdict(value: unknown): Verdict | undefined {
  if (!isFields(value)) return undefined;
  const domain = domains.find((one) => one === value['domain']);
  if (domain === undefined) return undefined;
  const cause = text(value['cause']) ?? 'unknown';
  return withoutUndefined({ domain, cause, line: text(value['line']), node: text(value['node']) });
}

/** Numbered folders in their order. */
function foldersIn(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => /^\d+$/.test(name))
    .sort((a, b) => Number(a) - Number(b));
}

type Whole<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** The fields that are there: what the types of optional fields ask for. */
function withoutUndefined<T extends object>(fields: T): Whole<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Whole<T>;
}
