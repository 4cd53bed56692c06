import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { UserError } from '../base/errors.ts';
import { type LocalRanks, ranksFromEnvironment, spawnRanks } from './local-group.ts';

const timeout = { timeout: 30_000 };

test('a process that nobody started as one of several is alone', () => {
  assert.equal(ranksFromEnvironment({}), undefined);
  assert.equal(ranksFromEnvironment({ OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' }), undefined);
});

test('a batch script or a shell of Slurm is one process, whatever the job has', () => {
  const script = { SLURM_JOB_ID: '7', SLURM_PROCID: '0', SLURM_NTASKS: '4' };
  assert.equal(ranksFromEnvironment(script), undefined);
  assert.equal(ranksFromEnvironment({ ...script, SLURM_STEP_ID: '4294967290' }), undefined);
});

test('rank and world of our own, of Slurm and of Open MPI', () => {
  assert.deepEqual(
    ranksFromEnvironment({ BELAY_RANK: '1', BELAY_WORLD: '3', BELAY_RENDEZVOUS: 'a/b', BELAY_HOST: 'h' }),
    {
      rank: 1,
      world: 3,
      rendezvous: 'a_b',
      host: 'h',
    },
  );
  const step = { SLURM_JOB_ID: '7', SLURM_STEP_ID: '0', SLURM_PROCID: '2', SLURM_NTASKS: '4', SLURMD_NODENAME: 'n3' };
  assert.deepEqual(ranksFromEnvironment({ ...step, SLURM_STEP_NUM_NODES: '2' }), {
    rank: 2,
    world: 4,
    rendezvous: 'slurm-7-0.0',
    host: 'n3',
  });
  const requeued = ranksFromEnvironment({ ...step, SLURM_STEP_NUM_TASKS: '3', SLURM_RESTART_COUNT: '1' });
  assert.deepEqual(requeued, { rank: 2, world: 3, rendezvous: 'slurm-7-1.0', host: undefined });
  const mpi = {
    ...step,
    OMPI_COMM_WORLD_RANK: '1',
    OMPI_COMM_WORLD_SIZE: '2',
    OMPI_COMM_WORLD_LOCAL_SIZE: '1',
    PMIX_NAMESPACE: '12',
    OMPI_MCA_orte_precondition_transports: 'ab-cd',
  };
  assert.deepEqual(ranksFromEnvironment(mpi), { rank: 1, world: 2, rendezvous: 'mpi-12-ab-cd', host: hostname() });
});

test('numbers that make no sense are a mistake of the user', () => {
  for (const [rank, world] of [
    ['3', '3'],
    ['x', '2'],
    ['0', undefined],
    ['-1', '2'],
  ] as const) {
    const env = { BELAY_RANK: rank, BELAY_WORLD: world, BELAY_RENDEZVOUS: 'a' };
    assert.throws(() => ranksFromEnvironment(env), UserError);
  }
  assert.throws(() => ranksFromEnvironment({ BELAY_RANK: '0', BELAY_WORLD: '2' }), /BELAY_RENDEZVOUS/);
});

interface Started {
  readonly ranks: LocalRanks;
  readonly logs: (rank: number) => string;
}

function start(t: TestContext, world: number, code: string): Started {
  const folder = mkdtempSync(join(tmpdir(), 'belay-local-'));
  const logs = (rank: number): string => join(folder, 'logs', `rank-${rank}.log`);
  const ranks = spawnRanks({ world, command: process.execPath, args: ['-e', code], logFor: logs });
  t.after(() => {
    ranks.kill();
    rmSync(folder, { recursive: true, force: true });
  });
  return { ranks, logs };
}

test('each rank knows its place, shares the cores, and writes into its log', timeout, async (t) => {
  const names = "['RANK', 'WORLD', 'RENDEZVOUS', 'THREADS'].map((name) => process.env['BELAY_' + name])";
  const { ranks, logs } = start(t, 3, `console.log(JSON.stringify(${names})); console.error('and errors')`);
  await ranks.ended();
  const threads = Math.max(1, Math.floor(availableParallelism() / 3));
  assert.equal(ranks.threads, threads);
  for (const rank of [1, 2]) {
    const [line = '', error] = readFileSync(logs(rank), 'utf8').split('\n');
    assert.deepEqual(JSON.parse(line), [`${rank}`, '3', ranks.rendezvous, `${threads}`]);
    assert.equal(error, 'and errors');
  }
});

test('a rank that ends badly is reported with the end of its log', timeout, async (t) => {
  const code = `
    if (process.env.BELAY_RANK === '2') { for (let i = 0; i < 99; i++) console.log('line', i); process.exit(3); }
    setTimeout(() => {}, 20_000);`;
  const { ranks } = start(t, 4, code);
  await assert.rejects(ranks.casualty, (error: Error) => {
    assert.ok(error instanceof UserError);
    assert.match(error.message, /^rank 2 on this machine ended with exit code 3\n/);
    assert.match(error.message, /line 97\n {4}line 98\n {2}next: .*rank-2\.log, then run again/);
    assert.doesNotMatch(error.message, /line 80/);
    return true;
  });
  assert.match((await ranks.explain())?.message ?? '', /rank 2/);
  await assert.rejects(ranks.ended());
});

test('not the rank that lost another one is reported, but that one', timeout, async (t) => {
  const code = "process.env.BELAY_RANK === '1' ? process.exit(74) : setTimeout(() => process.exit(3), 200)";
  await assert.rejects(start(t, 3, code).ranks.casualty, /rank 2 on this machine ended with exit code 3/);
  await assert.rejects(
    start(t, 2, 'process.exit(74)').ranks.casualty,
    /rank 1 on this machine ended with exit code 74/,
  );
});

test('a killed rank and one that cannot start are reported; one that was paused is not', timeout, async (t) => {
  const killed = start(t, 2, "process.kill(process.pid, 'SIGKILL')").ranks;
  await assert.rejects(killed.casualty, /rank 1 on this machine ended with SIGKILL\n {2}found: {4}nothing in its log/);
  const folder = mkdtempSync(join(tmpdir(), 'belay-local-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const none = spawnRanks({ world: 2, command: join(folder, 'none'), args: [], logFor: () => join(folder, 'log') });
  await assert.rejects(none.ended(), /rank 1 could not be started\n {2}found: .*ENOENT/);
  const paused = start(t, 2, 'process.exit(75)').ranks;
  await paused.ended();
  assert.equal(await paused.explain(20), undefined);
});

test('ranks do not outlive the process that started them', timeout, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'belay-local-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const isSource = import.meta.url.endsWith('.ts');
  const module = new URL(`./local-group.${isSource ? 'ts' : 'js'}`, import.meta.url).href;
  const pid = join(folder, 'pid');
  const child = `require('node:fs').writeFileSync(${JSON.stringify(`${pid}.part`)}, String(process.pid));
    require('node:fs').renameSync(${JSON.stringify(`${pid}.part`)}, ${JSON.stringify(pid)}); setTimeout(() => {}, 20000)`;
  const parent = join(folder, 'parent.mjs');
  writeFileSync(
    parent,
    `import { existsSync } from 'node:fs';
     import { spawnRanks } from ${JSON.stringify(module)};
     spawnRanks({ world: 2, command: process.execPath, args: ['-e', ${JSON.stringify(child)}],
       logFor: () => ${JSON.stringify(join(folder, 'log'))} });
     setInterval(() => existsSync(${JSON.stringify(pid)}) && process.exit(0), 5);`,
  );
  const loader = isSource ? ['--import', import.meta.resolve('tsx')] : [];
  const { status, stderr } = spawnSync(process.execPath, [...loader, parent], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const number = readFileSync(pid, 'utf8');
  const runs = (): boolean =>
    existsSync(`/proc/${number}/stat`) && !/\) Z /.test(readFileSync(`/proc/${number}/stat`, 'utf8'));
  for (let i = 0; i < 100 && runs(); i++) await setTimeout(20);
  assert.ok(!runs());
});
