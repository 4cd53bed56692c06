// What the scheduler's accounts say about the jobs of a campaign, kept in its folder: `links/NNNN/accounting.json`.
//
// Schedulers forget; a history must not. A record is written once its job has ended, whole and the same whoever writes it,
// so the controller of the next link and a report may both do it.
//
// Does not: ask the scheduler; whoever calls has its answer.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { writeJsonAtomic } from '../base/atomic.ts';
import type { Accounting, CampaignFiles } from './history-files.ts';
import type { Job } from './scheduler.ts';

/** Name in the folder of a link. */
export const accountingName = 'accounting.json';

/** Writes the records of links whose job is among `jobs` and has ended; returns their names. */
export function recordAccounting(
  { dir, links }: CampaignFiles,
  jobs: readonly Job[],
  energies: ReadonlyMap<string, number> = new Map(),
): string[] {
  const byId = new Map(jobs.map((job) => [job.id, job]));
  return links.flatMap(({ name, job: id }) => {
    const path = join(dir, 'campaign', 'links', name, accountingName);
    const job = id === undefined ? undefined : byId.get(id);
    // An end that the scheduler's database has not heard of yet comes with the next look.
    if (job?.state !== 'ended' || job.ended === undefined || existsSync(path)) return [];
    writeJsonAtomic(path, accountingOf(job, energies.get(job.id)));
    return [name];
  });
}

function accountingOf(job: Job, energyJoules: number | undefined): Accounting {
  const { id, outcome, reason, nodes, submitted, began, ended } = job;
  return Object.fromEntries(
    Object.entries({ job: id, outcome, reason, nodes, submitted, began, ended, energyJoules }).filter(
      ([, value]) => value !== undefined,
    ),
  ) as unknown as Accounting;
}

/** Arguments of sacct for the energy of jobs. */
export function energyArguments(ids: readonly string[]): string[] {
  return [
    '--jobs',
    ids.join(','),
    '--allocations',
    '--noheader',
    '--parsable2',
    '--format',
    'JobIDRaw,ConsumedEnergyRaw',
  ];
}

/** Joules by job, of what sacct says to `energyArguments`. Slurm says 0, or nothing, where it does not measure. */
export function parseEnergies(said: string): Map<string, number> {
  const energies = new Map<string, number>();
  for (const line of said.split('\n')) {
    const [id, raw] = line.trim().split('|');
    const joules = Number(raw);
    // 2^63 and thereabouts stand for "not known" in some versions.
    if (id !== undefined && /^\d+$/.test(id) && raw !== '' && joules > 0 && joules < 2 ** 62) energies.set(id, joules);
  }
  return energies;
}
