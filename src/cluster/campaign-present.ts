// The files of a campaign as it stands now: with the accounts of links that are over, and with what the queue says of the
// one that runs. Status, report, metrics and exports all begin here, so that their numbers are the same, and those of
// the scheduler.
//
// Does not: count (history.ts). Writes nothing but the accounts of links that are over (accounting.ts).
import { statSync } from 'node:fs';
import { errorText } from '../base/json.ts';
import { recordAccounting } from './accounting.ts';
import { CampaignFolder, type CampaignFile } from './campaign-folder.ts';
import { type CampaignFiles, type LinkFiles, readCampaignFiles, readCampaignLinks } from './history-files.ts';
import type { Job, Scheduler } from './scheduler.ts';
import { aliveName } from './sentinel.ts';

export interface Present {
  readonly files: CampaignFiles;
  /** Its jobs that run or wait. */
  readonly jobs: readonly Job[];
  /** Why the queue could not be asked. */
  readonly schedulerAway: string | undefined;
  /** Why the accounts could not be asked; the links' own files tell it then. */
  readonly accountsAway: string | undefined;
}

/** Reads a campaign, with what its scheduler says. */
export async function presentOf(
  folder: CampaignFolder,
  campaign: Pick<CampaignFile, 'name' | 'id'>,
  scheduler: Scheduler,
): Promise<Present> {
  let jobs: readonly Job[];
  try {
    const all = await scheduler.jobs({ name: CampaignFolder.jobName(campaign) });
    jobs = all.filter(({ state }) => state !== 'ended');
  } catch (error) {
    const schedulerAway = errorText(error);
    return { files: readCampaignFiles(folder.dir), jobs: [], schedulerAway, accountsAway: schedulerAway };
  }
  const accountsAway = await keepAccounts(folder, jobs, scheduler);
  const files = readCampaignFiles(folder.dir);
  const links = files.links.map((link) => presentLink(folder, link, jobs));
  return { files: { ...files, links }, jobs, schedulerAway: undefined, accountsAway };
}

/** Keeps what the accounts say of links whose job is over. Of one that ended in this moment they may know nothing yet. */
async function keepAccounts(
  { dir }: CampaignFolder,
  living: readonly Job[],
  scheduler: Scheduler,
): Promise<string | undefined> {
  const links = readCampaignLinks(dir);
  const ids = links.flatMap(({ job, accounting }) =>
    job === undefined || accounting || living.some(({ id }) => id === job) ? [] : [job],
  );
  if (ids.length === 0) return undefined;
  try {
    recordAccounting({ dir, links }, await scheduler.history({ ids }));
    return undefined;
  } catch (error) {
    return errorText(error);
  }
}

function presentLink(folder: CampaignFolder, link: LinkFiles, jobs: readonly Job[]): LinkFiles {
  if (link.accounting || link.job === undefined) return link;
  const job = jobs.find(({ id }) => id === link.job);
  // Its clock is the scheduler's already, as it will be in the accounts, also once it has written its end and its job
  // completes. The queue tells of such a job only the nodes that it has not left yet.
  const nodes = link.begin?.nodes ?? job?.nodes ?? [];
  if (job?.began !== undefined) return { ...link, accounting: { job: job.id, nodes, began: job.began } };
  if (job || link.end || !link.begin) return link;
  // Neither the queue nor the accounts know it, and it could not write its end: its controller's last sign of life was it.
  return { ...link, end: { time: lastSign(folder, link.name) ?? link.begin.time, why: 'its job is gone' } };
}

function lastSign(folder: CampaignFolder, link: string): number | undefined {
  try {
    return statSync(folder.link(link, aliveName)).mtimeMs / 1000;
  } catch {
    return undefined;
  }
}
