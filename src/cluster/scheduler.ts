// The port to a scheduler: what a job, its request and a node are, and what every transport of schedulers/ can be asked.
//
// A transport may lack abilities (slurmrestd 22.05 cannot drain a node): it says so in `lacks`, and such a call rejects
// with a SchedulerError of kind `unsupported`. The batch script of a request is made here once, so that every transport
// submits the same bytes for the same request.
//
// Does not: talk to any scheduler, decide what to submit, or know what runs inside a job.
import { UserError } from '../base/errors.ts';

/** A job that is completing counts as running: its nodes are not free yet. */
export type JobState = 'pending' | 'running' | 'suspended' | 'ended';

/** How a job ended, as the scheduler tells it. */
export type Outcome =
  | 'completed'
  | 'failed'
  | 'cancelled'
  | 'time-limit'
  | 'node-failure'
  | 'out-of-memory'
  | 'preempted'
  | 'boot-failure'
  | 'unknown';

/** What is wanted of the scheduler: the resources and the script. */
export interface JobRequest {
  readonly name: string;
  /** Lines of the batch script after those for the scheduler. */
  readonly body: string;
  readonly nodes: { readonly min: number; readonly max: number };
  readonly tasksPerNode?: number;
  readonly cpusPerTask?: number;
  readonly gpusPerNode?: number;
  readonly timeSeconds: number;
  readonly partition?: string;
  readonly account?: string;
  readonly reservation?: string;
  /** Features that nodes must have. */
  readonly constraint?: string;
  /** Nodes that are not wanted. */
  readonly exclude?: readonly string[];
  readonly exclusive?: boolean;
  /** `singleton`, `afterany:12`. */
  readonly dependency?: string;
  /** A signal to the job's steps (not to the batch script) so many seconds before the time limit; it may come a minute early. */
  readonly warning?: { readonly signal: string; readonly seconds: number };
  /** File of the batch script's output; %j, %x, %A and %a as sbatch has them. */
  readonly output: string;
  /** The script's working folder. */
  readonly directory: string;
  /** `0-9`, `0-99%8`. */
  readonly array?: string;
  readonly comment?: string;
  /** Further options of sbatch, each whole: `--mem=0`. */
  readonly extra?: readonly string[];
}

/** A job as the scheduler tells it. Times are Unix seconds. */
export interface Job {
  readonly id: string;
  readonly name: string;
  readonly user: string;
  readonly state: JobState;
  /** Of an ended job. */
  readonly outcome?: Outcome;
  /** The scheduler's own word for the state. */
  readonly raw: string;
  /** Why it waits or ended so, in the scheduler's words; empty where it says nothing. */
  readonly reason: string;
  /** Nodes it has or had. */
  readonly nodes: readonly string[];
  readonly submitted?: number;
  readonly began?: number;
  /** When its time is up. */
  readonly ends?: number;
  readonly ended?: number;
  readonly exitCode?: number;
  /** Number of the signal that ended it. */
  readonly signal?: number;
  readonly comment?: string;
  readonly restarts?: number;
  /** Of an ended job whose nodes measure it; never an estimate, and absent rather than 0. */
  readonly energyJoules?: number;
}

export type NodeState = 'idle' | 'allocated' | 'mixed' | 'down' | 'draining' | 'drained' | 'reserved' | 'unknown';

/** A node as the scheduler tells it. */
export interface ClusterNode {
  readonly name: string;
  readonly state: NodeState;
  /** The scheduler's own word for the state. */
  readonly raw: string;
  /** Why it is drained or down; empty where nobody said. */
  readonly reason: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly features: readonly string[];
  /** Generic resources as configured: `gpu:gh200:4`. */
  readonly gres: string;
  readonly partitions: readonly string[];
}

export type Ability =
  | 'submit'
  | 'jobs'
  | 'nodes'
  | 'cancel'
  | 'signal'
  | 'update'
  | 'requeue'
  | 'drain'
  | 'resume'
  | 'history'
  | 'arrays'
  | 'script';

/** Which jobs to tell; all conditions hold. */
export interface JobFilter {
  readonly ids?: readonly string[];
  readonly name?: string;
  readonly user?: string;
}

/** Which jobs of the past to tell. */
export interface HistoryFilter {
  readonly ids?: readonly string[];
  readonly name?: string;
  /** Jobs that ended at this Unix second or later. */
  readonly since?: number;
}

/** What can be changed about a job: nodes, exclusions, hold and beginning of a pending one, and time. */
export interface JobChanges {
  readonly nodes?: { readonly min: number; readonly max: number };
  readonly timeSeconds?: number;
  readonly exclude?: readonly string[];
  readonly held?: boolean;
  /** The job begins no earlier than so many seconds from now. */
  readonly beginSeconds?: number;
}

/** One scheduler through one transport. Every call ends within seconds: with an answer or with a SchedulerError. */
export interface Scheduler {
  readonly name: string;
  readonly lacks: ReadonlySet<Ability>;
  /** Submits a job; returns its id. A retry never submits twice: what may have been taken is not sent again. */
  submit(request: JobRequest): Promise<string>;
  /** Queued jobs and, as long as the scheduler remembers them, ended ones. Ids it does not know are left out. */
  jobs(filter?: JobFilter): Promise<readonly Job[]>;
  nodes(): Promise<readonly ClusterNode[]>;
  /** Ends a job; one that has ended already is left as it is. */
  cancel(id: string): Promise<void>;
  /** Sends a signal (`USR2`) to all steps of a job, or to one. */
  signal(id: string, signal: string, step?: string): Promise<void>;
  /** Changes a job. Slurm may take another number of nodes and keep the old one where the number of tasks is given. */
  update(id: string, changes: JobChanges): Promise<void>;
  requeue(id: string): Promise<void>;
  /** Takes a node out of use once its jobs are over. */
  drain(node: string, reason: string): Promise<void>;
  resume(node: string): Promise<void>;
  /** Ended jobs: from accounting, else from the file of completed jobs, else what the scheduler still remembers. */
  history(filter: HistoryFilter): Promise<readonly Job[]>;
  /** The batch script of a job as the scheduler keeps it. */
  script(id: string): Promise<string>;
}

export type SchedulerErrorKind = 'unreachable' | 'timeout' | 'refused' | 'malformed' | 'unsupported';

/** Why a call to a scheduler failed. `retryable`: the same call may succeed a moment later. */
export class SchedulerError extends UserError {
  readonly kind: SchedulerErrorKind;
  readonly retryable: boolean;

  constructor(kind: SchedulerErrorKind, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = 'SchedulerError';
    this.kind = kind;
    this.retryable = options.retryable ?? (kind === 'unreachable' || kind === 'timeout');
  }
}

/** The error of a call that a transport cannot make. */
export function unsupported(scheduler: string, ability: Ability, instead: string): SchedulerError {
  return new SchedulerError('unsupported', `${scheduler} has no ${ability}: ${instead}`);
}

/** Seconds as Slurm's D-HH:MM:SS. */
export function slurmTime(seconds: number): string {
  const whole = Math.ceil(seconds);
  const two = (n: number): string => `${n}`.padStart(2, '0');
  const clock = `${two(Math.floor(whole / 3600) % 24)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  const days = Math.floor(whole / 86400);
  return days > 0 ? `${days}-${clock}` : clock;
}

/** A value of an #SBATCH line, quoted where sbatch would split it or take it for a comment. */
function quoted(value: string): string {
  return /^[\w@%+=:,./[\]()&|*~^-]*$/.test(value) ? value : `"${value.replace(/["\\]/g, '\\$&')}"`;
}

/** Options of sbatch for a request, in a fixed order, values unquoted. */
export function sbatchOptions(request: JobRequest): readonly (readonly [name: string, value?: string])[] {
  const { nodes, warning } = request;
  const all: readonly (readonly [string, string | number | undefined])[] = [
    ['job-name', request.name],
    ['nodes', nodes.min === nodes.max ? nodes.min : `${nodes.min}-${nodes.max}`],
    ['ntasks-per-node', request.tasksPerNode],
    ['cpus-per-task', request.cpusPerTask],
    ['gpus-per-node', request.gpusPerNode],
    ['time', slurmTime(request.timeSeconds)],
    ['partition', request.partition],
    ['account', request.account],
    ['reservation', request.reservation],
    ['constraint', request.constraint],
    ['exclude', request.exclude && request.exclude.length > 0 ? request.exclude.join(',') : undefined],
    ['dependency', request.dependency],
    ['signal', warning && `${warning.signal}@${warning.seconds}`],
    ['output', request.output],
    ['chdir', request.directory],
    ['array', request.array],
    ['comment', request.comment],
  ];
  const extra = (request.extra ?? []).map((option): readonly [string, string?] => {
    const equals = option.indexOf('=');
    return equals < 0 ? [option.slice(2)] : [option.slice(2, equals), option.slice(equals + 1)];
  });
  return [
    ...all.flatMap(([name, value]) => (value === undefined ? [] : [[name, `${value}`] as const])),
    ...(request.exclusive ? [['exclusive'] as const] : []),
    ['no-requeue'] as const,
    ...extra,
  ];
}

/**
 * The batch script of a request: the same request gives the same bytes. A job is never put back into the queue by the
 * scheduler: a campaign goes on in a new one, and after a dead node a requeued job of Slurm 22.05 may not start again.
 */
export function batchScript(request: JobRequest): string {
  checkRequest(request);
  const options = sbatchOptions(request).map(([name, value]) =>
    value === undefined ? `#SBATCH --${name}` : `#SBATCH --${name}=${quoted(value)}`,
  );
  return `${['#!/bin/bash', ...options, request.body].join('\n')}${request.body.endsWith('\n') ? '' : '\n'}`;
}

/** Refuses what no scheduler could take, before it is asked. */
export function checkRequest(request: JobRequest): void {
  const wrong = (what: string, found: unknown, expected: string): never => {
    throw new UserError(`a job cannot be submitted: ${what}`, { found: JSON.stringify(found), expected });
  };
  const texts = sbatchOptions(request).flat();
  for (const text of texts) {
    // A line break would begin a line of the script, and what else stands below a space no scheduler keeps.
    for (let at = 0; at < (text as string).length; at++) {
      if ((text as string).charCodeAt(at) < 32) wrong('a value holds a control character', text, 'text on one line');
    }
  }
  const counts: readonly (readonly [string, number | undefined])[] = [
    ['nodes.min', request.nodes.min],
    ['nodes.max', request.nodes.max],
    ['tasksPerNode', request.tasksPerNode],
    ['cpusPerTask', request.cpusPerTask],
    ['gpusPerNode', request.gpusPerNode],
    ['warning.seconds', request.warning?.seconds],
  ];
  for (const [name, count] of counts)
    if (count !== undefined && (!Number.isSafeInteger(count) || count < 1))
      wrong(name, count, 'a whole number above 0');
  if (request.nodes.max < request.nodes.min) wrong('nodes', request.nodes, 'max not below min');
  if (!(request.timeSeconds > 0 && Number.isFinite(request.timeSeconds)))
    wrong('timeSeconds', request.timeSeconds, 'a number above 0');
  if (request.name === '' || request.name.includes('/')) wrong('name', request.name, 'a name without slashes');
  for (const option of request.extra ?? [])
    if (!/^--[a-z][a-z-]*(=|$)/.test(option)) wrong('extra', option, 'whole options of sbatch: --mem=0');
}
