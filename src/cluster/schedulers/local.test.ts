// The scheduler of this machine: what every transport promises, and that jobs outlive who submitted and who started them.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { one, rejects, schedulerContract, until, waitFor } from '../../../test/scheduler-contract.ts';
import type { JobRequest } from '../scheduler.ts';
import { localScheduler } from './local.ts';

const skip = existsSync('/proc/self/stat') ? false : 'no /proc here';
const limits = { skip, timeout: 60_000 };
const scratch = mkdtempSync(join(tmpdir(), 'belay-local-'));
const folder = join(scratch, 'queue');

const daemonOf = (queue: string): number | undefined => {
  try {
    return (JSON.parse(readFileSync(join(queue, 'daemon.lock'), 'utf8')) as { pid: number }).pid;
  } catch {
    return undefined;
  }
};
after(async () => {
  for (const queue of [folder, join(scratch, 'mortal')].filter((path) => existsSync(path))) {
    const scheduler = localScheduler({ folder: queue });
    for (const { id } of await scheduler.jobs()) await scheduler.cancel(id);
    // It ends by itself, and its jobs before it.
    await waitFor(async () => (daemonOf(queue) === undefined ? true : undefined));
  }
  rmSync(scratch, { recursive: true, force: true });
});

schedulerContract(
  'local',
  () => ({
    scheduler: localScheduler({ folder, slots: 3 }),
    directory: join(scratch, 'jobs'),
    step: '',
    refused: { nodes: { min: 4, max: 4 } },
  }),
  { skip },
);

const work = (change: Partial<JobRequest> = {}): JobRequest => ({
  name: 'work',
  body: 'sleep 300',
  nodes: { min: 1, max: 1 },
  timeSeconds: 600,
  output: '%x-%j.log',
  directory: scratch,
  ...change,
});

test('a job outlives the process that submitted it, and another one sees it', limits, async () => {
  const module = import.meta.resolve(import.meta.url.endsWith('.ts') ? './local.ts' : './local.js');
  const loader = import.meta.url.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [];
  const program = `
    import { localScheduler } from ${JSON.stringify(module)};
    const scheduler = localScheduler(${JSON.stringify({ folder })});
    console.log(await scheduler.submit(${JSON.stringify(work({ body: 'sleep 2; echo $BELAY_JOB_NODES' }))}));`;
  const { stdout } = await promisify(execFile)(process.execPath, [...loader, '--input-type=module', '--eval', program]);
  const id = stdout.trim();
  const scheduler = localScheduler({ folder });
  await until(scheduler, id, 'running');
  const { outcome, nodes } = await until(scheduler, id, 'ended');
  assert.equal(outcome, 'completed');
  assert.equal(readFileSync(join(scratch, `work-${id}.log`), 'utf8'), `${nodes.join(',')}\n`);
});

test(
  'jobs outlive a daemon that is killed; the next one tells how they ended, and begins none twice',
  limits,
  async () => {
    const queue = join(scratch, 'mortal');
    const scheduler = localScheduler({ folder: queue, slots: 2 });
    const quick = await scheduler.submit(work({ body: 'echo began; sleep 1; exit 5' }));
    const slow = await scheduler.submit(work({ body: 'echo began; sleep 300' }));
    const later = await scheduler.submit(work({ body: 'true', nodes: { min: 2, max: 2 } }));
    await Promise.all([until(scheduler, quick, 'running'), until(scheduler, slow, 'running')]);
    process.kill(daemonOf(queue) as number, 'SIGKILL');
    await waitFor(async () => (existsSync(join(queue, 'jobs', quick, 'exit')) ? true : undefined));
    const ended = await until(scheduler, quick, 'ended');
    assert.deepEqual([ended.outcome, ended.exitCode], ['failed', 5]);
    assert.equal((await one(scheduler, slow))?.state, 'running');
    assert.equal((await one(scheduler, later))?.state, 'pending');
    await scheduler.cancel(slow);
    assert.equal((await until(scheduler, slow, 'ended')).outcome, 'cancelled');
    assert.equal((await until(scheduler, later, 'ended')).outcome, 'completed');
    for (const id of [quick, slow]) {
      const said = readFileSync(join(scratch, `work-${id}.log`), 'utf8');
      assert.equal(said.split('began').length, 2, said);
    }
  },
);

test('what a script leaves behind ends with it; a script that ignores SIGTERM is killed', limits, async () => {
  const scheduler = localScheduler({ folder });
  const pids = join(scratch, 'pids');
  const id = await scheduler.submit(work({ body: `sleep 300 & echo $! > ${pids}` }));
  await until(scheduler, id, 'ended');
  await waitFor(async () => (existsSync(`/proc/${readFileSync(pids, 'utf8').trim()}/exe`) ? undefined : true));
  const deaf = await scheduler.submit(work({ body: 'trap "" TERM; echo deaf; while :; do sleep 0.1; done' }));
  const log = join(scratch, `work-${deaf}.log`);
  await waitFor(async () => (existsSync(log) && readFileSync(log, 'utf8') !== '' ? true : undefined));
  await scheduler.cancel(deaf);
  assert.equal((await until(scheduler, deaf, 'ended')).outcome, 'cancelled');
});

test('nodes: as many as are free up to the most that are wanted; the first in line is not passed', limits, async () => {
  const scheduler = localScheduler({ folder });
  const wide = await scheduler.submit(work({ nodes: { min: 1, max: 2 } }));
  const { nodes } = await until(scheduler, wide, 'running');
  assert.equal(nodes.length, 2);
  const wider = await scheduler.submit(work({ body: 'true', nodes: { min: 2, max: 3 } }));
  const small = await scheduler.submit(work({ body: 'true' }));
  await until(scheduler, wide, 'running');
  assert.deepEqual(
    (await scheduler.jobs({ ids: [wider, small] })).map((job) => [job.state, job.reason]),
    [
      ['pending', 'Resources'],
      ['pending', 'Resources'],
    ],
  );
  await scheduler.cancel(wide);
  const [first, second] = [await until(scheduler, wider, 'ended'), await until(scheduler, small, 'ended')];
  assert.ok((first.began as number) <= (second.began as number));
  assert.equal(first.nodes.length, 3);
});

test('what it cannot do is refused, not passed over', limits, async () => {
  const scheduler = localScheduler({ folder });
  await rejects(scheduler.submit(work({ dependency: 'after:1+5' })), 'refused');
  await rejects(scheduler.submit(work({ array: '0-3' })), 'unsupported');
  await rejects(scheduler.cancel('999999'), 'refused');
  const failed = await scheduler.submit(work({ body: 'false' }));
  const never = await scheduler.submit(work({ dependency: `afterok:${failed}` }));
  await until(scheduler, failed, 'ended');
  assert.equal((await one(scheduler, never))?.reason, 'DependencyNeverSatisfied');
  await scheduler.cancel(never);
  assert.equal((await until(scheduler, never, 'ended')).outcome, 'cancelled');
  const lost = await scheduler.submit(work({ directory: join(scratch, 'nowhere'), output: join(scratch, 'x.log') }));
  assert.equal((await until(scheduler, lost, 'ended')).outcome, 'failed');
});

test('where its folder cannot be made, who asks is told of no jobs, and who submits why', limits, async () => {
  const file = join(scratch, 'a-file');
  writeFileSync(file, '');
  const scheduler = localScheduler({ folder: join(file, 'queue'), slots: 2 });
  assert.deepEqual(await scheduler.jobs(), []);
  assert.equal((await scheduler.nodes()).length, 1);
  await assert.rejects(
    scheduler.submit(work()),
    /cannot keep jobs in .*a-file\/queue \(.*ENOTDIR.*BELAY_LOCAL_SCHEDULER/,
  );
});

test('where its folder cannot be reached, nobody is told that there are no jobs', limits, async () => {
  const folder = join(scratch, 'loop');
  symlinkSync('loop', folder);
  const scheduler = localScheduler({ folder });
  await rejects(scheduler.jobs(), 'unreachable');
  await rejects(scheduler.nodes(), 'unreachable');
  await rejects(scheduler.submit(work()), 'refused');
});
