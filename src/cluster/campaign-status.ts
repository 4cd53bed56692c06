// How a campaign stands: its files and what the scheduler says, in one value.
//
// Does not: print, or change anything but the accounts of links that are over (accounting.ts).
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../base/json.ts';
import { recordAccounting } from './accounting.ts';
import { CampaignFolder, type CampaignFile, type StoppedFile } from './campaign-folder.ts';
import type { Progress } from './engine.ts';
import { historyOf, type HistorySummary } from './history.ts';
import {
  type CampaignFiles,
  type LinkFiles,
  readCampaignFiles,
  readCampaignLinks,
  type Verdict,
} from './history-files.ts';
import type { ClusterNode, Job, Scheduler } from './scheduler.ts';
import type { Site } from './site.ts';

/**
 * running: a job of it runs. waiting: one waits in the queue. finished: trained to the end. stopped: by a user or by the restart
 * policy. idle: none of these; nothing will go on by itself.
 */
export type CampaignState = 'running' | 'waiting' | 'finished' | 'stopped' | 'idle' | 'unknown';

export interface NodeStatus {
  readonly name: string;
  readonly state: string;
  readonly reason: string;
}

export interface LinkStatus {
  readonly name: string;
  readonly job: string | undefined;
  readonly nodes: readonly string[];
  readonly began: number | undefined;
  readonly ended: number | undefined;
  /** Why it ended; `waiting` and `running` before that. */
  readonly why: string;
  readonly verdict: Verdict | undefined;
}

export interface CampaignStatus {
  readonly name: string;
  readonly id: string;
  readonly state: CampaignState;
  readonly stopped: StoppedFile | undefined;
  /** Jobs that run or wait. */
  readonly jobs: readonly Pick<Job, 'id' | 'state' | 'reason' | 'nodes' | 'ends'>[];
  /** Nodes of the running job, as the scheduler calls them. */
  readonly nodes: readonly NodeStatus[];
  readonly links: readonly LinkStatus[];
  /** Steps in the newest whole checkpoint. */
  readonly step: number;
  readonly total: number | null;
  /** The last step that was computed, and its loss. */
  readonly computed: { readonly step: number; readonly loss?: number; readonly secondsAgo: number } | undefined;
  readonly checkpointAgeSeconds: number | undefined;
  readonly etaSeconds: number | undefined;
  readonly history: HistorySummary;
  readonly alerts: number;
  /** Why the scheduler could not be asked. */
  readonly schedulerAway: string | undefined;
  readonly problems: readonly string[];
}

export interface StatusOptions {
  readonly folder: CampaignFolder;
  readonly campaign: CampaignFile;
  readonly site: Site;
  readonly scheduler: Scheduler;
  readonly progress: Progress;
  /** Unix seconds. */
  readonly now?: number;
}

export async function campaignStatus(options: StatusOptions): Promise<CampaignStatus> {
  const { folder, campaign, site, scheduler, progress, now = Date.now() / 1000 } = options;
  let jobs: readonly Job[] = [];
  let known: readonly ClusterNode[] = [];
  let schedulerAway: string | undefined;
  try {
    const all = await scheduler.jobs({ name: CampaignFolder.jobName(campaign) });
    jobs = all.filter(({ state }) => state !== 'ended');
    known = scheduler.lacks.has('nodes') ? [] : await scheduler.nodes();
  } catch (error) {
    schedulerAway = errorText(error);
  }
  if (schedulerAway === undefined) await keepAccounts(folder.dir, jobs, scheduler);
  const files = withRunning(readCampaignFiles(folder.dir), jobs);
  const watts = site.node.wattsPerModuleMean;
  const history = historyOf(files, {
    now,
    ...(watts === null ? {} : { wattsPerNode: watts * Math.max(1, site.node.gpus) }),
  });
  const running = jobs.find(({ state }) => state === 'running' || state === 'suspended');
  const last = history.steps.findLast(({ fate }) => fate === 'kept');
  const stopped = folder.stopped();
  const metrics = files.metrics.at(-1);
  const eta = metrics?.['etaSeconds'];
  return {
    name: campaign.name,
    id: campaign.id,
    state: stateOf(jobs, stopped, schedulerAway !== undefined),
    stopped,
    jobs: jobs.map(({ id, state, reason, nodes, ends }) => ({
      id,
      state,
      reason,
      nodes,
      ...(ends === undefined ? {} : { ends }),
    })),
    nodes: (running?.nodes ?? []).map((name) => {
      const node = known.find((each) => each.name === name);
      return { name, state: node?.state ?? 'unknown', reason: node?.reason ?? '' };
    }),
    links: history.links.map(({ name, job, nodes, began, ended, why, verdict }): LinkStatus => {
      // Without an end in the files or in the accounts, the queue alone says that it is over.
      const isGone = schedulerAway === undefined && !jobs.some(({ id }) => id === job);
      const gone = isGone && (why === 'running' || why === 'waiting') ? 'its job is gone' : why;
      return { name, job, nodes, began, ended, why: gone, verdict };
    }),
    step: progress.step,
    total: progress.total,
    computed: last && {
      step: last.step,
      secondsAgo: now - last.time,
      ...(last.loss === undefined ? {} : { loss: last.loss }),
    },
    checkpointAgeSeconds: checkpointAge(join(folder.dir, 'pretrain', 'checkpoints'), now),
    etaSeconds: running && typeof eta === 'number' ? eta : undefined,
    history: history.summary,
    alerts: files.alerts.length,
    schedulerAway,
    problems: history.problems,
  };
}

/**
 * Keeps what the accounts say of links whose job is over. Only those are asked about; of a job that ended in this moment they know
 * nothing yet.
 */
async function keepAccounts(dir: string, living: readonly Job[], scheduler: Scheduler): Promise<void> {
  const links = readCampaignLinks(dir);
  const ids = links.flatMap(({ job, accounting }) =>
    job === undefined || accounting || living.some(({ id }) => id === job) ? [] : [job],
  );
  if (ids.length === 0) return;
  try {
    recordAccounting({ dir, links }, await scheduler.history({ ids }));
  } catch {
    // The links' own files tell it then.
  }
}

/** With what the queue says of a job that runs: its clock and its nodes are the scheduler's, as they will be in the accounts. */
function withRunning(files: CampaignFiles, jobs: readonly Job[]): CampaignFiles {
  const links = files.links.map((link): LinkFiles => {
    const job = jobs.find(({ id, state }) => id === link.job && state !== 'pending');
    if (!job || job.began === undefined || link.accounting || link.end) return link;
    return { ...link, accounting: { job: job.id, nodes: job.nodes, began: job.began } };
  });
  return { ...files, links };
}

function stateOf(jobs: readonly Job[], stopped: StoppedFile | undefined, away: boolean): CampaignState {
  if (jobs.some(({ state }) => state === 'running' || state === 'suspended')) return 'running';
  if (stopped) return stopped.by === 'finished' ? 'finished' : 'stopped';
  if (jobs.length > 0) return 'waiting';
  return away ? 'unknown' : 'idle';
}

/** Seconds since the newest checkpoint was committed. */
function checkpointAge(dir: string, now: number): number | undefined {
  try {
    const times = readdirSync(dir)
      .filter((name) => /^(?:step-\d+|iter_\d+)$/.test(name))
      .map((name) => statSync(join(dir, name)).mtimeMs / 1000);
    return times.length === 0 ? undefined : Math.max(0, now - Math.max(...times));
  } catch {
    return undefined;
  }
}
