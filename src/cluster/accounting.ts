// What the scheduler's accounts say about the jobs of a campaign, kept in its folder: `links/NNNN/accounting.json`.
//
// Schedulers forget; a history must not. A record is written once its job has ended, whole and the same whoever writes it,
// so the controller of the next link and a report may both do it.
//
// Does not: ask the scheduler; whoever calls has its answer.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { writeJsonShared } from '../base/atomic.ts';
import type { Accounting, CampaignFiles } from './history-files.ts';
import type { Job } from './scheduler.ts';

/** Name in the folder of a link. */
export const accountingName = 'accounting.json';

/** Writes the records of links whose job is among `jobs` and has ended; returns their names. */
export function recordAccounting({ dir, links }: Pick<CampaignFiles, 'dir' | 'links'>, jobs: readonly Job[]): string[] {
  const byId = new Map(jobs.map((job) => [job.id, job]));
  return links.flatMap(({ name, job: id }) => {
    const path = join(dir, 'campaign', 'links', name, accountingName);
    const job = id === undefined ? undefined : byId.get(id);
    // An end that the scheduler's database has not heard of yet comes with the next look.
    if (job?.state !== 'ended' || job.ended === undefined || existsSync(path)) return [];
    writeJsonShared(path, accountingOf(job));
    return [name];
  });
}

function accountingOf(job: Job): Accounting {
  const { id, outcome, reason, nodes, submitted, began, ended, energyJoules } = job;
  return Object.fromEntries(
    Object.entries({ job: id, outcome, reason, nodes, submitted, began, ended, energyJoules }).filter(
      ([, value]) => value !== undefined,
    ),
  ) as unknown as Accounting;
}
