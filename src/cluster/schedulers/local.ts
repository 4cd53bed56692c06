// This machine as a scheduler: real processes as jobs, on a number of pretended nodes, without any Slurm.
//
// For a laptop, a workstation and tests. Jobs wait for free nodes and for each other, have a time limit with a warning,
// and live on when the process that submitted them ends: everything is in a folder, and another belay process sees the
// same jobs. A batch script finds BELAY_JOB_ID, BELAY_JOB_NAME, BELAY_JOB_NODES (with commas), BELAY_JOB_ENDS (Unix seconds)
// and BELAY_LOCAL_SCHEDULER (the folder) in its environment.
//
// Does not: share out CPUs, memory or GPUs, or know partitions, accounts and features: it takes requests that name them as
// if they did not. No arrays, and nothing is put back into the queue.
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, constants, totalmem } from 'node:os';
import {
  type Ability,
  batchScript,
  type ClusterNode,
  type HistoryFilter,
  type Job,
  type JobChanges,
  type JobFilter,
  type JobRequest,
  type Scheduler,
  SchedulerError,
  unsupported,
} from '../scheduler.ts';
import { ensureDaemon, signalName } from './local-daemon.ts';
import { signalJob } from './local-processes.ts';
import { isDependency, LocalQueue, portJob, type QueuedJob } from './local-queue.ts';
import { isAsked } from './slurm-parse.ts';

export interface LocalOptions {
  /** Where everything is kept. */
  readonly folder: string;
  /** Pretended nodes of a new folder. */
  readonly slots?: number;
}

/** The scheduler of a folder of this machine. */
export function localScheduler({ folder, slots = 1 }: LocalOptions): Scheduler {
  if (!existsSync('/proc/self/stat')) {
    throw new SchedulerError(
      'unsupported',
      'the local scheduler finds the processes of jobs in /proc, which only Linux has',
    );
  }
  const queue = new LocalQueue(folder, slots);
  const lacks: ReadonlySet<Ability> = new Set(['requeue', 'arrays']);

  /** All jobs, with the daemon running where one of them needs it. */
  const all = (): QueuedJob[] => {
    const jobs = queue.all();
    if (jobs.some(({ end }) => !end)) ensureDaemon(queue);
    return jobs;
  };
  const jobOf = (id: string): QueuedJob => {
    const job = /^[1-9]\d{0,14}$/.test(id) ? queue.job(Number(id)) : undefined;
    if (!job) throw new SchedulerError('refused', `no such job: ${id}`);
    return job;
  };
  const checkNode = (node: string): void => {
    if (!queue.nodes().includes(node)) throw new SchedulerError('refused', `no such node: ${node}`);
  };
  const told = (filter: JobFilter & HistoryFilter): Job[] => {
    const jobs = all();
    return jobs.map((job) => portJob(job, jobs)).filter((job) => isAsked(job, filter));
  };

  return {
    name: 'local',
    lacks,

    async submit(request: JobRequest): Promise<string> {
      const script = batchScript(request);
      if (request.array !== undefined)
        throw unsupported('the local scheduler', 'arrays', 'submit its elements one by one');
      if (!isDependency(request.dependency ?? '')) {
        throw new SchedulerError(
          'refused',
          `a dependency of singleton, afterany, afterok and afternotok: ${request.dependency}`,
        );
      }
      queue.requireFolder();
      const nodes = queue.nodes().filter((node) => !request.exclude?.includes(node));
      if (request.nodes.min > nodes.length) {
        const some = request.exclude?.length ? ' that are not excluded' : '';
        const what = `at least ${request.nodes.min} nodes are asked for, and this machine pretends ${nodes.length}${some}`;
        throw new SchedulerError('refused', what);
      }
      const id = queue.add(request, script);
      ensureDaemon(queue);
      return `${id}`;
    },

    async jobs(filter: JobFilter = {}): Promise<readonly Job[]> {
      return told(filter);
    },

    async nodes(): Promise<readonly ClusterNode[]> {
      const drained = queue.drained();
      const busy = new Set(all().flatMap(({ begin, end }) => (begin && !end ? begin.nodes : [])));
      return queue.nodes().map((name) => {
        const isDrained = drained.has(name);
        const state = busy.has(name) ? (isDrained ? 'draining' : 'allocated') : isDrained ? 'drained' : 'idle';
        return {
          name,
          state,
          raw: state.toUpperCase(),
          reason: drained.get(name) ?? '',
          cpus: availableParallelism(),
          memoryBytes: totalmem(),
          features: [],
          gres: '',
          partitions: ['local'],
        };
      });
    },

    async cancel(id: string): Promise<void> {
      const { end } = jobOf(id);
      if (end) return;
      queue.cancel(Number(id));
      ensureDaemon(queue);
    },

    async signal(id: string, signal: string, step?: string): Promise<void> {
      const { begin, end } = jobOf(id);
      const name = signalName(signal);
      if (!(name in constants.signals)) throw new SchedulerError('refused', `no signal: ${signal}`);
      if (step !== undefined) throw unsupported('the local scheduler', 'signal', 'the steps of a job are one there');
      if (!begin || end || signalJob(begin, name, false) === 0) {
        throw new SchedulerError('refused', `job ${id} has no step that runs`);
      }
    },

    async update(id: string, changes: JobChanges): Promise<void> {
      const { begin, end } = jobOf(id);
      const isLate =
        end !== undefined || (begin && (changes.nodes || changes.exclude || changes.held || changes.beginSeconds));
      if (isLate) throw new SchedulerError('refused', `job ${id} ${end ? 'has ended' : 'runs'}`);
      queue.change(Number(id), changes);
    },

    async requeue(): Promise<void> {
      throw unsupported('the local scheduler', 'requeue', 'submit the job again');
    },

    async drain(node: string, reason: string): Promise<void> {
      checkNode(node);
      queue.drain(node, reason);
    },

    async resume(node: string): Promise<void> {
      checkNode(node);
      queue.resume(node);
    },

    async history(filter: HistoryFilter): Promise<readonly Job[]> {
      return told(filter).filter(({ state }) => state === 'ended');
    },

    async script(id: string): Promise<string> {
      jobOf(id);
      return readFileSync(queue.path(Number(id), 'script.sh'), 'utf8');
    },
  };
}
