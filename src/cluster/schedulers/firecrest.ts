// Slurm behind FirecREST v2, the web API of CSCS: for machines from which no Slurm command reaches the cluster.
//
// Written after the OpenAPI of FirecREST 2.5 (github.com/eth-cscs/firecrest-v2) and the answers that the tests of
// pyfirecrest keep; tried only against a small server of ours that follows them (test/firecrest-server.ts), not against
// CSCS. A token is got with the client's credentials and kept until shortly before it expires. The script is sent whole and
// FirecREST gives it to sbatch, so its #SBATCH lines count.
//
// Does not: signal, change, requeue or hold jobs and drain nodes, none of which the API offers; tell memory, generic
// resources or reasons of nodes, when a job was submitted or its comment, which the API leaves out; move files: it reads ends
// of text files, for the output of jobs.
import {
  type Ability,
  batchScript,
  type ClusterNode,
  type HistoryFilter,
  type Job,
  type JobFilter,
  type JobRequest,
  type Scheduler,
  SchedulerError,
  unsupported,
} from '../scheduler.ts';
import { checkJobId, mayBeTaken } from './caller.ts';
import { parseFirecrestJobs, parseFirecrestNodes, readAnswer } from './firecrest-parse.ts';
import { CallError, callHttp, type HttpAnswer } from './http-call.ts';
import { type Patience, patiently, usualPatience } from './retry.ts';
import { isAsked } from './slurm-parse.ts';

export interface FirecrestOptions extends Partial<Patience> {
  /** Root of the API: `https://api.cscs.ch/ml/firecrest/v2`. */
  readonly url: string;
  /** Where tokens come from: `https://auth.cscs.ch/auth/realms/firecrest-clients/protocol/openid-connect/token`. */
  readonly tokenUrl: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** `clariden`. */
  readonly system: string;
}

/** What FirecREST offers besides the port. */
export interface Firecrest extends Scheduler {
  /** Whether the system's scheduler and file systems answer, and what is said of those that do not. */
  health(): Promise<{ readonly healthy: boolean; readonly message: string }>;
  /** The last bytes of a text file on the system. */
  tail(path: string, bytes: number): Promise<string>;
}

interface Token {
  readonly text: string;
  /** When it is not used any more, ms since 1970. */
  readonly until: number;
}

/** Seconds of validity that a token must have left. */
const tokenSeconds = 10;
/** Each call starts a command on the system through ssh. */
const callSeconds = 15;
const name = 'firecrest';

/** A system behind FirecREST. */
export function firecrest(options: FirecrestOptions): Firecrest {
  const { url, tokenUrl, clientId, clientSecret, system, attempts, timeoutSeconds } = {
    ...usualPatience,
    timeoutSeconds: callSeconds,
    ...options,
  };
  const lacks: ReadonlySet<Ability> = new Set(['signal', 'update', 'requeue', 'drain', 'resume']);
  const at = encodeURIComponent(system);

  const newToken = async (): Promise<Token> => {
    const answer = await callHttp({
      url: new URL(tokenUrl),
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: `${new URLSearchParams({ grant_type: 'client_credentials', client_id: clientId, client_secret: clientSecret })}`,
      timeoutSeconds,
    });
    const fields = answer.status === 200 ? readAnswer(answer.text) : {};
    const { access_token: text, expires_in: seconds } = fields;
    if (typeof text !== 'string') {
      const kind = answer.status >= 500 ? 'unreachable' : 'refused';
      throw new SchedulerError(kind, `no token from ${tokenUrl}: HTTP ${answer.status}: ${saidBy(answer)}`);
    }
    return { text, until: Date.now() + ((typeof seconds === 'number' ? seconds : 60) - tokenSeconds) * 1000 };
  };
  // Calls at the same time wait for the same one.
  let token: Promise<Token> | undefined;
  const validToken = async (): Promise<string> => {
    if (token && (await token).until < Date.now()) token = undefined;
    token ??= newToken().catch((error: unknown) => {
      token = undefined;
      throw error;
    });
    return (await token).text;
  };

  const once = async (method: string, path: string, body?: unknown): Promise<HttpAnswer> => {
    for (let isAgain = false; ; isAgain = true) {
      const bearer = await validToken();
      const answer = await callHttp({
        url: new URL(`${url.replace(/\/$/, '')}/${path}`),
        method,
        headers: {
          Authorization: `Bearer ${bearer}`,
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        },
        timeoutSeconds,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      if (answer.status < 300) return answer;
      // A token may have been withdrawn. Nothing was done with it.
      if (answer.status !== 401 || isAgain) throw refusal(`${method} ${path}`, answer);
      token = undefined;
    }
  };
  const ask = async <T>(method: string, path: string, read: (text: string) => T): Promise<T> =>
    await patiently(attempts, async () => read((await once(method, path)).text));
  /** As `ask`; undefined where there is no such thing. */
  const find = async <T>(method: string, path: string, read: (text: string) => T): Promise<T | undefined> => {
    try {
      return await ask(method, path, read);
    } catch (error) {
      if (error instanceof SchedulerError && error.cause === 404) return undefined;
      throw error;
    }
  };

  const scheduler: Firecrest = {
    name,
    lacks,

    async submit(request: JobRequest): Promise<string> {
      const job = { name: request.name, workingDirectory: request.directory, script: batchScript(request) };
      return await patiently(attempts, async () => {
        // So that what follows is only the submission itself.
        await validToken();
        let answer: HttpAnswer;
        try {
          answer = await once('POST', `compute/${at}/jobs`, { job });
        } catch (error) {
          if (!(error instanceof SchedulerError && error.retryable)) throw error;
          const wasSent = error instanceof CallError ? error.wasSent : !/connect failure/.test(error.message);
          throw wasSent ? mayBeTaken(request.name, error.message) : error;
        }
        const { jobId } = readAnswer(answer.text);
        if (typeof jobId !== 'string' && typeof jobId !== 'number') {
          throw new SchedulerError('malformed', `FirecREST took a job without an id: ${answer.text.slice(0, 200)}`);
        }
        return `${jobId}`;
      });
    },

    async jobs(filter: JobFilter = {}): Promise<readonly Job[]> {
      const { ids, user } = filter;
      if (ids) for (const id of ids) checkJobId(id);
      const read = async (query: string): Promise<readonly Job[]> =>
        (await find('GET', `compute/${at}/jobs${query}`, parseFirecrestJobs)) ?? [];
      const found =
        ids && ids.length <= 8
          ? // Elements of arrays cannot be asked for alone.
            (await Promise.all(ids.map((id) => read(`/${id.split('_')[0]}`)))).flat()
          : await read(`?allusers=${user !== undefined}`);
      const once = new Map(found.map((job) => [job.id, job]));
      return [...once.values()].filter((job) => isAsked(job, filter));
    },

    async nodes(): Promise<readonly ClusterNode[]> {
      return await ask('GET', `status/${at}/nodes`, parseFirecrestNodes);
    },

    async cancel(id: string): Promise<void> {
      checkJobId(id);
      if (id.includes('_')) throw unsupported(name, 'arrays', 'an array can only be cancelled as a whole');
      await find('DELETE', `compute/${at}/jobs/${id}`, String);
    },

    async signal(): Promise<void> {
      throw unsupported(name, 'signal', 'use the trigger files of the campaign');
    },

    async update(): Promise<void> {
      throw unsupported(name, 'update', 'cancel the job and submit another');
    },

    async requeue(): Promise<void> {
      throw unsupported(name, 'requeue', 'submit the job again');
    },

    async drain(): Promise<void> {
      throw unsupported(name, 'drain', 'tell the site');
    },

    async resume(): Promise<void> {
      throw unsupported(name, 'resume', 'tell the site');
    },

    async history(filter: HistoryFilter): Promise<readonly Job[]> {
      const { ids, since } = filter;
      const past = (jobs: readonly Job[]): readonly Job[] =>
        jobs.filter((job) => job.state === 'ended' && isAsked(job, filter));
      if (ids) return past(await scheduler.jobs({ ids }));
      return past(await ask('GET', `compute/${at}/jobs?time_window=${timeWindow(since)}`, parseFirecrestJobs));
    },

    async script(id: string): Promise<string> {
      checkJobId(id);
      const answer = await ask('GET', `compute/${at}/jobs/${id}/metadata`, readAnswer);
      const [job] = (Array.isArray(answer['jobs']) ? answer['jobs'] : []) as ({ readonly script?: unknown } | null)[];
      if (typeof job?.script === 'string') return job.script;
      throw new SchedulerError('refused', `FirecREST has no script of job ${id}`);
    },

    async health(): Promise<{ readonly healthy: boolean; readonly message: string }> {
      const answer = await ask('GET', 'status/systems', readAnswer);
      const systems = (Array.isArray(answer['systems']) ? answer['systems'] : []) as (Record<string, unknown> | null)[];
      const found = systems.find((one) => one?.['name'] === system);
      if (!found) {
        const names = systems.map((one) => one?.['name']).join(', ');
        throw new SchedulerError('refused', `FirecREST knows no system ${system}, but ${names}`);
      }
      // Up to 2.1 one check per system, later one per service.
      const checks = [found['servicesHealth'] ?? found['health'] ?? []].flat() as (Record<string, unknown> | null)[];
      const ill = checks.filter((check) => check?.['healthy'] === false);
      const message = ill.map(
        (check) => `${check?.['serviceType'] ?? 'system'}: ${check?.['message'] ?? 'not healthy'}`,
      );
      return { healthy: ill.length === 0, message: message.join('; ') };
    },

    async tail(path: string, bytes: number): Promise<string> {
      const query = new URLSearchParams({ path, bytes: `${bytes}` });
      const { output } = await ask('GET', `filesystem/${at}/ops/tail?${query}`, readAnswer);
      const content = (output as { readonly content?: unknown } | null | undefined)?.content;
      if (typeof content === 'string') return content;
      throw new SchedulerError('malformed', `FirecREST gave no content of ${path}`);
    },
  };
  return scheduler;
}

/** The smallest window of the API that reaches back to a time; the widest where none is given. */
function timeWindow(since: number | undefined): string {
  const hours = since === undefined ? Number.POSITIVE_INFINITY : (Date.now() / 1000 - since) / 3600;
  const windows = { 1: '1h', 8: '8h', 24: '24h', 72: '3d' };
  for (const [most, word] of Object.entries(windows)) if (hours <= Number(most)) return word;
  return '7d';
}

/** What an answer that is not a success says. */
function saidBy({ text }: HttpAnswer): string {
  try {
    const { message, detail, error_description: description } = readAnswer(text);
    const said = message ?? detail ?? description;
    if (typeof said === 'string') return said;
  } catch {
    // A gateway's page.
  }
  return text.slice(0, 200);
}

/** The error that an answer is; its cause is the HTTP status. */
function refusal(call: string, answer: HttpAnswer): SchedulerError {
  const { status } = answer;
  const said = saidBy(answer);
  const message = `FirecREST, ${call}: HTTP ${status}: ${said}`;
  const isAway = /Unable to contact|connect failure|timed? ?out|Socket/i.test(said);
  // sbatch that says no comes as a failure of the server.
  const isSlurmsNo = /std_err:/.test(said) && !isAway;
  if (status === 429) return new SchedulerError('refused', message, { retryable: true, cause: status });
  if (status === 408 || status === 504) return new SchedulerError('timeout', message, { cause: status });
  const isOurs = status < 500 && status !== 424;
  return new SchedulerError(isOurs || isSlurmsNo ? 'refused' : 'unreachable', message, { cause: status });
}
