// The job of one link of a campaign as a site wants it: nodes and their shape, time, features, the warning.
//
// Does not: know which engine trains, submit, or name the dependency on other links of the chain.
import type { JobRequest } from './scheduler.ts';
import { checkJob, partitionOf, type Site } from './site.ts';

export interface LinkJob {
  readonly name: string;
  /** Nodes that train, and how many more are held to take the place of those that fail. */
  readonly nodes: number;
  readonly spares: number;
  readonly timeSeconds: number;
  /** Name in the profile; its default one where it is not given. */
  readonly partition?: string;
  readonly account?: string;
  readonly reservation?: string;
  readonly exclude?: readonly string[];
  /** Lines of the script. */
  readonly body: string;
  readonly output: string;
  readonly directory: string;
}

/** The request of a link. A UserError where the partition would refuse it. */
export function linkRequest(site: Site, job: LinkJob): JobRequest {
  const { nodes, spares, partition: name, timeSeconds, account, reservation, exclude } = job;
  const all = nodes + spares;
  checkJob(site, { ...(name === undefined ? {} : { partition: name }), nodes: all, timeSeconds });
  const partition = partitionOf(site, name);
  const { gpus, tasksPerNode, cpusPerTask, memoryMegabytes } = site.node;
  const { constraint, warningSignal, warningSeconds } = site.slurm;
  return {
    name: job.name,
    body: job.body,
    // Exactly so many: of `-N4-6` with tasks per node Slurm gives 4, since it counts tasks from the smaller number.
    nodes: { min: all, max: all },
    tasksPerNode,
    ...(cpusPerTask === null ? {} : { cpusPerTask }),
    ...(gpus === 0 ? {} : { gpusPerNode: gpus }),
    timeSeconds,
    ...(partition.slurmName === null ? {} : { partition: partition.slurmName }),
    ...(account === undefined ? {} : { account }),
    ...(reservation === undefined ? {} : { reservation }),
    ...(constraint === null ? {} : { constraint }),
    ...(exclude === undefined || exclude.length === 0 ? {} : { exclude }),
    exclusive: partition.exclusive,
    dependency: 'singleton',
    warning: { signal: warningSignal, seconds: warningSeconds },
    output: job.output,
    directory: job.directory,
    ...(memoryMegabytes === null ? {} : { extra: [`--mem=${memoryMegabytes}`] }),
  };
}
