// `belay campaign link` and `sentinel`: what the job of a link runs on its first node, and on others in case that one dies.
//
// Does not: decide; cluster/link.ts does.
import { appendFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { buildCommand, numberParser } from '@stricli/core';
import { type Log, silentLog, terminalLog } from '../base/progress.ts';
import type { TakeoverFile } from '../cluster/campaign-folder.ts';
import { askThroughSlurm } from '../cluster/health/ask-node.ts';
import { Watcher } from '../cluster/health/watcher.ts';
import { Webhook } from '../cluster/health/webhook.ts';
import { localSteps, slurmSteps } from '../cluster/job-steps.ts';
import { runLink } from '../cluster/link.ts';
import type { Scheduler } from '../cluster/scheduler.ts';
import { expandNodes } from '../cluster/schedulers/slurm-parse.ts';
import { keepWatch } from '../cluster/sentinel.ts';
import { vetNodes } from '../cluster/vetting/vet-nodes.ts';
import {
  engineOfCampaign,
  lastComputedStep,
  type OpenCampaign,
  openCampaign,
  ownJob,
  trainingEventsSince,
} from './campaign-parts.ts';

/** Where alerts are posted to; undefined where the spec names no variable, or it is not set here. */
function webhookOf(variable: string | null, log: Log): Webhook | undefined {
  if (variable === null) return undefined;
  const url = process.env[variable];
  if (url) return new Webhook({ url });
  log.line(`alerts are not posted: ${variable} is not set in the job`);
  return undefined;
}

interface SentinelFlags {
  readonly out: string;
  readonly link: string;
  readonly job: string;
  readonly place: number;
}

export const sentinel = buildCommand<SentinelFlags>({
  docs: {
    brief: 'watches the controller of a link, and takes over from it; not for people',
    fullDescription: `The controller of a link starts it on other nodes of the job.

EXAMPLE
  belay campaign sentinel --out out/mine --link 0001 --job 12`,
  },
  parameters: {
    flags: {
      out: { kind: 'parsed', parse: String, brief: 'the campaign, a run folder' },
      link: { kind: 'parsed', parse: String, brief: 'name of the link' },
      job: { kind: 'parsed', parse: String, brief: 'id of its job' },
      place: { kind: 'parsed', parse: numberParser, brief: 'how many take over before it', default: '0' },
    },
  },
  async func({ out, link: name, job, place }) {
    const open = openCampaign(out);
    const { folder, campaign, scheduler } = open;
    const own = processOfJob();
    const { signal, host } = own;
    const { silenceSeconds } = campaign.spec;
    const takeover = await keepWatch({ folder, link: name, scheduler, host, silenceSeconds, place, signal });
    if (!takeover) return;
    // What Slurm says of this step is no concern of those that it starts.
    for (const variable of Object.keys(process.env)) if (isOfStep.test(variable)) delete process.env[variable];
    try {
      await control(open, own, takeover);
    } finally {
      // The batch script that would end the job is gone with its node.
      await endJob(scheduler, job, signal);
    }
  },
});

const isOfStep =
  /^SLURM_(STEP.*|NNODES|NTASKS.*|NPROCS|NODELIST|TASKS_PER_NODE|PROCID|LOCALID|NODEID|GTIDS|TASK_PID|LAUNCH_.*|SRUN_.*|CPU_BIND.*|MEM_BIND.*|DISTRIBUTION|TOPOLOGY.*)$/;

/** Asks until the scheduler has heard it. */
async function endJob(scheduler: Scheduler, job: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await scheduler.cancel(job);
      return;
    } catch {
      await wait(2000);
    }
  }
}

interface ProcessOfJob {
  readonly signal: AbortSignal;
  readonly host: string;
}

/** What the scheduler does to this process, and where it runs. */
function processOfJob(): ProcessOfJob {
  const ending = new AbortController();
  process.on('SIGTERM', () => ending.abort());
  // Meant for the ranks; the scheduler may send it to everything.
  process.on('SIGUSR2', () => undefined);
  return { signal: ending.signal, host: process.env['SLURMD_NODENAME'] ?? hostname() };
}

export const link = buildCommand<{ readonly out: string }>({
  docs: {
    brief: 'what a job of a campaign runs; not for people',
    fullDescription: `The controller of a link. The batch script of a campaign starts it on the first node of the job.

EXAMPLE
  belay campaign link --out out/mine`,
  },
  parameters: { flags: { out: { kind: 'parsed', parse: String, brief: 'the campaign, a run folder' } } },
  async func({ out }) {
    await control(openCampaign(out), processOfJob());
  },
});

/** For a process whose output went through an srun that is gone with its node: nobody reads it, and it could fill up. */
function fileLog(path: string): Log {
  return {
    ...silentLog,
    line(text) {
      try {
        appendFileSync(path, `${text}\n`);
      } catch {
        // A full disk. The events of the link say the same.
      }
    },
  };
}

/** Nodes of the job that this process runs in, as the scheduler wrote them into its environment. */
function allocatedNodes(): string[] {
  return expandNodes(process.env['BELAY_JOB_NODES'] ?? process.env['SLURM_JOB_NODELIST'] ?? '');
}

/** Decides for a link until it is over. */
async function control(open: OpenCampaign, { signal, host }: ProcessOfJob, takeover?: TakeoverFile): Promise<void> {
  const { folder, campaign, site, scheduler } = open;
  const job = ownJob();
  const log = takeover ? fileLog(join(folder.campaign, 'logs', `${job}.log`)) : terminalLog();
  const isSlurm = campaign.scheduler === 'slurm';
  const steps = isSlurm ? slurmSteps() : localSteps();
  const { vet: settings } = campaign.spec;
  await runLink({
    ...{ folder, campaign, site, scheduler, steps, job, signal, host, allocated: allocatedNodes() },
    engine: await engineOfCampaign(open),
    log,
    ...(takeover ? { takeover } : {}),
    ...(settings === null || !isSlurm
      ? {}
      : {
          vet: async (nodes: readonly string[], name: string) =>
            await vetNodes({
              srun: [
                'srun',
                '--overlap',
                `--nodes=${nodes.length}`,
                `--ntasks=${nodes.length}`,
                '--ntasks-per-node=1',
                '--wait=30',
              ],
              belay: campaign.belay,
              nodes,
              history: join(folder.campaign, 'nodes.jsonl'),
              out: folder.link(name, 'vet'),
              settings,
              link: name,
              signal,
            }),
        }),
    watch: ({ link: name }) => {
      const webhook = webhookOf(campaign.spec.webhookVariable, log);
      const watcher = new Watcher({
        ...{ dir: folder.dir, link: name },
        ...(isSlurm ? { probe: askThroughSlurm(job) } : {}),
        ...(webhook ? { webhook } : {}),
      });
      let hang: { readonly node?: string; readonly line: string } | undefined;
      return {
        async tick() {
          for (const { kind, state, text, node } of watcher.tick()) {
            log.line(`${state === 'firing' ? 'alert' : 'over'}: ${text}`);
            if (kind === 'hang')
              hang = state === 'firing' ? { line: text, ...(node === undefined ? {} : { node }) } : undefined;
          }
        },
        get stepsTaken() {
          return watcher.stepsTaken;
        },
        get hang() {
          return hang;
        },
        end: async () => void (await watcher.close()),
      };
    },
    lastStep: () => lastComputedStep(folder),
    eventsSince: (time) => trainingEventsSince(folder, time),
  });
}
