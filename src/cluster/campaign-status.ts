// How a campaign stands: its files and what the scheduler says, in one value.
//
// Does not: print, or change anything (campaign-present.ts keeps accounts).
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { CampaignFile, CampaignFolder, StoppedFile } from './campaign-folder.ts';
import { presentOf } from './campaign-present.ts';
import type { Progress } from './engine.ts';
import { historyOf, type HistorySummary } from './history.ts';
import type { Verdict } from './history-files.ts';
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
  const { folder, campaign, site, scheduler, progress } = options;
  const { files, jobs, schedulerAway } = await presentOf(folder, campaign, scheduler);
  let known: readonly ClusterNode[] = [];
  try {
    if (schedulerAway === undefined && !scheduler.lacks.has('nodes')) known = await scheduler.nodes();
  } catch {
    // Nodes are not known then.
  }
  // After the questions: they take their time where nobody answers.
  const { now = Date.now() / 1000 } = options;
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
      const isGone = why === 'waiting' && schedulerAway === undefined && !jobs.some(({ id }) => id === job);
      return { name, job, nodes, began, ended, why: isGone ? 'its job is gone' : why, verdict };
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
