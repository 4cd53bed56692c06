// The transports to Slurm against a real one: what each promises, a controller that is away, nodes that die.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { JobRequest, SchedulerError } from '../src/cluster/scheduler.ts';
import { firecrest } from '../src/cluster/schedulers/firecrest.ts';
import { slurmCli } from '../src/cluster/schedulers/slurm-cli.ts';
import { slurmrestd, type SlurmrestdOptions } from '../src/cluster/schedulers/slurmrestd.ts';
import { client, startFirecrest } from './firecrest-server.ts';
import { rejects, schedulerContract, until, waitFor } from './scheduler-contract.ts';
import { Cluster, whyNoNamespaces, whyNoSlurm, whyNot } from './slurm/cluster.ts';

const required = process.env['BELAY_REQUIRE_SLURM'] === '1';
const missing = whyNoSlurm() ?? whyNot({ rest: true });
const skip = required ? false : (missing ?? false);
const notApart = missing === undefined ? whyNoNamespaces() : undefined;
const needsSlurm = { skip, timeout: 120_000 };
const needsNodes = {
  skip: skip || (notApart !== undefined && `no network namespaces here, so all nodes are on 127.0.0.1: ${notApart}`),
  timeout: 120_000,
};

const scratch = mkdtempSync(join(tmpdir(), 'belay-scheduler-'));
const shared = join(scratch, 'shared');
let cluster: Cluster;
let token: string;

before(async () => {
  if (skip) return;
  assert.equal(missing, undefined);
  chmodSync(scratch, 0o755);
  cluster = await Cluster.start(join(scratch, 'slurm'), 3, notApart === undefined, { rest: true, gpus: 2 });
  token = (await cluster.run('scontrol', 'token')).replace(/^SLURM_JWT=/, '');
});
after(async () => {
  await cluster?.close();
  rmSync(scratch, { recursive: true, force: true });
});

const cli = (): ReturnType<typeof slurmCli> => slurmCli({ prefix: cluster.prefix, env: cluster.env });
const work = (change: Partial<JobRequest> = {}): JobRequest => ({
  name: 'work',
  body: 'srun sleep 300',
  nodes: { min: 1, max: 1 },
  timeSeconds: 600,
  output: '/dev/null',
  directory: scratch,
  ...change,
});

schedulerContract(
  'commands',
  () => ({
    scheduler: cli(),
    directory: join(shared, 'cli'),
    step: 'srun -n1',
    refused: { partition: 'nowhere' },
  }),
  { skip },
);

const rest = (options: Partial<SlurmrestdOptions> = {}): ReturnType<typeof slurmrestd> =>
  slurmrestd({
    address: `unix:${cluster.restSocket}`,
    user: userInfo().username,
    token: () => token,
    env: cluster.env,
    ...options,
  });

schedulerContract(
  'slurmrestd',
  () => ({
    scheduler: rest(),
    directory: join(shared, 'rest'),
    step: 'srun -n1',
    refused: { partition: 'nowhere' },
  }),
  { skip },
);

test('slurmrestd: every field of a request is taken as it stands, and its changes', needsSlurm, async () => {
  const scheduler = rest();
  const id = await scheduler.submit(
    work({
      nodes: { min: 2, max: 3 },
      tasksPerNode: 2,
      cpusPerTask: 2,
      gpusPerNode: 2,
      partition: 'all',
      constraint: 'gh200',
      exclude: ['n2'],
      exclusive: true,
      comment: 'say "when" at 100 $ # \\ end',
      dependency: 'afterany:1',
      extra: ['--mem=0', '--open-mode=truncate'],
    }),
  );
  const shown = async (): Promise<string> => `${await cluster.run('scontrol', 'show', '-o', 'job', id)} `;
  const has = (text: string, ...fields: string[]): void => {
    for (const field of fields) assert.ok(text.includes(` ${field} `), `${field}:\n${text}`);
  };
  has(await shown(), 'CPUs/Task=2', 'TimeLimit=00:10:00', 'ExcNodeList=n2', 'Features=gh200', 'MinMemoryNode=0');
  has(await shown(), 'OverSubscribe=NO', 'Requeue=0', 'TresPerNode=gres:gpu:2', 'Comment=say "when" at 100 $ # \\ end');
  await scheduler.update(id, { held: true, timeSeconds: 1200, nodes: { min: 1, max: 2 }, exclude: [] });
  has(await shown(), 'Priority=0', 'TimeLimit=00:20:00', 'ExcNodeList=(null)');
  await scheduler.cancel(id);
  await rejects(scheduler.submit(work({ extra: ['--begin=now+600'] })), 'unsupported');
});

test('slurmrestd: over HTTP with a token; without one nothing is told', needsSlurm, async () => {
  // The server's network is its host's own, so what a TCP port would be is led to its socket.
  const door = createServer((near) => {
    const far = connect(cluster.restSocket);
    near.on('error', () => far.destroy()).pipe(far);
    far.on('error', () => near.destroy()).pipe(near);
  });
  await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${(door.address() as AddressInfo).port}`;
  try {
    assert.equal((await rest({ address }).nodes()).length, 3);
    await rejects(slurmrestd({ address }).nodes(), 'refused');
  } finally {
    door.close();
  }
  await rejects(rest({ address, attempts: 2 }).nodes(), 'unreachable');
  await rejects(rest({ address: `unix:${join(scratch, 'no-socket')}`, attempts: 2 }).jobs(), 'unreachable');
});

test('slurmrestd: a server that hangs, talks nonsense or is too new', needsSlurm, async () => {
  const answers: readonly (readonly [answer: string | undefined, kind: SchedulerError['kind']])[] = [
    [undefined, 'timeout'],
    ['<html>', 'malformed'],
    ['{}', 'malformed'],
    ['{"paths": {"/slurm/v0.0.42/job/submit": {}}}', 'unsupported'],
  ];
  for (const [answer, kind] of answers) {
    const server = createHttpServer((_, response) => {
      if (answer !== undefined) response.end(answer);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await rejects(rest({ address, timeoutSeconds: 0.3, attempts: 2 }).jobs(), kind);
    server.closeAllConnections();
    server.close();
  }
});

test('FirecREST: an array of a real Slurm behind our small server', needsSlurm, async () => {
  const server = await startFirecrest(cli());
  const scheduler = firecrest({ url: server.url, tokenUrl: server.tokenUrl, system: 'local', ...client });
  const id = await scheduler.submit(work({ name: 'array', body: 'exit $SLURM_ARRAY_TASK_ID', array: '0-2' }));
  const ended = await waitFor(async () => {
    const all = await scheduler.jobs({ ids: [id] });
    return all.length === 3 && all.every((job) => job.state === 'ended') ? all : undefined;
  });
  assert.deepEqual(ended.map((job) => [job.id, job.exitCode]).sort(), [
    [`${id}_0`, 0],
    [`${id}_1`, 1],
    [`${id}_2`, 2],
  ]);
  await rejects(scheduler.cancel(`${id}_1`), 'unsupported');
  await server.close();
});

test('commands: every option of a request is taken as it stands', needsSlurm, async () => {
  const scheduler = cli();
  const id = await scheduler.submit(
    work({
      nodes: { min: 2, max: 2 },
      tasksPerNode: 2,
      cpusPerTask: 2,
      gpusPerNode: 2,
      partition: 'all',
      constraint: 'gh200',
      exclude: ['n2'],
      exclusive: true,
      warning: { signal: 'USR2', seconds: 60 },
      comment: 'say "when" at 100 $ # \\ end',
      extra: ['--mem=500', '--begin=now+600'],
    }),
  );
  const [job] = await scheduler.jobs({ ids: [id] });
  assert.equal(job?.comment, 'say "when" at 100 $ # \\ end');
  const said = await cluster.run('scontrol', 'show', '-o', 'job', id);
  for (const field of [
    'NumNodes=2-2',
    'CPUs/Task=2',
    'TimeLimit=00:10:00',
    'ExcNodeList=n2',
    'Features=gh200',
    'MinMemoryNode=500M',
    'OverSubscribe=NO',
    'Requeue=0',
    'TresPerNode=gres:gpu:2',
  ])
    assert.ok(`${said} `.includes(` ${field} `), `${field}:\n${said}`);
  await scheduler.cancel(id);

  const plain = await scheduler.submit(
    work({ nodes: { min: 2, max: 3 }, exclude: ['n2'], extra: ['--begin=now+600'] }),
  );
  await scheduler.update(plain, { timeSeconds: 1200, nodes: { min: 1, max: 1 }, exclude: [] });
  const changed = await cluster.run('scontrol', 'show', '-o', 'job', plain);
  assert.match(changed, / NumNodes=1(-1)? /);
  assert.match(changed, / TimeLimit=00:20:00 /);
  assert.match(changed, / ExcNodeList=\(null\) /);
  await scheduler.cancel(plain);
});

test('while the controller is away for 5 s no job is lost and every call is made again', needsSlurm, async () => {
  const scheduler = cli();
  const id = await scheduler.submit(work({ name: 'outage' }));
  await until(scheduler, id, 'running');
  await cluster.stopController();
  const hasty = slurmCli({ prefix: cluster.prefix, env: cluster.env, attempts: 1 });
  const began = performance.now();
  await rejects(hasty.jobs({ ids: [id] }), 'unreachable');
  assert.ok(performance.now() - began < 5000, 'a call ends within 3 s, and what this machine needs to start it');
  const calls = [
    scheduler.jobs({ ids: [id] }),
    scheduler.jobs({ name: 'outage' }),
    scheduler.nodes(),
    scheduler.submit(work({ name: 'later', body: 'true' })),
    rest().jobs({ ids: [id] }),
    rest().jobs({ name: 'outage' }),
  ] as const;
  const [back] = await Promise.all([
    new Promise((resolve) => setTimeout(resolve, 5000)).then(async () => await cluster.startController()),
    ...calls,
  ]);
  assert.equal(back, undefined);
  for (const jobs of [await calls[0], await calls[1], await calls[4], await calls[5]]) {
    assert.deepEqual(
      jobs.map(({ id, state }) => ({ id, state })),
      [{ id, state: 'running' }],
    );
  }
  assert.equal((await calls[2]).length, 3);
  assert.equal((await until(scheduler, await calls[3], 'ended')).outcome, 'completed');
  await scheduler.cancel(id);
  await until(scheduler, id, 'ended');
});

test('commands: a program that does not answer is ended in time', needsSlurm, async () => {
  const began = performance.now();
  const scheduler = slurmCli({ prefix: ['sh', '-c', 'sleep 60 & wait', 'sh'], attempts: 2, timeoutSeconds: 0.3 });
  await rejects(scheduler.jobs(), 'timeout');
  assert.ok(performance.now() - began < 10_000);
  await rejects(slurmCli({ prefix: ['no-such-program'] }).jobs(), 'unreachable');
});

test('commands: a node that dies, freezes or is cut off is told, and comes back', needsNodes, async () => {
  const scheduler = cli();
  const stateOf = async (name: string): Promise<string | undefined> =>
    (await scheduler.nodes()).find((node) => node.name === name)?.state;
  const sees = async (name: string, state: string): Promise<void> => {
    await waitFor(
      async () => ((await stateOf(name)) === state ? true : undefined),
      60_000,
      () => `${name} is not seen as ${state}`,
    );
  };
  const id = await scheduler.submit(work({ nodes: { min: 2, max: 2 }, exclude: ['n1'] }));
  await until(scheduler, id, 'running');
  assert.match((await stateOf('n2')) as string, /allocated|mixed/);
  await Promise.all([cluster.kill('n2'), cluster.freeze('n1')]);
  const ended = await until(scheduler, id, 'ended');
  assert.equal(ended.outcome, 'node-failure');
  assert.deepEqual(ended.nodes, ['n2', 'n3']);
  await Promise.all([sees('n1', 'down'), sees('n2', 'down')]);
  await cluster.thaw('n1');
  await cluster.boot('n2');
  await cluster.throttle('n3', 1000);
  await cluster.cut('n3');
  await Promise.all([sees('n1', 'idle'), sees('n2', 'idle'), sees('n3', 'down')]);
  await cluster.mend('n3');
  await cluster.throttle('n3', 0);
  await sees('n3', 'idle');
  await cluster.stopSlurmd('n3');
  await cluster.startSlurmd('n3');
  const all = await scheduler.submit(work({ name: 'all', body: 'srun hostname', nodes: { min: 3, max: 3 } }));
  assert.equal((await until(scheduler, all, 'ended')).outcome, 'completed');
});
