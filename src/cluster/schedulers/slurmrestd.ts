// Slurm through slurmrestd: over its Unix socket as the user who runs it, or over HTTP with a token.
//
// Spoken are the versions of Slurm 20.11 to 22.05 (v0.0.36 to v0.0.38), of which the server's newest is taken. They ignore
// the #SBATCH lines of a script, so the request is sent as fields too. Their names are found by trial where the server's
// own description is wrong: `nodes` is a text although a list is described, which it takes for one node; `requeue: false`
// changes nothing, `no_requeue` does; `exclusive` wants the word `exclusive`; nodes are excluded by `exclude_nodes`, which
// is not described. test/slurm-scheduler.test.ts asks a real one.
//
// Does not: drain or resume nodes, put jobs back or give their scripts, none of which these versions can; send a signal:
// theirs hits the batch script too. Ask slurmdbd: the past is what the controller remembers.
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
import { checkJobId, environmentForJobs, isUnknownJob, mayBeTaken } from './caller.ts';
import { CallError, callHttp, type HttpAnswer } from './http-call.ts';
import { type Patience, patiently, usualPatience } from './retry.ts';
import { errorIn, isAsked, numberIn, parseJobs, parseNodesJson } from './slurm-parse.ts';

export interface SlurmrestdOptions extends Partial<Patience> {
  /** `unix:/run/slurmrestd.sock` or `http://host:6820`. */
  readonly address: string;
  /** Who asks; with a token only. */
  readonly user?: string;
  /** Token of auth/jwt, asked for with each call, since tokens expire. */
  readonly token?: () => string | Promise<string>;
  /** Added to the environment of jobs. */
  readonly env?: Readonly<Record<string, string>>;
}

const spoken = ['v0.0.38', 'v0.0.37', 'v0.0.36'];
const submitSeconds = 10;
const name = 'slurmrestd';

/** Slurm behind a slurmrestd. */
export function slurmrestd(options: SlurmrestdOptions): Scheduler {
  const { address, user, token, env = {}, timeoutSeconds, attempts } = { ...usualPatience, ...options };
  const socketPath = address.startsWith('unix:') ? address.slice('unix:'.length) : undefined;
  const base = socketPath === undefined ? address : 'http://localhost';
  const lacks: ReadonlySet<Ability> = new Set(['drain', 'resume', 'requeue', 'signal', 'script']);

  const call = async (method: string, path: string, body?: unknown, seconds = timeoutSeconds): Promise<HttpAnswer> => {
    const headers = {
      ...(user === undefined ? {} : { 'X-SLURM-USER-NAME': user }),
      ...(token === undefined ? {} : { 'X-SLURM-USER-TOKEN': await token() }),
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    };
    const answer = await callHttp({
      url: new URL(path, base),
      method,
      headers,
      timeoutSeconds: seconds,
      ...(socketPath === undefined ? {} : { socketPath }),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (answer.status === 401 || answer.status === 403) {
      throw new SchedulerError('refused', `slurmrestd does not know who asks: ${answer.text.trim()}`);
    }
    return answer;
  };

  /** The answer's text; an error where it tells of one. */
  const checked = ({ status, text }: HttpAnswer): string => {
    const error = errorIn(text);
    // What cannot be parsed is refused with 400, under numbers that otherwise mean the way to the controller.
    if (status === 400) throw new SchedulerError('refused', error?.message ?? text);
    if (error) throw error;
    if (status !== 200) throw new SchedulerError(status >= 500 ? 'unreachable' : 'refused', `HTTP ${status}: ${text}`);
    return text;
  };

  let version: Promise<string> | undefined;
  const endpoint = async (path: string): Promise<string> => {
    version ??= patiently(attempts, async () => newestSpoken(checked(await call('GET', '/openapi/v3'))));
    try {
      return `/slurm/${await version}/${path}`;
    } catch (error) {
      version = undefined;
      throw error;
    }
  };
  const ask = async <T>(method: string, path: string, read: (text: string) => T, body?: unknown): Promise<T> => {
    const at = await endpoint(path);
    return await patiently(attempts, async () => read(checked(await call(method, at, body))));
  };

  const scheduler: Scheduler = {
    name,
    lacks,

    async submit(request: JobRequest): Promise<string> {
      const body = { job: jobFields(request, { ...environmentForJobs(), ...env }), script: batchScript(request) };
      const at = await endpoint('job/submit');
      return await patiently(attempts, async () => {
        try {
          const id = numberIn(checked(await call('POST', at, body, submitSeconds)), 'job_id');
          if (id === undefined || id === 0)
            throw new SchedulerError('malformed', 'slurmrestd took a job without an id');
          return `${id}`;
        } catch (error) {
          if (!(error instanceof SchedulerError && error.retryable)) throw error;
          const wasSent = error instanceof CallError ? error.wasSent : !/connect failure/.test(error.message);
          throw wasSent ? mayBeTaken(request.name, error.message) : error;
        }
      });
    },

    async jobs(filter: JobFilter = {}): Promise<readonly Job[]> {
      const { ids } = filter;
      if (ids?.length === 0) return [];
      const path = ids?.length === 1 ? `job/${(ids[0] as string).split('_')[0]}` : 'jobs';
      if (ids) for (const id of ids) checkJobId(id);
      try {
        return (await ask('GET', path, parseJobs)).filter((job) => isAsked(job, filter));
      } catch (error) {
        if (isUnknownJob(error)) return [];
        throw error;
      }
    },

    async nodes(): Promise<readonly ClusterNode[]> {
      return await ask('GET', 'nodes', parseNodesJson);
    },

    async cancel(id: string): Promise<void> {
      checkJobId(id);
      try {
        await ask('DELETE', `job/${id}`, String);
      } catch (error) {
        // Ended and forgotten.
        if (!isUnknownJob(error)) throw error;
      }
    },

    async signal(): Promise<void> {
      throw unsupported(name, 'signal', 'its signals hit the batch script too; use scancel --signal');
    },

    async update(id: string, { nodes, timeSeconds, exclude, held, beginSeconds }: JobChanges): Promise<void> {
      checkJobId(id);
      await ask('POST', `job/${id}`, String, {
        ...(nodes ? { nodes: `${nodes.min}-${nodes.max}` } : {}),
        ...(timeSeconds === undefined ? {} : { time_limit: Math.ceil(timeSeconds / 60) }),
        ...(exclude ? { exclude_nodes: exclude.join(',') } : {}),
        ...(held === undefined ? {} : { hold: held }),
        ...(beginSeconds === undefined ? {} : { begin_time: `now+${Math.ceil(beginSeconds)}` }),
      });
    },

    async requeue(): Promise<void> {
      throw unsupported(name, 'requeue', 'use scontrol requeue');
    },

    async drain(): Promise<void> {
      throw unsupported(name, 'drain', 'use scontrol update');
    },

    async resume(): Promise<void> {
      throw unsupported(name, 'resume', 'use scontrol update');
    },

    async history(filter: HistoryFilter): Promise<readonly Job[]> {
      const { ids } = filter;
      const jobs = await scheduler.jobs(ids ? { ids } : {});
      return jobs.filter((job) => job.state === 'ended' && isAsked(job, filter));
    },

    async script(): Promise<string> {
      throw unsupported(name, 'script', 'use scontrol write batch_script');
    },
  };
  return scheduler;
}

/** The newest version that both sides speak, from the server's OpenAPI document. */
function newestSpoken(text: string): string {
  let paths: string[];
  try {
    paths = Object.keys((JSON.parse(text) as { readonly paths: object }).paths);
  } catch (cause) {
    throw new SchedulerError('malformed', 'slurmrestd describes itself by something else than OpenAPI', { cause });
  }
  const offered = paths.flatMap((path) => /^\/slurm\/(v[\d.]+)\/job\/submit\/?$/.exec(path)?.[1] ?? []);
  const version = spoken.find((one) => offered.includes(one));
  if (version !== undefined) return version;
  const found = offered.length === 0 ? 'no version' : offered.sort().join(', ');
  throw new SchedulerError(
    'unsupported',
    `slurmrestd offers ${found}; spoken here are ${spoken.join(', ')}: use the Slurm commands`,
  );
}

/** A request as the fields of v0.0.36 to v0.0.38. */
function jobFields(request: JobRequest, environment: Readonly<Record<string, string>>): Record<string, unknown> {
  const { nodes, warning, exclude = [] } = request;
  const all: Record<string, unknown> = {
    name: request.name,
    nodes: nodes.min === nodes.max ? `${nodes.min}` : `${nodes.min}-${nodes.max}`,
    tasks_per_node: request.tasksPerNode,
    cpus_per_task: request.cpusPerTask,
    gpus_per_node: request.gpusPerNode === undefined ? undefined : `${request.gpusPerNode}`,
    time_limit: Math.ceil(request.timeSeconds / 60),
    partition: request.partition,
    account: request.account,
    reservation: request.reservation,
    constraints: request.constraint,
    exclude_nodes: exclude.length > 0 ? exclude.join(',') : undefined,
    dependency: request.dependency,
    signal: warning && `${warning.signal}@${warning.seconds}`,
    standard_output: request.output,
    current_working_directory: request.directory,
    array: request.array,
    comment: request.comment,
    exclusive: request.exclusive ? 'exclusive' : undefined,
    no_requeue: true,
    environment,
  };
  for (const option of request.extra ?? []) Object.assign(all, extraField(option));
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** A further option of sbatch as a field. Those that are not known here are refused, since they would be lost. */
function extraField(option: string): object {
  if (option === '--mem=0') return { memory_per_node: 0 };
  const [, mode] = /^--open-mode=(append|truncate)$/.exec(option) ?? [];
  if (mode !== undefined) return { open_mode: mode };
  throw new SchedulerError('unsupported', `slurmrestd is not told the option ${option}: use the Slurm commands`);
}
