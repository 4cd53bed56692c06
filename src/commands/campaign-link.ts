// `belay campaign link`: what the job of a link runs on its first node.
//
// Does not: decide; cluster/link.ts does.
import { join } from 'node:path';
import { buildCommand } from '@stricli/core';
import { type Log, terminalLog } from '../base/progress.ts';
import { askThroughSlurm } from '../cluster/health/ask-node.ts';
import { Watcher } from '../cluster/health/watcher.ts';
import { Webhook } from '../cluster/health/webhook.ts';
import { localSteps, slurmSteps } from '../cluster/job-steps.ts';
import { runLink } from '../cluster/link.ts';
import { keepWatch } from '../cluster/sentinel.ts';
import { vetNodes } from '../cluster/vetting/vet-nodes.ts';
import { engineOfCampaign, lastComputedStep, openCampaign, ownJob, trainingEventsSince } from './campaign-parts.ts';

/** Where alerts are posted to; undefined where the spec names no variable, or it is not set here. */
function webhookOf(variable: string | null, log: Log): Webhook | undefined {
  if (variable === null) return undefined;
  const url = process.env[variable];
  if (url) return new Webhook({ url });
  log.line(`alerts are not posted: ${variable} is not set in the job`);
  return undefined;
}

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
    const log = terminalLog();
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
      log,
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
                signal: ending.signal,
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
  },
});
