// `belay campaign link`: what the job of a link runs on its first node.
//
// Does not: decide; cluster/link.ts does.
import { join } from 'node:path';
import { buildCommand } from '@stricli/core';
import { terminalLog } from '../base/progress.ts';
import { localSteps, slurmSteps } from '../cluster/job-steps.ts';
import { runLink } from '../cluster/link.ts';
import { keepWatch } from '../cluster/sentinel.ts';
import { vetNodes } from '../cluster/vetting/vet-nodes.ts';
import { engineOfCampaign, lastComputedStep, openCampaign, ownJob, trainingEventsSince } from './campaign-parts.ts';

export const sentinel = buildCommand<{ readonly out: string; readonly link: string; readonly job: string }>({
  docs: {
    brief: 'watches the controller of a link; not for people',
    fullDescription: `The controller of a link starts it on other nodes of the job.

EXAMPLE
  belay campaign sentinel --out out/mine --link 0001 --job 12`,
  },
  parameters: {
    flags: {
      out: { kind: 'parsed', parse: String, brief: 'the campaign, a run folder' },
      link: { kind: 'parsed', parse: String, brief: 'name of the link' },
      job: { kind: 'parsed', parse: String, brief: 'id of its job' },
    },
  },
  async func({ out, link: name, job }) {
    const { folder, campaign, scheduler } = openCampaign(out);
    const ending = new AbortController();
    process.on('SIGTERM', () => ending.abort());
    // Meant for the ranks.
    process.on('SIGUSR2', () => undefined);
    const { silenceSeconds } = campaign.spec;
    await keepWatch({ folder, link: name, job, scheduler, silenceSeconds, signal: ending.signal });
  },
});

export const link = buildCommand<{ readonly out: string }>({
  docs: {
    brief: 'what a job of a campaign runs; not for people',
    fullDescription: `The controller of a link. The batch script of a campaign starts it on the first node of the job.

EXAMPLE
  belay campaign link --out out/mine`,
  },
  parameters: { flags: { out: { kind: 'parsed', parse: String, brief: 'the campaign, a run folder' } } },
  async func({ out }) {
    const open = openCampaign(out);
    const { folder, campaign, site, scheduler } = open;
    const job = ownJob();
    const isSlurm = campaign.scheduler === 'slurm';
    const steps = isSlurm ? slurmSteps() : localSteps();
    const ending = new AbortController();
    process.on('SIGTERM', () => ending.abort());
    // Meant for the ranks; the scheduler may send it to everything.
    process.on('SIGUSR2', () => undefined);
    const { vet: settings } = campaign.spec;
    await runLink({
      ...{ folder, campaign, site, scheduler, steps, job, signal: ending.signal },
      engine: await engineOfCampaign(open),
      log: terminalLog(),
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
                ],
                belay: campaign.belay,
                nodes,
                history: join(folder.campaign, 'nodes.jsonl'),
                out: folder.link(name, 'vet'),
                settings,
                link: name,
                signal: ending.signal,
              }),
          }),
      lastStep: () => lastComputedStep(folder),
      eventsSince: (time) => trainingEventsSince(folder, time),
    });
  },
});
