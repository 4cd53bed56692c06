// One history of a campaign, over all its links and attempts: what was computed, what of it counts, and what the rest of
// the time went into.
//
// A step counts once: as the attempt computed it whose weights the run went on with. Everything an attempt computed beyond
// the checkpoint that the next one resumed from is lost, and what the guard took back is rolled back; both stand in the
// logs of attempts (attempts/NNNN/steps.jsonl), which are never cut. When links began and ended is the scheduler's to say
// where it keeps accounts; where not, the link's own files say it.
//
// The time of a link is split without a remainder: allocated = starting + useful + lost + rolledBack + between + ending.
//
// Does not: read files (history-files.ts), draw, or export.
import { attribute } from './attribution.ts';
import type { CampaignFiles, ComputedStep, LaunchFiles, LinkFiles, TrainingEvent, Verdict } from './history-files.ts';
import type { Outcome } from './scheduler.ts';

/** What became of a computed step. */
export type Fate = 'kept' | 'lost' | 'rolled-back';

/** A step as an attempt computed it. */
export interface StepHistory extends ComputedStep {
  readonly attempt: number;
  readonly link: string | undefined;
  readonly fate: Fate;
}

export interface AttemptHistory {
  readonly number: number;
  /** The link and the launch inside it; undefined where the training was started by hand. */
  readonly link: string | undefined;
  readonly launch: string | undefined;
  readonly host: string | undefined;
  readonly ranks: number | undefined;
  readonly nodes: readonly string[];
  readonly started: number | undefined;
  /** The step it went on from, 0 at the beginning; undefined where it ended before it said so. */
  readonly resumedFrom: number | undefined;
  readonly firstStep: number | undefined;
  readonly lastStep: number | undefined;
  readonly computedSteps: number;
  readonly lostSteps: number;
  readonly rolledBackSteps: number;
  readonly why: string;
}

/** Where the seconds of a link went, by the wall. */
export interface LinkSeconds {
  readonly allocated: number;
  /** Before its first step. */
  readonly starting: number;
  readonly useful: number;
  readonly lost: number;
  readonly rolledBack: number;
  /** Saving, validating, and starting again inside the link. */
  readonly between: number;
  /** After its last step. */
  readonly ending: number;
}

export interface LinkHistory {
  readonly name: string;
  readonly job: string | undefined;
  readonly nodes: readonly string[];
  readonly submitted: number | undefined;
  /** Undefined where it never began. */
  readonly began: number | undefined;
  /** Undefined while it runs. */
  readonly ended: number | undefined;
  /** Who says when it began and ended. */
  readonly clock: 'scheduler' | 'link';
  /** The link's own clock minus the scheduler's, where both say it. */
  readonly beganLater: number | undefined;
  readonly endedLater: number | undefined;
  readonly attempts: readonly number[];
  readonly firstStep: number | undefined;
  readonly lastStep: number | undefined;
  readonly lostSteps: number;
  readonly rolledBackSteps: number;
  readonly why: string;
  readonly verdict: Verdict | undefined;
  /** Ends inside of it that were the machine's fault. */
  readonly failures: number;
  readonly seconds: LinkSeconds;
  readonly allocatedNodeSeconds: number;
  readonly usefulNodeSeconds: number;
  readonly energyJoules: number | undefined;
  /** Whether the energy is the watts of a node times its seconds, and not measured. */
  readonly energyIsEstimate: boolean;
}

export interface HistorySummary {
  /** Steps that count. */
  readonly steps: number;
  readonly lastStep: number;
  readonly lostSteps: number;
  readonly rolledBackSteps: number;
  /** Steps that were computed more than once, and those of them whose loss was not the same each time. */
  readonly repeatedSteps: number;
  readonly differingSteps: readonly number[];
  /** That have begun. */
  readonly links: number;
  readonly attempts: number;
  readonly failures: number;
  readonly allocatedNodeSeconds: number;
  readonly usefulNodeSeconds: number;
  readonly lostNodeSeconds: number;
  /** Useful step time by allocated node time. */
  readonly goodput: number | undefined;
  /** From the beginning of the first link to the end of the last. */
  readonly wallSeconds: number;
  /** Share of it in which the campaign was between the first and the last step of a link. */
  readonly availability: number | undefined;
  /** Allocated seconds by failures; undefined without a failure. */
  readonly mtbfSeconds: number | undefined;
  /** Undefined where neither the scheduler nor the site says anything of some link. */
  readonly energyJoules: number | undefined;
  readonly energyIsEstimate: boolean;
  /** Links whose energy the scheduler measured: 0 where its accounts hold none. */
  readonly energyMeasuredLinks: number;
}

export interface History {
  readonly name: string;
  readonly id: string;
  readonly links: readonly LinkHistory[];
  readonly attempts: readonly AttemptHistory[];
  /** In the order in which they were computed. */
  readonly steps: readonly StepHistory[];
  readonly summary: HistorySummary;
  readonly problems: readonly string[];
}

export interface HistoryOptions {
  /** Unix seconds up to which links count that still run. */
  readonly now: number;
  /** Of a site profile: for the energy of links without a measurement. */
  readonly wattsPerNode?: number;
}

/** The history that the files of a campaign tell. */
export function historyOf(files: CampaignFiles, { now, wattsPerNode }: HistoryOptions): History {
  const problems = [...files.problems];
  const places = files.attempts.map((attempt) => placeOf(attempt, files.links));
  const steps = computedSteps(files, places);
  const byAttempt = groupBy(steps, ({ attempt }) => attempt);
  const attempts = files.attempts.map((attempt, i): AttemptHistory => {
    const { link, launch, launchName } = places[i] as Place;
    const own = byAttempt.get(attempt.number) ?? [];
    return {
      number: attempt.number,
      link: link?.name,
      launch: launchName,
      host: attempt.host,
      ranks: attempt.ranks,
      nodes: launch?.nodes ?? (link ? nodesOf(link) : []),
      started: attempt.started,
      resumedFrom: startOf(files.events, attempt.number)?.step,
      ...extent(own),
      computedSteps: own.length,
      lostSteps: count(own, 'lost'),
      rolledBackSteps: count(own, 'rolled-back'),
      why: whyAttemptEnded(files.events, attempt.number, launch),
    };
  });
  const links = files.links.map((link, i) => {
    const own = attempts.filter((attempt) => attempt.link === link.name);
    const successor = files.links[i + 1];
    return linkHistory(link, own, byAttempt, { now, wattsPerNode, hasSuccessorBegun: successor?.begin !== undefined });
  });
  for (const { name, seconds } of links) {
    for (const [what, value] of Object.entries(seconds)) {
      if (value < -1) problems.push(`link ${name}: ${what} is ${value.toFixed(1)} s; the clocks of its hosts differ`);
    }
  }
  return {
    name: files.name,
    id: files.id,
    links,
    attempts,
    steps,
    summary: summaryOf(links, attempts, steps),
    problems,
  };
}

interface Place {
  readonly link: LinkFiles | undefined;
  readonly launch: LaunchFiles | undefined;
  /** Also of a launch that left no files. */
  readonly launchName: string | undefined;
}

/** The link and launch of an attempt: as it was told, or else by when it started. */
function placeOf(
  { startedBy, started }: { readonly startedBy?: string; readonly started?: number },
  links: readonly LinkFiles[],
): Place {
  const [, linkName, launchName] = /^link (\d+)(?: step (\d+))?$/.exec(startedBy ?? '') ?? [];
  const told = links.find(({ name }) => name === linkName);
  if (told) return { link: told, launch: told.launches.find(({ name }) => name === launchName), launchName };
  if (started === undefined) return { link: undefined, launch: undefined, launchName: undefined };
  const before = <T>(all: readonly T[], timeOf: (one: T) => number | undefined): T | undefined =>
    all.findLast((one) => (timeOf(one) ?? Number.POSITIVE_INFINITY) <= started);
  const link = before(links, (one) => one.begin?.time ?? one.accounting?.began);
  const launch = link && before(link.launches, ({ time }) => time);
  return { link, launch, launchName: launch?.name };
}

/** The event with which an attempt began, and the step it went on from. */
function startOf(events: readonly TrainingEvent[], attempt: number): { step: number; index: number } | undefined {
  const index = events.findIndex(
    ({ event, attempt: by }) => by === attempt && (event === 'start' || event === 'resume'),
  );
  if (index < 0) return undefined;
  const { step } = events[index] as TrainingEvent;
  return { step: typeof step === 'number' ? step : 0, index };
}

/** Everything that was computed, in order, with what became of it. */
function computedSteps(files: CampaignFiles, places: readonly Place[]): StepHistory[] {
  const all: { -readonly [K in keyof StepHistory]: StepHistory[K] }[] = [];
  /** Indices of the steps the run stands on, growing in step. */
  const standing: number[] = [];
  const dropBeyond = (step: number, fate: Fate): void => {
    for (let last = standing.at(-1); last !== undefined && (all[last]?.step ?? 0) > step; last = standing.at(-1)) {
      const dropped = all[standing.pop() as number];
      if (dropped) dropped.fate = fate;
    }
  };
  files.attempts.forEach(({ number: attempt, computed }, i) => {
    const start = startOf(files.events, attempt);
    if (start) dropBeyond(start.step, 'lost');
    let isOwn = false;
    for (const line of computed) {
      dropBeyond(line.step - 1, isOwn ? 'rolled-back' : 'lost');
      standing.push(all.length);
      all.push({ ...line, attempt, link: places[i]?.link?.name, fate: 'kept' });
      isOwn = true;
    }
  });
  return all;
}

function whyAttemptEnded(events: readonly TrainingEvent[], attempt: number, launch: LaunchFiles | undefined): string {
  const start = startOf(events, attempt);
  if (start) {
    const rest = events.slice(start.index + 1);
    const next = rest.findIndex(({ event }) => event === 'start' || event === 'resume');
    const own = next < 0 ? rest : rest.slice(0, next);
    const last = own.findLast(({ event }) => ['finished', 'paused', 'gave-up'].includes(event));
    if (last) return last.event === 'paused' ? `paused (${String(last['by'])})` : last.event;
  }
  if (launch?.verdict) return describe(launch.verdict);
  return 'unknown';
}

function describe({ cause, node }: Verdict): string {
  return node === undefined ? cause : `${cause} (${node})`;
}

function nodesOf({ accounting, begin }: LinkFiles): readonly string[] {
  return accounting && accounting.nodes.length > 0 ? accounting.nodes : (begin?.nodes ?? []);
}

/** Outcomes of a job that are the machine's fault. */
const failureOutcomes = ['node-failure', 'boot-failure'];

function linkHistory(
  link: LinkFiles,
  attempts: readonly AttemptHistory[],
  byAttempt: ReadonlyMap<number, readonly StepHistory[]>,
  options: { readonly now: number; readonly wattsPerNode: number | undefined; readonly hasSuccessorBegun: boolean },
): LinkHistory {
  const { accounting, begin, end, launches } = link;
  const { now, wattsPerNode, hasSuccessorBegun } = options;
  const steps = attempts.flatMap(({ number }) => byAttempt.get(number) ?? []);
  const began = accounting?.began ?? begin?.time;
  const lastStepTime = steps.reduce((last, { time }) => Math.max(last, time), Number.NEGATIVE_INFINITY);
  // A link that could not write its end is over when the next one begins: they bear one name, and run one by one.
  const silent = hasSuccessorBegun ? Math.max(lastStepTime, began ?? lastStepTime) : undefined;
  const ended = began === undefined ? undefined : (accounting?.ended ?? end?.time ?? silent);
  const until = ended ?? now;
  const nodes = nodesOf(link);
  const nodesOfAttempt = new Map(attempts.map((attempt) => [attempt.number, attempt.nodes.length]));
  let usefulNodeSeconds = 0;
  const spent: Record<Fate, number> = { kept: 0, lost: 0, 'rolled-back': 0 };
  let firstStart = Number.POSITIVE_INFINITY;
  for (const { seconds, time, fate, attempt } of steps) {
    spent[fate] += seconds;
    if (fate === 'kept') usefulNodeSeconds += seconds * (nodesOfAttempt.get(attempt) || nodes.length);
    firstStart = Math.min(firstStart, time - seconds);
  }
  const allocated = began === undefined ? 0 : until - began;
  const starting = steps.length > 0 && began !== undefined ? firstStart - began : allocated;
  const ending = steps.length > 0 && began !== undefined ? until - lastStepTime : 0;
  const between =
    steps.length > 0 && began !== undefined
      ? lastStepTime - firstStart - spent.kept - spent.lost - spent['rolled-back']
      : 0;
  const allocatedNodeSeconds = allocated * nodes.length;
  const guilty = launches.filter(({ verdict }) => verdict?.domain === 'infrastructure').length;
  const wholeFailed =
    end?.verdict?.domain === 'infrastructure' || failureOutcomes.includes(accounting?.outcome ?? '') ? 1 : 0;
  const measured = accounting?.energyJoules;
  const lastVerdict =
    ended === undefined ? undefined : (end?.verdict ?? launches.at(-1)?.verdict ?? verdictByOutcome(link));
  return {
    name: link.name,
    job: link.job,
    nodes,
    submitted: accounting?.submitted ?? link.submitted,
    began,
    ended,
    clock: accounting?.began !== undefined ? 'scheduler' : 'link',
    beganLater: difference(begin?.time, accounting?.began),
    endedLater: difference(end?.time, accounting?.ended),
    attempts: attempts.map(({ number }) => number),
    ...extent(steps),
    lostSteps: count(steps, 'lost'),
    rolledBackSteps: count(steps, 'rolled-back'),
    why: whyLinkEnded(link, ended, lastVerdict),
    verdict: lastVerdict,
    failures: Math.max(guilty, wholeFailed),
    seconds: {
      allocated,
      starting,
      useful: spent.kept,
      lost: spent.lost,
      rolledBack: spent['rolled-back'],
      between,
      ending,
    },
    allocatedNodeSeconds,
    usefulNodeSeconds,
    energyJoules: measured ?? (wattsPerNode === undefined ? undefined : wattsPerNode * allocatedNodeSeconds),
    energyIsEstimate: measured === undefined,
  };
}

/** The label of a link that could not write its end, and after which none came: the scheduler's word alone. */
function verdictByOutcome({ end, accounting, begin }: LinkFiles): Verdict | undefined {
  const outcome = accounting?.outcome as Outcome | undefined;
  const isSilent = end === undefined && (begin !== undefined || accounting?.began !== undefined);
  if (!isSilent || outcome === undefined || outcome === 'completed') return undefined;
  return attribute({ exit: null, signal: null, log: '', outcome });
}

function whyLinkEnded({ end, accounting, begin }: LinkFiles, ended: number | undefined, verdict?: Verdict): string {
  if (end?.why !== undefined) return end.why;
  if (verdict) return describe(verdict);
  if (accounting?.outcome !== undefined) return accounting.outcome;
  if (begin === undefined && accounting?.began === undefined) return 'waiting';
  return ended === undefined ? 'running' : 'unknown';
}

function difference(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a - b;
}

function summaryOf(
  links: readonly LinkHistory[],
  attempts: readonly AttemptHistory[],
  steps: readonly StepHistory[],
): HistorySummary {
  const total = (value: (link: LinkHistory) => number): number => links.reduce((sum, link) => sum + value(link), 0);
  const allocatedNodeSeconds = total((link) => link.allocatedNodeSeconds);
  const usefulNodeSeconds = total((link) => link.usefulNodeSeconds);
  const failures = total((link) => link.failures);
  const ran = links.filter(({ began }) => began !== undefined);
  const first = Math.min(...ran.map(({ began }) => began as number));
  const last = Math.max(...ran.map(({ began, seconds }) => (began as number) + seconds.allocated));
  const wallSeconds = ran.length > 0 ? last - first : 0;
  const training = total(({ seconds: { useful, lost, rolledBack, between } }) => useful + lost + rolledBack + between);
  const energies = ran.map(({ energyJoules }) => energyJoules);
  const kept = steps.filter(({ fate }) => fate === 'kept');
  return {
    steps: kept.length,
    lastStep: kept.at(-1)?.step ?? 0,
    lostSteps: count(steps, 'lost'),
    rolledBackSteps: count(steps, 'rolled-back'),
    ...repeated(steps),
    links: ran.length,
    attempts: attempts.length,
    failures,
    allocatedNodeSeconds,
    usefulNodeSeconds,
    lostNodeSeconds: total(({ seconds, nodes }) => seconds.lost * nodes.length),
    goodput: allocatedNodeSeconds > 0 ? usefulNodeSeconds / allocatedNodeSeconds : undefined,
    wallSeconds,
    availability: wallSeconds > 0 ? training / wallSeconds : undefined,
    mtbfSeconds: failures > 0 ? total(({ seconds }) => seconds.allocated) / failures : undefined,
    energyJoules:
      ran.length > 0 && energies.every((joules) => joules !== undefined)
        ? energies.reduce((sum: number, joules) => sum + joules, 0)
        : undefined,
    energyIsEstimate: ran.some(({ energyIsEstimate }) => energyIsEstimate),
    energyMeasuredLinks: ran.filter(({ energyIsEstimate }) => !energyIsEstimate).length,
  };
}

/** Steps that were lost and computed again: a deterministic engine gives the same loss, or the machine is not sound. */
function repeated(steps: readonly StepHistory[]): Pick<HistorySummary, 'repeatedSteps' | 'differingSteps'> {
  const lost = groupBy(
    steps.filter(({ fate, loss }) => fate === 'lost' && loss !== undefined),
    ({ step }) => step,
  );
  let repeatedSteps = 0;
  const differingSteps: number[] = [];
  for (const { step, loss, fate } of steps) {
    const earlier = fate === 'kept' && loss !== undefined ? lost.get(step) : undefined;
    if (!earlier) continue;
    repeatedSteps++;
    if (earlier.some((other) => other.loss !== loss)) differingSteps.push(step);
  }
  return { repeatedSteps, differingSteps };
}

function extent(steps: readonly StepHistory[]): Pick<AttemptHistory, 'firstStep' | 'lastStep'> {
  if (steps.length === 0) return { firstStep: undefined, lastStep: undefined };
  let firstStep = Number.POSITIVE_INFINITY;
  let lastStep = 0;
  for (const { step } of steps) {
    firstStep = Math.min(firstStep, step);
    lastStep = Math.max(lastStep, step);
  }
  return { firstStep, lastStep };
}

function count(steps: readonly StepHistory[], fate: Fate): number {
  return steps.reduce((sum, step) => sum + (step.fate === fate ? 1 : 0), 0);
}

function groupBy<K, T>(all: readonly T[], keyOf: (one: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const one of all) {
    const key = keyOf(one);
    const group = groups.get(key);
    if (group) group.push(one);
    else groups.set(key, [one]);
  }
  return groups;
}
