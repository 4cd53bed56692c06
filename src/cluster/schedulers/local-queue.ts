// The folder of the local scheduler: its jobs as files, read and written by any belay process of this machine.
//
//   FOLDER/slots.json            {slots}: how many pretended nodes there are, said by who made the folder
//   FOLDER/daemon.lock           held by the process that starts and ends jobs (local-daemon.ts); its errors are in daemon.log
//   FOLDER/drained/NODE          a node that is out of use, with the reason
//   FOLDER/jobs/12/request.json  written by submit, with script.sh and environment.json; the folder appears whole
//   FOLDER/jobs/12/changes.json  by update; cancel, an empty file, by cancel
//   FOLDER/jobs/12/begin.json    by the daemon; exit, the code of the batch script, by the shell around it; end.json by the daemon
//
// Only the daemon writes begin.json and end.json. So the order of jobs, their nodes and their ends have one writer.
//
// Does not: start or end processes of jobs.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomic, writeJsonAtomic, writeJsonShared } from '../../base/atomic.ts';
import { errorText } from '../../base/json.ts';
import { beginOf } from '../../base/lock.ts';
import type { Job, JobChanges, JobRequest, Outcome } from '../scheduler.ts';
import { SchedulerError } from '../scheduler.ts';

/** What a job asked for, with what was changed since. */
export interface QueuedRequest {
  readonly name: string;
  readonly user: string;
  readonly submitted: number;
  readonly nodes: { readonly min: number; readonly max: number };
  readonly timeSeconds: number;
  readonly exclude: readonly string[];
  readonly dependency: string;
  readonly warning?: JobRequest['warning'];
  readonly output: string;
  readonly append: boolean;
  readonly directory: string;
  readonly comment?: string;
  readonly held: boolean;
  /** Unix seconds before which it does not begin. */
  readonly notBefore?: number;
}

export interface JobBegin {
  readonly time: number;
  readonly nodes: readonly string[];
  /** First process of the job's session: the shell around the batch script. */
  readonly pid: number;
  /** When that began (lock.ts), so that another process of this number is not mistaken for it. */
  readonly began: string;
}

export interface JobEnd {
  readonly time: number;
  readonly outcome: Outcome;
  readonly exitCode: number;
  readonly signal: number;
  readonly reason: string;
}

/** A job as its files say. */
export interface QueuedJob {
  readonly id: number;
  readonly request: QueuedRequest;
  readonly begin: JobBegin | undefined;
  readonly end: JobEnd | undefined;
  readonly isCancelled: boolean;
}

export class LocalQueue {
  readonly folder: string;
  /** Ended jobs, which do not change any more. */
  readonly #ended = new Map<number, QueuedJob>();
  /** Why the folder could not be made: then there are no jobs, and none can be added. */
  readonly #unmade: unknown;

  /** The folder's queue; `slots` pretended nodes where it is new. Who only asks needs no folder that can be written. */
  constructor(folder: string, slots?: number) {
    this.folder = folder;
    try {
      mkdirSync(join(folder, 'jobs'), { recursive: true, mode: 0o700 });
      mkdirSync(join(folder, 'drained'), { recursive: true });
      const path = join(folder, 'slots.json');
      if (slots !== undefined && !existsSync(path)) writeJsonShared(path, { slots });
    } catch (error) {
      this.#unmade = error;
    }
  }

  /** Refuses where no jobs can be kept. */
  requireFolder(): void {
    if (this.#unmade === undefined) return;
    const why = `the local scheduler cannot keep jobs in ${this.folder} (${errorText(this.#unmade)}): name another folder with BELAY_LOCAL_SCHEDULER`;
    throw new SchedulerError('refused', why, { cause: this.#unmade });
  }

  #list(name: string): string[] {
    try {
      return readdirSync(join(this.folder, name));
    } catch (error) {
      if (this.#isAbsent(error)) return [];
      throw this.#away(error);
    }
  }

  /** Whether an error says that something is not there, in a folder that may never have been made. */
  #isAbsent(error: unknown): boolean {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || (code === 'ENOTDIR' && this.#unmade !== undefined);
  }

  /** Jobs may be there that cannot be seen: that is not the same as none. */
  #away(cause: unknown): SchedulerError {
    const why = `the jobs of the local scheduler in ${this.folder} cannot be read (${errorText(cause)})`;
    return new SchedulerError('unreachable', why, { cause });
  }

  get lock(): string {
    return join(this.folder, 'daemon.lock');
  }

  /** What the daemon says when it fails. */
  get daemonLog(): string {
    return join(this.folder, 'daemon.log');
  }

  /** Names of the pretended nodes. */
  nodes(): string[] {
    const { slots = 1 } = this.#read<{ slots: number }>(join(this.folder, 'slots.json')) ?? {};
    return Array.from({ length: slots }, (_, i) => `local${i + 1}`);
  }

  /** Reasons of nodes that are out of use. */
  drained(): Map<string, string> {
    return new Map(
      this.#list('drained').map((name) => [name, readFileSync(join(this.folder, 'drained', name), 'utf8')]),
    );
  }

  drain(node: string, reason: string): void {
    this.requireFolder();
    writeFileSync(join(this.folder, 'drained', node), reason);
  }

  resume(node: string): void {
    rmSync(join(this.folder, 'drained', node), { force: true });
  }

  path(id: number, name = ''): string {
    return join(this.folder, 'jobs', `${id}`, name);
  }

  /** Adds a job; returns its number, one above all before. */
  add(request: JobRequest, script: string): number {
    this.requireFolder();
    const aside = join(this.folder, `new-${randomBytes(6).toString('hex')}`);
    mkdirSync(aside, { mode: 0o700 });
    const { warning, comment } = request;
    const queued: QueuedRequest = {
      name: request.name,
      user: userInfo().username,
      submitted: now(),
      nodes: request.nodes,
      timeSeconds: request.timeSeconds,
      exclude: request.exclude ?? [],
      dependency: request.dependency ?? '',
      output: request.output,
      append: request.extra?.includes('--open-mode=append') ?? false,
      directory: request.directory,
      held: false,
      ...(warning === undefined ? {} : { warning }),
      ...(comment === undefined ? {} : { comment }),
    };
    writeFileAtomic(join(aside, 'script.sh'), script);
    writeJsonAtomic(join(aside, 'environment.json'), process.env);
    writeJsonAtomic(join(aside, 'request.json'), queued);
    for (let id = (this.ids().at(-1) ?? 0) + 1; ; id++) {
      try {
        renameSync(aside, this.path(id));
        return id;
      } catch (error) {
        // Another process was faster with this number.
        if (!['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      }
    }
  }

  ids(): number[] {
    return this.#list('jobs')
      .map(Number)
      .sort((a, b) => a - b);
  }

  job(id: number): QueuedJob | undefined {
    const known = this.#ended.get(id);
    if (known) return known;
    const request = this.#read<QueuedRequest>(this.path(id, 'request.json'));
    if (!request) return undefined;
    // In this order: an end that appears meanwhile must not stand without its begin.
    const end = this.#read<JobEnd>(this.path(id, 'end.json'));
    const begin = this.#read<JobBegin>(this.path(id, 'begin.json'));
    const changes = this.#read<JobChanges>(this.path(id, 'changes.json'));
    const isCancelled = existsSync(this.path(id, 'cancel'));
    const job: QueuedJob = { id, request: { ...request, ...changes }, begin, end, isCancelled };
    if (end) this.#ended.set(id, job);
    return job;
  }

  all(): QueuedJob[] {
    return this.ids().flatMap((id) => this.job(id) ?? []);
  }

  change(id: number, changes: JobChanges): void {
    const path = this.path(id, 'changes.json');
    const { beginSeconds, ...rest } = changes;
    const notBefore = beginSeconds === undefined ? {} : { notBefore: Date.now() / 1000 + beginSeconds };
    writeJsonAtomic(path, { ...this.#read<JobChanges>(path), ...rest, ...notBefore });
  }

  cancel(id: number): void {
    writeFileSync(this.path(id, 'cancel'), '');
  }

  /** Code of the batch script, as its shell wrote it, and when; undefined while it runs. */
  exit(id: number): { readonly code: number; readonly time: number } | undefined {
    const path = this.path(id, 'exit');
    try {
      return { code: Number(readFileSync(path, 'utf8')), time: statSync(path).mtimeMs / 1000 };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Whether the process that starts jobs is there. */
  hasDaemon(): boolean {
    const holder = this.#read<{ pid: number; began: string }>(this.lock);
    return holder !== undefined && beginOf(holder.pid) === holder.began;
  }

  #read<T>(path: string): T | undefined {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if (this.#isAbsent(error)) return undefined;
      throw this.#away(error);
    }
    try {
      return JSON.parse(text) as T;
    } catch (cause) {
      // A lock is not written in one piece; all else is.
      if (path === this.lock) return undefined;
      throw new SchedulerError('malformed', `${path} is not JSON`, { cause });
    }
  }
}

/** Why a job cannot begin yet, in Slurm's words; undefined where nothing but nodes may be missing. */
export function waitsFor(job: QueuedJob, all: readonly QueuedJob[]): string | undefined {
  if (job.request.held) return 'JobHeldUser';
  if ((job.request.notBefore ?? 0) > Date.now() / 1000) return 'BeginTime';
  for (const part of job.request.dependency.split(',').filter((text) => text !== '')) {
    if (part === 'singleton') {
      const isBefore = (other: QueuedJob): boolean =>
        other.id < job.id && other.request.name === job.request.name && other.end === undefined;
      if (all.some(isBefore)) return 'Dependency';
      continue;
    }
    const [kind = '', ...ids] = part.split(':');
    for (const id of ids) {
      const other = all.find((one) => one.id === Number(id));
      if (other && !other.end) return 'Dependency';
      const isGood = other?.end?.outcome === 'completed';
      // A job that nobody knows has ended long ago.
      if ((kind === 'afterok' && other && !isGood) || (kind === 'afternotok' && isGood))
        return 'DependencyNeverSatisfied';
    }
  }
  return undefined;
}

/** Whether the local scheduler understands a dependency. */
export function isDependency(text: string): boolean {
  return text === '' || /^(singleton|after(any|ok|notok)(:\d+)+)(,(singleton|after(any|ok|notok)(:\d+)+))*$/.test(text);
}

/** A job as the port tells it. */
export function portJob(job: QueuedJob, all: readonly QueuedJob[]): Job {
  const { id, request, begin, end } = job;
  const state = end ? 'ended' : begin ? 'running' : 'pending';
  return {
    id: `${id}`,
    name: request.name,
    user: request.user,
    state,
    raw: end ? end.outcome.toUpperCase() : state.toUpperCase(),
    reason: end?.reason ?? (begin ? '' : (waitsFor(job, all) ?? 'Resources')),
    nodes: begin?.nodes ?? [],
    submitted: request.submitted,
    restarts: 0,
    ...(begin ? { began: begin.time } : {}),
    ...(begin && !end ? { ends: begin.time + request.timeSeconds } : {}),
    ...(end ? { outcome: end.outcome, ended: end.time, exitCode: end.exitCode } : {}),
    ...(end && end.signal > 0 ? { signal: end.signal } : {}),
    ...(request.comment === undefined ? {} : { comment: request.comment }),
  };
}

export const now = (): number => Date.now() / 1000;
