// Pretraining under a real Slurm of a few nodes on this machine: the bits of one rank, signals of the scheduler, lost
// tasks, nodes and networks, and a job that is put back into the queue.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { exitCodes } from '../src/base/errors.ts';
import { readLines } from '../src/base/events.ts';
import { hashFile } from '../src/base/hashing.ts';
import { packageRoot } from '../src/base/version.ts';
import { checkpointFolders } from '../src/train/checkpoint-folder.ts';
import { type Client, Cluster, slurmScripts, whyNoNamespaces, whyNoSlurm } from './slurm/cluster.ts';

const required = process.env['BELAY_REQUIRE_SLURM'] === '1';
const missing = whyNoSlurm();
const skip = required ? false : (missing ?? false);
const notApart = missing === undefined ? whyNoNamespaces() : undefined;
const needsSlurm = { skip, timeout: 120_000 };
const needsNodes = {
  skip: skip || (notApart !== undefined && `no network namespaces here, so all nodes are on 127.0.0.1: ${notApart}`),
  timeout: 120_000,
};

const scratch = mkdtempSync(join(tmpdir(), 'belay-slurm-'));
const exits = join(scratch, 'exits');
const isSource = import.meta.url.endsWith('.ts');
const belay = [
  process.execPath,
  ...(isSource ? ['--import', import.meta.resolve('tsx')] : []),
  join(packageRoot, isSource ? 'src/cli.ts' : 'dist/src/cli.js'),
];
const task = ['sh', join(slurmScripts, 'task.sh')];

/** The command line of a pretraining in `dir`. */
function pretrain(dir: string, set: readonly string[], flags: readonly string[] = []): string[] {
  const all = ['pretrain.batchSize=12', 'pretrain.shards=12', 'pretrain.sequenceLength=32', ...set];
  return [
    ...[...belay, 'pretrain', '--out', dir, '--recipe', 'demo-tiny'],
    ...all.flatMap((one) => ['--set', one]),
    ...flags,
  ];
}

const base = join(scratch, 'base');
let cluster: Cluster;
/** A run on a node that dies, and the one that waits for its lock meanwhile. */
let heir: { readonly dir: string; readonly client: Client; readonly before: number } | undefined;

async function alone(command: readonly string[]): Promise<void> {
  const [file, ...args] = command;
  const child = spawn(file as string, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (stderr += text));
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(code, 0, stderr);
}

before(async () => {
  if (skip) return;
  assert.equal(missing, undefined);
  mkdirSync(exits);
  mkdirSync(base);
  [cluster] = await Promise.all([
    Cluster.start(join(scratch, 'slurm'), notApart === undefined ? 4 : 2, notApart === undefined),
    alone(pretrain(base, ['pretrain.steps=1'])),
  ]);
  for (const name of readdirSync(base))
    if (/^(pretrain|plan|recipe|events)/.test(name)) rmSync(join(base, name), { recursive: true });
});
after(async () => {
  await cluster?.close();
  rmSync(scratch, { recursive: true, force: true });
});

/** A new run folder with everything up to the token files. */
function prepared(name: string): string {
  const dir = join(scratch, name);
  cpSync(base, dir, { recursive: true });
  return dir;
}

/** Starts a job step under the job name `name`. */
function srun(name: string, layout: string, command: readonly string[], env?: Record<string, string>): Client {
  return cluster.client(['srun', '-J', name, ...layout.split(' '), ...task, ...command], { EXITS: exits, ...env });
}

async function jobOf(name: string, client: Client): Promise<string> {
  let job = '';
  await until(
    `the job ${name}`,
    () => client.said,
    async () => (job = await cluster.run('squeue', '-h', '-n', name, '-o', '%i')) !== '',
  );
  return job;
}

const stepsIn = (dir: string): number => readLines(join(dir, 'pretrain', 'metrics.jsonl')).length;

async function until(what: string, said: () => string, done: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await done())) {
    assert.ok(performance.now() < deadline, `waited in vain for ${what}\n${said()}`);
    await wait(20);
  }
}

/** Exit codes of the tasks of a job, by rank; undefined where a task left none. */
const exitsOf = (job: string, ranks: number): (number | undefined)[] =>
  Array.from({ length: ranks }, (_, rank) => {
    const path = join(exits, `${job}.${rank}`);
    return readdirSync(exits).includes(`${job}.${rank}`) ? Number(readFileSync(path, 'utf8')) : undefined;
  });

interface Task {
  readonly pid: number;
  readonly rank: number;
  readonly node: string;
}

/** The belay processes of a job's tasks, in order of rank, with the process numbers they have out here. */
function tasksOf(job: string): Task[] {
  const found = readdirSync('/proc').flatMap((name): Task[] => {
    if (!/^\d+$/.test(name)) return [];
    try {
      if (!readFileSync(`/proc/${name}/cmdline`, 'utf8').startsWith(`${process.execPath}\0`)) return [];
      const text = readFileSync(`/proc/${name}/environ`, 'utf8');
      const env = new Map(text.split('\0').map((line) => line.split(/=(.*)/s, 2) as [string, string]));
      if (env.get('SLURM_JOB_ID') !== job) return [];
      return [{ pid: Number(name), rank: Number(env.get('SLURM_PROCID')), node: env.get('SLURMD_NODENAME') ?? '' }];
    } catch {
      return [];
    }
  });
  return found.sort((a, b) => a.rank - b.rank);
}

/** Addresses on which a process listens, as /proc/net/tcp has them. */
function listening(pid: number): string[] {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
      } catch {
        return [];
      }
    }),
  );
  return ['tcp', 'tcp6'].flatMap((kind) =>
    readFileSync(`/proc/${pid}/net/${kind}`, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === '0A' && sockets.has(`socket:[${fields[9]}]`))
      .map((fields) => (fields[1] as string).split(':')[0] as string),
  );
}

/** 10.77.0.11 as /proc/net/tcp has it: bytes from the last to the first. */
const asHex = (address: string): string =>
  address
    .split('.')
    .map((byte) => Number(byte).toString(16).padStart(2, '0').toUpperCase())
    .reverse()
    .join('');

test('Slurm is here where it is required', { skip: !required && 'BELAY_REQUIRE_SLURM is not 1' }, () => {
  assert.equal(missing, undefined);
});

test('a node dies with a run on it: a run elsewhere waits for its lock', needsNodes, async () => {
  const dir = prepared('orphaned');
  const set = ['pretrain.steps=4000', 'pretrain.checkpointEverySteps=5'];
  const victim = srun('victim', '-w n4 -n1', pretrain(dir, set));
  await until(
    'the first checkpoint',
    () => victim.said,
    () => checkpointFolders(join(dir, 'pretrain', 'checkpoints')).length > 0,
  );
  await cluster.kill('n4');
  await wait(100);
  // Slurm gives the job back minutes after that, as it is usually set up; the lock is as old as it would be then.
  const then = Date.now() / 1000 - 300;
  utimesSync(join(dir, 'run.lock'), then, then);
  mkdirSync(join(dir, 'pretrain', 'triggers'), { recursive: true });
  writeFileSync(join(dir, 'pretrain', 'triggers', 'exit'), '');
  const client = srun('heir', '-w n1 -n1 --oversubscribe', pretrain(dir, set));
  heir = { dir, client, before: stepsIn(dir) };
  assert.notEqual(await client.saying(/on n4 works here; waiting/), undefined, client.said);
});

const steps = ['pretrain.steps=160', 'pretrain.checkpointEverySteps=5'];

test('4 tasks on 2 nodes: SIGUSR2 makes all save one step and leave with 75', needsSlurm, async () => {
  const dir = prepared('job');
  const layout = '-N2 -n4 --ntasks-per-node=2 --oversubscribe';
  const client = srun('pause', layout, pretrain(dir, steps), { LATE: '3' });
  const job = await jobOf('pause', client);
  // Ranks listen until all are here, and one is late.
  const early = (): string[] => tasksOf(job).flatMap(({ pid, node }) => listening(pid).map((at) => `${node} ${at}`));
  await until(
    'three that listen',
    () => client.said,
    () => early().length >= 3,
  );
  if (cluster.hasNodes) {
    const [first, second] = [`n1 ${asHex('10.77.0.11')}`, `n2 ${asHex('10.77.0.12')}`];
    assert.deepEqual(early(), [first, first, second], 'on the address of the node, and on no other');
  }
  writeFileSync(join(exits, 'go'), '');
  await until(
    'the first steps',
    () => client.said,
    () => stepsIn(dir) > 2,
  );
  await cluster.run('scancel', '--signal=USR2', `${job}.0`);
  assert.equal(await client.ended, exitCodes.paused, client.said);
  assert.deepEqual(exitsOf(job, 4), Array(4).fill(exitCodes.paused));
  const [newest] = checkpointFolders(join(dir, 'pretrain', 'checkpoints'));
  assert.match(newest as string, new RegExp(`${stepsIn(dir)}$`));
  assert.equal(readdirSync(newest as string).filter((name) => name.startsWith('optimizer-')).length, 4);
  assert.ok(stepsIn(dir) < 160, 'it was stopped on the way');
  assert.equal(client.said.match(/engine: /g)?.length, 1, `one rank talks:\n${client.said}`);
});

/** The batch script of docs/parallel.md. */
function documentedScript(): string {
  const page = readFileSync(join(packageRoot, 'docs', 'parallel.md'), 'utf8');
  const [, script] = /```bash\n(#!\/bin\/bash\n#SBATCH[^`]*)```/.exec(page) ?? [];
  assert.ok(script, 'the page has a batch script');
  return script;
}

/** What two runs must have in common: the model's bytes, and the loss of each step. */
const result = (dir: string): string[] => [
  hashFile(join(dir, 'pretrain', 'model', 'model.safetensors')).sha256,
  ...readLines<{ step: number; loss: number }>(join(dir, 'pretrain', 'metrics.jsonl')).map(
    ({ step, loss }) => `${step} ${loss}`,
  ),
];

test(
  '3 tasks go on in a batch job, which puts itself back into the queue; the bits are those of one rank',
  needsSlurm,
  async () => {
    const dir = join(scratch, 'job');
    const before = stepsIn(dir);
    const [bin, log, script] = [join(scratch, 'bin'), join(scratch, 'batch.log'), join(scratch, 'train.sh')];
    mkdirSync(bin);
    const words = [...task, ...belay].map((word) => `'${word}'`).join(' ');
    writeFileSync(join(bin, 'belay'), `#!/bin/sh\nexec ${words} "$@"\n`, { mode: 0o755 });
    writeFileSync(script, documentedScript());
    writeFileSync(log, '');
    const layout = cluster.hasNodes ? ['-N3', '--ntasks-per-node=1'] : ['-N1', '--ntasks-per-node=3'];
    const submit = cluster.client(['sbatch', '--parsable', '-o', log, '--oversubscribe', ...layout, script, dir], {
      EXITS: exits,
      PATH: `${bin}:${process.env['PATH']}`,
    });
    assert.equal(await submit.ended, 0, submit.said);
    const job = submit.said.trim();
    const said = (): string => readFileSync(log, 'utf8');
    await until('a few more steps', said, () => stepsIn(dir) > before + 2);
    await cluster.run('scancel', '--signal=USR2', `${job}.0`);
    await until('the pause', said, () => exitsOf(job, 3).every((code) => code === exitCodes.paused));
    const paused = stepsIn(dir);
    assert.ok(paused < 160, 'it was stopped on the way');
    // Meanwhile: Slurm lets a job that was put back wait for some seconds.
    const straight = prepared('straight');
    await alone(pretrain(straight, steps));
    await until('the end', said, () => exitsOf(job, 3).every((code) => code === 0));
    assert.deepEqual(
      [...said().matchAll(/going on from the checkpoint of step (\d+)/g)].map(([, step]) => Number(step)),
      [before, paused],
      said(),
    );
    assert.equal(stepsIn(dir), 160);
    assert.deepEqual(result(dir), result(straight));
  },
);

const endless = ['pretrain.steps=4000'];

test('a task that is killed is named with its node, and the others leave with 74', needsSlurm, async (t) => {
  const dir = prepared('killed');
  const client = srun('killed', `-N${cluster.hasNodes ? 3 : 2} -n3 --oversubscribe`, pretrain(dir, endless));
  await until(
    'the first steps',
    () => client.said,
    () => stepsIn(dir) > 2,
  );
  const job = await jobOf('killed', client);
  const { pid, rank, node } = tasksOf(job).at(-1) as Task;
  assert.equal(rank, 2);
  const said = client.saying(new RegExp(`rank ${rank} on ${node} was lost`));
  process.kill(pid, 'SIGKILL');
  const ms = await said;
  assert.ok(ms !== undefined && ms < 3000, `after ${ms?.toFixed(0)} ms:\n${client.said}`);
  await client.ended;
  assert.deepEqual(exitsOf(job, 3), [exitCodes.lost, exitCodes.lost, 128 + 9]);
  t.diagnostic(`named after ${ms.toFixed(0)} ms`);
});

test('a node whose network is cut is named within the heartbeat time, and all leave with 74', needsNodes, async (t) => {
  const dir = prepared('cut');
  const client = srun('cut', '-N3 -n3 --oversubscribe', pretrain(dir, endless, ['--heartbeat', '2']));
  await until(
    'the first steps',
    () => client.said,
    () => stepsIn(dir) > 2,
  );
  const job = await jobOf('cut', client);
  const said = client.saying(/rank 2 on n3 was lost\n.*no sign of life/);
  await cluster.cut('n3');
  const ms = await said;
  assert.ok(ms !== undefined && ms > 1000 && ms < 6000, `after ${ms?.toFixed(0)} ms:\n${client.said}`);
  await until(
    'all three to leave',
    () => client.said,
    () => exitsOf(job, 3).every((code) => code === exitCodes.lost),
  );
  t.diagnostic(`named after ${ms.toFixed(0)} ms`);
});

test('the lock of the dead node was taken over, and the run goes on', needsNodes, async () => {
  assert.ok(heir, 'it was started above');
  const { dir, client, before } = heir;
  assert.equal(await client.ended, exitCodes.paused, client.said);
  assert.match(client.said, /on n4 gave no sign of life for 5 min \d+ s; taking over/);
  assert.match(client.said, /going on from the checkpoint of step \d+/);
  assert.ok(stepsIn(dir) > 0 && stepsIn(dir) <= before + 1);
});
