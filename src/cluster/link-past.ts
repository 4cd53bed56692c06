// What a link finds of those before it: it writes down the ends that they could not, keeps what the accounts say of them,
// and tells their failures.
//
// Does not: decide whether to try again (restart-policy.ts).
import { errorText } from '../base/json.ts';
import { recordAccounting } from './accounting.ts';
import { attribute } from './attribution.ts';
import type { LaunchEndFile, LaunchFile, LinkBeginFile, LinkEndFile } from './campaign-folder.ts';
import { readCampaignLinks } from './history-files.ts';
import { type LinkContext, now } from './link-context.ts';
import { tail } from './log-tail.ts';
import type { Failure } from './restart-policy.ts';
import type { Job } from './scheduler.ts';

/** Writes the ends of links and launches that could not do it themselves. */
export async function settleBefore(link: LinkContext): Promise<void> {
  const { folder } = link;
  const before = folder.links().filter((name) => Number(name) < Number(link.name));
  for (const name of before.slice(-3)) {
    const begin = folder.record<LinkBeginFile>(name, 'begin.json');
    if (!begin || folder.record(name, 'end.json')) continue;
    const job = await pastJob(link, begin.job);
    const outcome = job?.outcome;
    const dead = (await link.downNodes(begin.nodes)) ?? [];
    const over = job?.ended ?? now();
    const said = settleLaunches(link, name, { over, dead, outcome, why: 'the link ended first' });
    // Where the scheduler does not say yet how the job ended, what was running in it may.
    const verdict = attribute({
      ...{ exit: null, signal: null, log: outcome === undefined ? said : '', deadNodes: dead },
      ...(outcome === undefined ? {} : { outcome }),
    });
    const why = `it ended without a word: ${job === undefined ? 'the scheduler does not remember it' : (job.outcome ?? job.raw)}`;
    folder.write(name, 'end.json', { time: over, why, verdict, next: 'successor', by: link.name });
    link.event('settled', { link: name, why, cause: verdict.cause, domain: verdict.domain });
  }
}

/** Writes the ends of launches that nobody wrote. Answers what the last of them said. */
export function settleLaunches(
  { folder, options }: LinkContext,
  name: string,
  facts: {
    readonly over: number;
    readonly dead: readonly string[];
    readonly outcome: Job['outcome'];
    readonly why: string;
  },
): string {
  const { over, dead, outcome, why } = facts;
  let said = '';
  for (const launch of folder.launches(name)) {
    const started = folder.record<LaunchFile>(name, 'steps', launch, 'step.json');
    if (!started || folder.record(name, 'steps', launch, 'end.json')) continue;
    said = tail(folder.link(name, 'steps', launch, 'log.txt'));
    const verdict = attribute({
      ...{ exit: null, signal: null, log: said, deadNodes: dead },
      ...(outcome === undefined ? {} : { outcome }),
    });
    const { from } = started;
    const to = options.engine.progress().step;
    const lastStep = options.lastStep?.();
    folder.write(name, `steps/${launch}/end.json`, {
      ...{ time: over, exit: null, outcome: 'failed', why, from, to, verdict },
      ...(lastStep === undefined ? {} : { lastStep }),
    } satisfies LaunchEndFile);
  }
  return said;
}

/** Keeps what the accounts say of links that are over, before they are forgotten. Nothing waits for it. */
export async function recordPast(link: LinkContext): Promise<void> {
  const { folder, options } = link;
  try {
    const links = readCampaignLinks(folder.dir);
    const ids = links.flatMap(({ name, job, accounting }) =>
      job === undefined || accounting || Number(name) >= Number(link.name) ? [] : [job],
    );
    if (ids.length === 0) return;
    const kept = recordAccounting({ dir: folder.dir, links }, await options.scheduler.history({ ids }));
    if (kept.length > 0) link.event('accounted', { links: kept });
  } catch (error) {
    // The next link, or a report, asks again.
    link.event('no-accounts', { why: errorText(error) });
  }
}

async function pastJob(link: LinkContext, id: string): Promise<Job | undefined> {
  const { scheduler } = link.options;
  let last: Job | undefined;
  for (const ask of [() => scheduler.jobs({ ids: [id] }), () => scheduler.history({ ids: [id] })]) {
    try {
      const found = (await ask()).find((job) => job.id === id);
      // While it completes the queue does not say how it ended; the accounts may.
      if (found?.state === 'ended') return found;
      last ??= found;
    } catch (error) {
      link.event('scheduler-away', { why: errorText(error) });
    }
  }
  return last;
}

/** Failures since the last start of another kind of end, over links since the user last submitted. */
export function failures({ folder }: LinkContext): Failure[] {
  const first = Number(folder.submissions().at(-1)?.link ?? 0);
  const found: Failure[] = [];
  for (const name of folder.links()) {
    if (Number(name) < first) continue;
    for (const launch of folder.launches(name)) {
      const end = folder.record<LaunchEndFile>(name, 'steps', launch, 'end.json');
      if (!end) continue;
      const { from, to, lastStep } = end;
      if (!end.verdict && (to > from || end.outcome !== 'paused')) {
        found.length = 0;
        continue;
      }
      // It left in time, and came no further: links that are too short for a step would follow each other for ever.
      const verdict = end.verdict ?? ({ domain: 'infrastructure', cause: 'too-little-time' } as const);
      found.push({ verdict, from, to, ...(lastStep === undefined ? {} : { lastStep }) });
    }
    const end = folder.record<LinkEndFile>(name, 'end.json');
    if (end?.verdict && folder.launches(name).length === 0) {
      const step = found.at(-1)?.to ?? 0;
      found.push({ verdict: end.verdict, from: step, to: step });
    }
  }
  return found;
}

/** Nodes of this link and of those before it. */
export function linkNodes({ folder }: LinkContext, own: readonly string[]): Set<string> {
  const links = folder.links().map((name) => folder.record<LinkBeginFile>(name, 'begin.json'));
  return new Set([...own, ...links.flatMap((begin) => (begin ? [...begin.nodes, begin.host] : []))]);
}
