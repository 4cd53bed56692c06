// The job of a link as every link of a campaign submits it: the same bytes each time.
//
// The script sets the environment and hands over to the controller (link.ts) on the first node; all that differs between
// links is found out there. Nodes are asked for from `min` to `max + spares`; tasks are not, because of `-N2-4` with tasks
// per node Slurm gives two, and a job with fewer nodes than it could have takes each of them whole.
//
// Does not: submit.
import { join } from 'node:path/posix';
import { CampaignFolder, type CampaignFile } from './campaign-folder.ts';
import { linkShape } from './campaign-spec.ts';
import type { JobRequest } from './scheduler.ts';
import { partitionOf, type Site } from './site.ts';

/** A word as sh reads it unchanged. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The request of any link. A UserError where the site would refuse it. */
export function linkRequest(campaign: CampaignFile, site: Site, folder: CampaignFolder): JobRequest {
  const { spec } = campaign;
  const shape = linkShape(spec, site);
  const most = spec.nodes.max + spec.spares;
  const isFixed = spec.nodes.min === most;
  const partition = partitionOf(site, spec.partition ?? undefined);
  const { gpus, cpusPerTask, memoryMegabytes } = site.node;
  const { constraint } = site.slurm;
  const lines = [
    `# A link of the campaign ${spec.name}: docs/cluster.md. The same for all of its links.`,
    ...shape.environment.map(([name, value]) => `export ${name}=${shellWord(value)}`),
    `exec ${[...campaign.belay, 'campaign', 'link', '--out', folder.dir].map(shellWord).join(' ')}`,
  ];
  return {
    name: CampaignFolder.jobName(campaign),
    body: `${lines.join('\n')}\n`,
    nodes: { min: spec.nodes.min, max: most },
    ...(isFixed ? { tasksPerNode: shape.tasksPerNode } : {}),
    ...(isFixed && cpusPerTask !== null ? { cpusPerTask } : {}),
    ...(gpus === 0 ? {} : { gpusPerNode: gpus }),
    timeSeconds: shape.timeSeconds,
    ...(partition.slurmName === null ? {} : { partition: partition.slurmName }),
    ...(spec.account === null ? {} : { account: spec.account }),
    ...(spec.reservation === null ? {} : { reservation: spec.reservation }),
    ...(constraint === null ? {} : { constraint }),
    exclusive: partition.exclusive || !isFixed,
    dependency: 'singleton',
    warning: { signal: shape.warningSignal, seconds: shape.warningSeconds },
    // sbatch reads a percent sign in the folder's own name as a field, too.
    output: join(folder.campaign.replaceAll('%', '%%'), 'logs', '%j.log'),
    directory: folder.dir,
    extra: [
      // A job outlives a node that dies: what is left of it trains on at once.
      '--no-kill',
      ...(memoryMegabytes === null ? [] : [`--mem=${memoryMegabytes}`]),
      ...spec.sbatch,
    ],
  };
}
