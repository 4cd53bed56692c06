// Watches the controller of a link from another node of its job.
//
// A job that outlives its nodes outlives the one its script runs on, too, and then nobody decides any more. So one or two
// other nodes look whether the controller gives a sign of life, and end the job when it is silent or the scheduler calls its node
// down: the successor starts, and knows why.
//
// Does not: anything else; the successor writes down what happened (link.ts).
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { writeJsonAtomic } from '../base/atomic.ts';
import type { CampaignFolder, LinkBeginFile } from './campaign-folder.ts';
import type { Scheduler } from './scheduler.ts';

/** Written by a sentinel that ends a job. */
export interface SentinelFile {
  readonly time: number;
  readonly why: string;
  readonly node: string;
}

export const sentinelName = 'sentinel.json';
export const aliveName = 'alive';

/** The controller's sign of life: a number that grows. */
export function signOfLife(folder: CampaignFolder, link: string, count: number): void {
  writeFileSync(folder.link(link, aliveName), `${count}`);
}

export interface SentinelOptions {
  readonly folder: CampaignFolder;
  readonly link: string;
  readonly job: string;
  readonly scheduler: Scheduler;
  /** Silence after which the controller is taken for dead. */
  readonly silenceSeconds: number;
  readonly signal?: AbortSignal;
}

/** Between two looks, and between two questions to the scheduler. */
const lookMs = 500;
const askMs = 4000;

/** Returns when the link is over or the job was ended. */
export async function keepWatch({
  folder,
  link,
  job,
  scheduler,
  silenceSeconds,
  signal,
}: SentinelOptions): Promise<void> {
  const begin = folder.record<LinkBeginFile>(link, 'begin.json');
  const host = begin?.host ?? '';
  let last = '';
  let changed = performance.now();
  let asked = performance.now();
  const end = async (why: string): Promise<boolean> => {
    const file: SentinelFile = { time: Date.now() / 1000, why, node: host };
    writeJsonAtomic(folder.link(link, sentinelName), file);
    try {
      await scheduler.cancel(job);
      return true;
    } catch {
      // The scheduler is away: the next look tries again.
      return false;
    }
  };
  while (!signal?.aborted && !existsSync(folder.link(link, 'end.json'))) {
    await wait(lookMs);
    const found = read(folder.link(link, aliveName));
    if (found !== undefined && found !== last) {
      last = found;
      changed = performance.now();
    }
    const silent = (performance.now() - changed) / 1000;
    if (silent > silenceSeconds && (await end(`the controller on ${host} was silent for ${silent.toFixed(0)} s`)))
      return;
    if (performance.now() - asked < askMs) continue;
    asked = performance.now();
    const state = await scheduler.nodes().then(
      (nodes) => nodes.find(({ name }) => name === host)?.state,
      () => undefined,
    );
    if (state === 'down' && (await end(`the scheduler calls ${host} down, where the controller runs`))) return;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
