// A small server that follows FirecREST v2 (its OpenAPI of version 2.5) as far as firecrest.ts uses it, over any scheduler.
//
// Does not: know users: one client, one system called `local`. It takes #SBATCH lines as batchScript writes them.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Job, type JobRequest, type Scheduler, SchedulerError } from '../src/cluster/scheduler.ts';

/** What the server counted, and what it does wrong on purpose. */
export interface FirecrestServer {
  readonly url: string;
  readonly tokenUrl: string;
  /** Tokens that were given out. */
  tokens: number;
  /** Answers so many of the next calls with 503. */
  away: number;
  /** Takes no token that was given out before. */
  withdraw(): void;
  close(): Promise<void>;
}

export const client = { clientId: 'belay', clientSecret: 'a secret' };

export async function startFirecrest(scheduler: Scheduler, tokenSeconds = 300): Promise<FirecrestServer> {
  const valid = new Set<string>();
  const state = { tokens: 0, away: 0 };
  const server: Server = createServer((request, response) => {
    void answer(request).then(([status, body]) => {
      const text = typeof body === 'string' ? body : JSON.stringify(body);
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(status === 204 ? undefined : text);
    });
  });

  const answer = async (request: IncomingMessage): Promise<[number, unknown]> => {
    const url = new URL(request.url ?? '/', 'http://local');
    const body = await textOf(request);
    if (url.pathname === '/token') {
      const form = new URLSearchParams(body);
      const isKnown = form.get('client_id') === client.clientId && form.get('client_secret') === client.clientSecret;
      if (!isKnown || form.get('grant_type') !== 'client_credentials') {
        return [401, { error: 'unauthorized_client', error_description: 'Invalid client or credentials' }];
      }
      const token = `token-${++state.tokens}`;
      valid.add(token);
      return [200, { access_token: token, expires_in: tokenSeconds, token_type: 'Bearer' }];
    }
    const [, bearer = ''] = (request.headers.authorization ?? '').split('Bearer ');
    if (!valid.has(bearer)) return [401, failure('Invalid token')];
    if (state.away > 0) {
      state.away--;
      return [503, '<html>Service Unavailable</html>'];
    }
    try {
      return await route(request.method ?? 'GET', url, body);
    } catch (error) {
      const isSlurms = error instanceof SchedulerError;
      const said = isSlurms ? `exit_status:1 std_err:sbatch: error: ${error.message}` : `${error}`;
      return [500, failure(`Unexpected Slurm command response. ${said}`)];
    }
  };

  const route = async (method: string, url: URL, body: string): Promise<[number, unknown]> => {
    const [, first, second, third, id, last] = url.pathname.split('/');
    const query = url.searchParams;
    if (first === 'status' && second === 'systems') {
      const services = [
        { serviceType: 'scheduler', healthy: true, message: null },
        { serviceType: 'filesystem', healthy: false, message: 'no such folder', path: '/scratch' },
      ];
      return [200, { systems: [{ name: 'local', scheduler: { type: 'slurm' }, servicesHealth: services }] }];
    }
    if (second !== 'local') return [404, failure(`System not found: ${second}`)];
    if (first === 'status' && third === 'nodes') {
      const nodes = await scheduler.nodes();
      return [
        200,
        { nodes: nodes.map((node) => ({ name: node.name, cpus: node.cpus, state: [node.raw], features: null })) },
      ];
    }
    if (first === 'filesystem' && id === 'tail') {
      const content = tail(query.get('path') ?? '', Number(query.get('bytes')));
      if (content === undefined) return [404, failure('File not found')];
      return [200, { output: { content, contentType: 'bytes', startPosition: -1, endPosition: -1 } }];
    }
    if (first !== 'compute' || third !== 'jobs') return [404, failure('Not Found')];
    if (id !== undefined && !/^[a-zA-Z0-9]+$/.test(id)) return [422, failure('String should match pattern')];
    if (method === 'POST') {
      const { job } = JSON.parse(body) as { job: { workingDirectory?: string; script?: string; name?: string } };
      if (!job.workingDirectory || !job.script) return [422, failure('Field required')];
      return [201, { jobId: await scheduler.submit(requestOf(job.script)) }];
    }
    if (method === 'DELETE') {
      const [job] = await scheduler.jobs({ ids: [id as string] });
      if (!job) return [404, failure('Job not found')];
      await scheduler.cancel(job.id);
      return [204, ''];
    }
    const jobs = await scheduler.jobs(id === undefined ? {} : { ids: [id] });
    if (id === undefined) return [200, { jobs: jobs.length === 0 ? null : jobs.map(jobModel) }];
    if (jobs.length === 0) return [404, failure('Job not found.')];
    if (last === 'metadata') return [200, { jobs: [{ jobId: id, script: await scheduler.script(id) }] }];
    return [200, { jobs: jobs.map(jobModel) }];
  };

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const root = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: root,
    tokenUrl: `${root}/token`,
    get tokens() {
      return state.tokens;
    },
    set tokens(count) {
      state.tokens = count;
    },
    get away() {
      return state.away;
    },
    set away(count) {
      state.away = count;
    },
    withdraw: () => valid.clear(),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const failure = (message: string): object => ({ errorType: 'error', message, data: null, user: 'alps' });

/** Slurm's words for how a job ended. */
const words: Readonly<Record<string, string>> = {
  completed: 'COMPLETED',
  failed: 'FAILED',
  cancelled: 'CANCELLED by 1000',
  'time-limit': 'TIMEOUT',
  'node-failure': 'NODE_FAIL',
};

function jobModel(job: Job): object {
  return {
    jobId: job.id,
    name: job.name,
    status: {
      state: job.outcome === undefined ? job.raw : words[job.outcome],
      stateReason: job.reason || 'None',
      exitCode: job.exitCode ?? 0,
      interruptSignal: job.signal ?? 0,
    },
    tasks: null,
    time: { elapsed: 0, start: job.began ?? null, end: job.ended ?? null, suspended: 0, limit: 60 },
    account: null,
    allocationNodes: job.nodes.length,
    cluster: 'local',
    nodes: job.nodes.join(',') || 'None assigned',
    partition: 'local',
    user: job.user,
    workingDirectory: '/',
    priority: 1,
  };
}

/** What the #SBATCH lines of a script ask for. */
function requestOf(script: string): JobRequest {
  const lines = [...script.matchAll(/^#SBATCH --([a-z-]+)(?:=(.*))?$/gm)];
  const values = new Map(
    lines.map(([, name = '', value = '']) => {
      const plain = value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value;
      return [name, plain];
    }),
  );
  const of = (name: string): string => values.get(name) ?? '';
  const [min = '1', max = min] = of('nodes').split('-');
  const [hours = 0, minutes = 0, seconds = 0] = of('time').split(':').map(Number);
  const [, signal, early] = /^(\w+)@(\d+)$/.exec(of('signal')) ?? [];
  return {
    name: of('job-name'),
    body: script.slice(script.lastIndexOf('#SBATCH --no-requeue\n') + '#SBATCH --no-requeue\n'.length),
    nodes: { min: Number(min), max: Number(max) },
    timeSeconds: hours * 3600 + minutes * 60 + seconds,
    output: of('output'),
    directory: of('chdir'),
    ...(values.has('exclude') ? { exclude: of('exclude').split(',') } : {}),
    ...(values.has('dependency') ? { dependency: of('dependency') } : {}),
    ...(values.has('comment') ? { comment: of('comment') } : {}),
    ...(values.has('array') ? { array: of('array') } : {}),
    ...(signal === undefined ? {} : { warning: { signal, seconds: Number(early) } }),
  };
}

function tail(path: string, bytes: number): string | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return undefined;
  }
  const { size } = fstatSync(file);
  const from = Math.max(0, size - bytes);
  const buffer = Buffer.alloc(size - from);
  readSync(file, buffer, 0, buffer.length, from);
  closeSync(file);
  return buffer.toString('utf8');
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const part of request.setEncoding('utf8')) text += part;
  return text;
}
