// `belay campaign status`, `logs`, `save`, `stop` and `cancel`: how a campaign stands, and asking it things.
//
// Does not: submit (campaign-submit.ts).
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { buildCommand } from '@stricli/core';
import { UserError } from '../base/errors.ts';
import { duration, terminalLog } from '../base/progress.ts';
import { CampaignFolder } from '../cluster/campaign-folder.ts';
import { campaignStatus, type CampaignStatus } from '../cluster/campaign-status.ts';
import { lastLines } from '../cluster/log-tail.ts';
import { SchedulerError } from '../cluster/scheduler.ts';
import { engineOfCampaign, type OpenCampaign, looking, openCampaign } from './campaign-parts.ts';
import { wholeNumber } from './flags.ts';

const outFlag = { kind: 'parsed', parse: String, brief: 'the campaign, a run folder' } as const;
const jsonFlag = { kind: 'boolean', brief: 'print JSON', default: false } as const;

const ago = (seconds: number | undefined): string =>
  seconds === undefined ? 'never' : `${duration(Math.max(0, seconds))} ago`;

/** The status for people. */
export function statusText(status: CampaignStatus): string {
  const { history, computed } = status;
  const share = (value: number | undefined): string => (value === undefined ? '-' : `${(100 * value).toFixed(1)} %`);
  const rows: [string, string][] = [
    ['campaign', `${status.name} (${status.id}): ${status.state}${status.stopped ? `, ${status.stopped.why}` : ''}`],
    [
      'step',
      `${status.step}${status.total === null ? '' : ` of ${status.total}`} in a checkpoint, written ${ago(status.checkpointAgeSeconds)}`,
    ],
  ];
  if (computed) {
    const loss = computed.loss === undefined ? '' : `, loss ${computed.loss.toFixed(4)}`;
    rows.push(['computed', `${computed.step}${loss}, ${ago(computed.secondsAgo)}`]);
  }
  if (status.etaSeconds !== undefined) rows.push(['left', duration(status.etaSeconds)]);
  if (status.schedulerAway !== undefined) rows.push(['scheduler', `cannot be asked: ${status.schedulerAway}`]);
  for (const { id, state, reason, nodes } of status.jobs) {
    rows.push([
      `job ${id}`,
      `${state}${nodes.length > 0 ? ` on ${nodes.join(', ')}` : ''}${reason === '' ? '' : ` (${reason})`}`,
    ]);
  }
  for (const { name, state, reason } of status.nodes) {
    if (reason !== '' || !['allocated', 'mixed'].includes(state))
      rows.push([name, `${state}${reason === '' ? '' : `: ${reason}`}`]);
  }
  rows.push([
    'history',
    `${history.links} links, ${history.attempts} starts, ${history.failures} failures of the infrastructure; goodput ${share(history.goodput)}, ${history.lostSteps} steps lost`,
  ]);
  if (status.alerts > 0) rows.push(['alerts', `${status.alerts}, in campaign/alerts.jsonl`]);
  for (const { name, job, nodes, why, verdict, began, ended } of status.links.slice(-5)) {
    const took = began !== undefined && ended !== undefined ? `, ${duration(ended - began)}` : '';
    const blame = verdict ? ` (${verdict.domain}, ${verdict.cause})` : '';
    rows.push([
      `link ${name}`,
      `job ${job ?? '?'}${nodes.length > 0 ? ` on ${nodes.length} nodes` : ''}${took}: ${why}${blame}`,
    ]);
  }
  for (const problem of status.problems) rows.push(['problem', problem]);
  return rows.map(([name, text]) => `${name.padEnd(12)} ${text}\n`).join('');
}

export const status = buildCommand<{ readonly out: string; readonly json: boolean }>({
  docs: {
    brief: 'how a campaign stands',
    fullDescription: `Jobs, nodes and links of a campaign, how far it is, when it saved last, and how much of the time was useful. It works from any
host that sees the folder; where the scheduler cannot be asked it says so and tells the rest.

EXAMPLE
  belay campaign status --out /scratch/me/run1
  belay campaign status --out /scratch/me/run1 --json`,
  },
  parameters: { flags: { out: outFlag, json: jsonFlag } },
  async func({ out, json }) {
    const open = openCampaign(out, looking);
    const engine = await engineOfCampaign(open);
    const found = await campaignStatus({ ...open, progress: engine.progress() });
    process.stdout.write(json ? `${JSON.stringify(found, null, 2)}\n` : statusText(found));
  },
});

export const logs = buildCommand<{ readonly out: string; readonly link?: string; readonly lines: number }>({
  docs: {
    brief: 'what a link and its ranks wrote last',
    fullDescription: `Prints the end of the output of a link (the last one, unless --link names another), and of its last start of the training.

EXAMPLE
  belay campaign logs --out /scratch/me/run1
  belay campaign logs --out /scratch/me/run1 --link 3 --lines 200`,
  },
  parameters: {
    flags: {
      out: outFlag,
      link: { kind: 'parsed', parse: String, brief: 'number of the link', optional: true },
      lines: { kind: 'parsed', parse: wholeNumber(1), brief: 'how many of each', default: '40' },
    },
  },
  func({ out, link, lines }) {
    const { folder } = openCampaign(out);
    const begun = folder.links().filter((name) => existsSync(folder.link(name, 'begin.json')));
    const name = link === undefined ? begun.at(-1) : folder.links().find((each) => Number(each) === Number(link));
    if (name === undefined) {
      throw new UserError(link === undefined ? 'no link has begun yet' : `there is no link ${link}`, {
        expected: folder.links().join(', ') || 'none so far',
      });
    }
    const job = folder.record<{ readonly job: string }>(name, 'job.json')?.job;
    const launch = folder.launches(name).at(-1);
    const paths = [
      ...(job === undefined ? [] : [join(folder.campaign, 'logs', `${job}.log`)]),
      ...(launch === undefined ? [] : [folder.link(name, 'steps', launch, 'log.txt')]),
    ];
    const written = paths.filter((path) => existsSync(path));
    for (const path of written) process.stdout.write(`== ${path}\n${lastLines(path, lines)}\n`);
    if (written.length === 0) {
      const told = paths.length === 0 ? 'its job has not begun' : `there is no ${paths.join(' and no ')}`;
      process.stderr.write(`belay: link ${name} has written nothing yet: ${told}\n`);
    }
  },
});

/** Jobs that run or wait, or why they cannot be known. */
async function livingJobs({ campaign, scheduler }: OpenCampaign) {
  try {
    const all = await scheduler.jobs({ name: CampaignFolder.jobName(campaign) });
    return { jobs: all.filter(({ state }) => state !== 'ended'), away: undefined };
  } catch (error) {
    if (!(error instanceof SchedulerError)) throw error;
    return { jobs: [], away: error.message };
  }
}

export const save = buildCommand<{ readonly out: string }>({
  docs: {
    brief: 'ask a running campaign to save now',
    fullDescription: `The training saves after the step it is in, and goes on.

EXAMPLE
  belay campaign save --out /scratch/me/run1`,
  },
  parameters: { flags: { out: outFlag } },
  async func({ out }) {
    const open = openCampaign(out);
    const { jobs, away } = await livingJobs(open);
    if (away === undefined && !jobs.some(({ state }) => state !== 'pending')) {
      throw new UserError(`no job of the campaign ${open.campaign.name} runs that could save`, {
        next: `belay campaign status --out ${open.folder.dir}`,
      });
    }
    open.folder.request('save');
    terminalLog().line(`asked to save${away === undefined ? '' : `; whether it runs is not known: ${away}`}`);
  },
});

export const stop = buildCommand<{ readonly out: string }>({
  docs: {
    brief: 'save, then end the chain',
    fullDescription: `The training saves and leaves; what waits in the queue is taken back. belay campaign submit lets it go on.

EXAMPLE
  belay campaign stop --out /scratch/me/run1`,
  },
  parameters: { flags: { out: outFlag } },
  async func({ out }) {
    const open = openCampaign(out);
    const { folder, scheduler } = open;
    const { jobs, away } = await livingJobs(open);
    if (away !== undefined) {
      // The controller of a link looks for the request, whether Slurm answers or not; a job that waits finds it when it begins.
      folder.request('stop');
      throw new UserError('the scheduler cannot be asked; what runs was asked to save and leave', {
        found: away,
        next: `belay campaign stop --out ${folder.dir}, when it answers: it takes back what waits`,
      });
    }
    const runs = jobs.some(({ state }) => state !== 'pending');
    const log = terminalLog();
    if (runs) {
      // Its controller takes back what waits.
      folder.request('stop');
      log.line('asked to save and leave');
      return;
    }
    folder.stop({ time: Date.now() / 1000, why: 'a user stopped it before a job ran', by: 'user' });
    for (const { id } of jobs) await scheduler.cancel(id);
    log.line(jobs.length === 0 ? 'nothing runs or waits' : `taken back: ${jobs.map(({ id }) => id).join(', ')}`);
  },
});

export const cancel = buildCommand<{ readonly out: string }>({
  docs: {
    brief: 'end all jobs of a campaign now',
    fullDescription: `Ends what runs without waiting for it to save, and takes back what waits. Steps since the last checkpoint are lost;
belay campaign submit goes on from it.

EXAMPLE
  belay campaign cancel --out /scratch/me/run1`,
  },
  parameters: { flags: { out: outFlag } },
  async func({ out }) {
    const open = openCampaign(out);
    const { folder, scheduler } = open;
    folder.stop({ time: Date.now() / 1000, why: 'a user cancelled it', by: 'user' });
    const { jobs, away } = await livingJobs(open);
    if (away !== undefined) {
      folder.request('stop');
      throw new UserError(
        'no job could be ended: the scheduler cannot be asked; what runs was asked to save and leave',
        {
          found: away,
          next: `belay campaign cancel --out ${folder.dir}, when it answers`,
        },
      );
    }
    // What waits first: it would start when the running one ends.
    for (const state of ['pending', 'running', 'suspended']) {
      for (const job of jobs) if (job.state === state) await scheduler.cancel(job.id);
    }
    terminalLog().line(
      jobs.length === 0 ? 'nothing runs or waits' : `cancelled: ${jobs.map(({ id }) => id).join(', ')}`,
    );
  },
});
