// What every transport to a scheduler promises, as tests that take one.
//
// Does not: start a scheduler. Who calls says what a job of it can use.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import {
  type Ability,
  batchScript,
  type Job,
  type JobRequest,
  type JobState,
  type Scheduler,
  SchedulerError,
} from '../src/cluster/scheduler.ts';

export interface ContractSetting {
  readonly scheduler: Scheduler;
  /** A folder that jobs and this process see. */
  readonly directory: string;
  /** What begins a step in a batch script: `srun -n1`; empty where every command is one. */
  readonly step: string;
  /** A change to a request that makes the scheduler refuse it. */
  readonly refused: Partial<JobRequest>;
  /** False where nobody says how much memory nodes have. */
  readonly tellsMemory?: boolean;
  /** False where a transport could submit arrays and what stands behind it has none. */
  readonly hasArrays?: boolean;
}

/** Declares the tests. `setting` is called once the tests run. */
export function schedulerContract(
  name: string,
  setting: () => ContractSetting,
  options: { readonly skip?: string | false } = {},
): void {
  const limits = { skip: options.skip ?? false, timeout: 120_000 };
  const check = (what: string, body: (setting: ContractSetting) => Promise<void>): void => {
    test(`${name}: ${what}`, limits, async () => await body(setting()));
  };

  let warned = '';
  check('a warning is asked for, and takes its time while other tests run', async (at) => {
    const body = `${at.step} sh -c 'exec 2>/dev/null; trap "echo warned; exit 0" USR2; echo ready; while :; do sleep 0.1; done'\necho over`;
    // Slurm may be a minute early, and no time limit of it is shorter.
    const warning = { signal: 'USR2', seconds: 58 };
    warned = await at.scheduler.submit(request(at, { name: 'warned', body, timeSeconds: 60, warning }));
  });

  check('jobs end as they ended, with their output, code and signal', async (at) => {
    const { scheduler } = at;
    const since = Math.floor(Date.now() / 1000) - 60;
    const requests = {
      good: request(at, { name: 'good', body: 'echo out of $PWD', comment: 'what "this" is # for' }),
      bad: request(at, { name: 'bad', body: 'exit 3' }),
      shot: request(at, { name: 'shot', body: 'kill -KILL $$' }),
    };
    const [good, bad, shot] = await Promise.all(Object.values(requests).map((one) => scheduler.submit(one)));
    assert.equal(new Set([good, bad, shot]).size, 3, 'every job has an id of its own');
    const ended = await Promise.all([good, bad, shot].map((id) => until(scheduler, id as string, 'ended')));
    assert.deepEqual(
      ended.map(({ name, outcome, exitCode = 0, signal }) => ({ name, outcome, exitCode, signal })),
      [
        { name: 'good', outcome: 'completed', exitCode: 0, signal: undefined },
        { name: 'bad', outcome: 'failed', exitCode: 3, signal: undefined },
        { name: 'shot', outcome: 'failed', exitCode: 0, signal: 9 },
      ],
    );
    const [job] = ended as [Job];
    assert.equal(job.id, good);
    assert.equal(job.nodes.length, 1);
    const { began = 0, submitted = began } = job;
    assert.ok(submitted >= since && began >= submitted, show(job));
    assert.ok((job.ended as number) >= (job.began as number), show(job));
    if (job.comment !== undefined) assert.equal(job.comment, 'what "this" is # for');
    assert.equal(await textOf(join(at.directory, `good-${good}.log`)), `out of ${at.directory}\n`);

    if (!scheduler.lacks.has('script')) {
      assert.equal(await scheduler.script(bad as string), batchScript(requests.bad));
    }
    if (!scheduler.lacks.has('history')) {
      const past = await waitFor(async () => {
        const found = await scheduler.history({ since, ids: [good, bad, shot] as string[] });
        return found.length === 3 ? found : undefined;
      });
      assert.deepEqual(
        past.map(({ id, outcome }) => [id, outcome]).sort(),
        ended.map(({ id, outcome }) => [id, outcome]).sort(),
      );
      assert.deepEqual(await scheduler.history({ ids: [good as string], since: since + 86_400 }), []);
    }
  });

  check(
    'one name runs once at a time, in the order of submission; a waiting job is held, released and cancelled',
    async (at) => {
      const { scheduler } = at;
      const chain = (body: string): JobRequest => request(at, { name: 'chain', dependency: 'singleton', body });
      const first = await scheduler.submit(chain(`echo first >> order; ${at.step} sleep 300`));
      const second = await scheduler.submit(chain('echo second >> order'));
      const third = await scheduler.submit(chain('echo third >> order'));
      await until(scheduler, first, 'running');
      await waitFor(async () => ((await textOf(join(at.directory, 'order'))) === 'first\n' ? true : undefined));
      const waiting = await one(scheduler, second);
      assert.equal(waiting?.state, 'pending');
      assert.ok((waiting?.reason ?? '') !== '', 'it says why it waits');
      if (scheduler.lacks.has('update')) await scheduler.cancel(second);
      else await scheduler.update(second, { held: true, timeSeconds: 120 });
      await scheduler.cancel(first);
      assert.equal((await until(scheduler, first, 'ended')).outcome, 'cancelled');
      if (!scheduler.lacks.has('update')) {
        await wait(1500);
        assert.equal((await one(scheduler, second))?.state, 'pending', 'it is held');
        const changed = Date.now() / 1000;
        await scheduler.update(second, { beginSeconds: 3 });
        await scheduler.update(second, { held: false });
        const { outcome, began } = await until(scheduler, second, 'ended');
        assert.equal(outcome, 'completed');
        assert.ok(
          (began as number) >= Math.floor(changed) + 2,
          `began ${(began as number) - changed} s after the change`,
        );
      }
      await until(scheduler, third, 'ended');
      const order = scheduler.lacks.has('update') ? 'first\nthird\n' : 'first\nsecond\nthird\n';
      assert.equal(await textOf(join(at.directory, 'order')), order);
      await scheduler.cancel(first);
    },
  );

  check('afterany waits for whatever end', async (at) => {
    const { scheduler } = at;
    const first = await scheduler.submit(request(at, { name: 'before', body: 'sleep 1; exit 1' }));
    const after = await scheduler.submit(request(at, { name: 'after', body: 'true', dependency: `afterany:${first}` }));
    const last = await until(scheduler, after, 'ended');
    const before = await one(scheduler, first);
    assert.equal(last.outcome, 'completed');
    assert.ok((last.began as number) >= (before?.ended as number), show({ before, last }));
  });

  check('a signal by hand reaches the steps', async (at) => {
    const { scheduler } = at;
    if (scheduler.lacks.has('signal')) return await rejects(scheduler.signal('1', 'USR2'), 'unsupported');
    const body = `${at.step} sh -c 'exec 2>/dev/null; trap "echo told; exit 0" USR2; echo ready; while :; do sleep 0.1; done'\necho over`;
    const id = await scheduler.submit(request(at, { name: 'told', body }));
    const log = join(at.directory, `told-${id}.log`);
    await waitFor(async () => ((await textOf(log)).includes('ready') ? true : undefined));
    await scheduler.signal(id, 'USR2');
    assert.equal((await until(scheduler, id, 'ended')).outcome, 'completed');
    assert.equal(await textOf(log), 'ready\ntold\nover\n');
    await rejects(scheduler.signal(id, 'USR2'), 'refused');
    await rejects(scheduler.signal(id, 'NONSENSE'), 'refused');
  });

  check('what runs past its time is ended for that', async (at) => {
    const { scheduler } = at;
    if (at.step !== '') return; // Slurm's shortest limit is a minute, and it may take another one to see that it is over.
    const id = await scheduler.submit(request(at, { name: 'long', body: 'sleep 300', timeSeconds: 2 }));
    assert.equal((await until(scheduler, id, 'ended')).outcome, 'time-limit');
  });

  check('filters: by id, by name, by user; what nobody submitted is nobody’s', async (at) => {
    const { scheduler } = at;
    const id = await scheduler.submit(request(at, { name: `sought-${name}`, body: 'true' }));
    const other = await scheduler.submit(request(at, { name: 'other', body: 'true' }));
    const [{ user } = { user: '' }] = await scheduler.jobs({ ids: [id] });
    const ids = async (filter: Parameters<Scheduler['jobs']>[0]): Promise<string[]> =>
      (await scheduler.jobs(filter)).map((job) => job.id);
    assert.deepEqual(await ids({ name: `sought-${name}` }), [id]);
    assert.deepEqual((await ids({ ids: [id, other] })).sort(), [id, other].sort());
    assert.deepEqual(await ids({ ids: [id], name: 'other' }), []);
    assert.deepEqual(await ids({ ids: [] }), []);
    assert.deepEqual(await ids({ ids: ['999999'] }), []);
    assert.deepEqual(await ids({ ids: ['999999', '999998'] }), []);
    assert.ok((await ids({ user })).includes(id));
    assert.deepEqual(await ids({ user: 'nobody', ids: [id] }), []);
    const all = await ids(undefined);
    assert.ok(all.includes(id) && all.includes(other));
    await until(scheduler, other, 'ended');
  });

  check('a request that cannot be met is refused', async (at) => {
    await rejects(at.scheduler.submit(request(at, { name: 'refused', body: 'true', ...at.refused })), 'refused');
    await rejects(at.scheduler.cancel('not an id'), 'refused');
  });

  check('nodes: idle ones, their size; drained with a reason and taken back', async (at) => {
    const { scheduler } = at;
    const nodes = await scheduler.nodes();
    assert.ok(nodes.length > 0);
    for (const node of nodes) assert.ok(node.cpus > 0 && node.name !== '', show(node));
    if (at.tellsMemory !== false) for (const node of nodes) assert.ok(node.memoryBytes > 0, show(node));
    const name = nodes.at(-1)?.name as string;
    const find = async (): Promise<{ state: string; reason: string } | undefined> =>
      (await scheduler.nodes()).find((node) => node.name === name);
    if (scheduler.lacks.has('drain')) {
      await rejects(scheduler.drain(name, 'why'), 'unsupported');
      await rejects(scheduler.resume(name), 'unsupported');
      return;
    }
    await waitFor(async () => ((await find())?.state === 'idle' ? true : undefined));
    await scheduler.drain(name, 'too slow: 12 of 40 GB/s');
    const { state, reason } = (await find()) ?? {};
    assert.deepEqual({ state, reason }, { state: 'drained', reason: 'too slow: 12 of 40 GB/s' });
    await scheduler.resume(name);
    // Not at once: the node is asked first whether it is there.
    await waitFor(async () => ((await find())?.state === 'idle' ? true : undefined));
    await rejects(scheduler.drain('no-such-node', 'why'), 'refused');
  });

  check('exclusions hold', async (at) => {
    const { scheduler } = at;
    const names = (await scheduler.nodes()).map((node) => node.name);
    if (names.length < 2) return;
    const [wanted, ...exclude] = names as [string, ...string[]];
    const id = await scheduler.submit(request(at, { name: 'away', body: 'true', exclude }));
    assert.deepEqual((await until(scheduler, id, 'ended')).nodes, [wanted]);
  });

  check('arrays', async (at) => {
    const { scheduler } = at;
    if (at.hasArrays === false) return;
    const array = request(at, { name: 'array', body: 'true', array: '0-2' });
    if (scheduler.lacks.has('arrays')) return await rejects(scheduler.submit(array), 'unsupported');
    const id = await scheduler.submit(array);
    const ended = await waitFor(async () => {
      const all = await scheduler.jobs({ ids: [id] });
      return all.length === 3 && all.every((job) => job.state === 'ended') ? all : undefined;
    });
    assert.deepEqual(ended.map((job) => job.id).sort(), [`${id}_0`, `${id}_1`, `${id}_2`]);
  });

  check('no job is put back into the queue that was submitted never to be', async (at) => {
    const { scheduler } = at;
    const id = await scheduler.submit(request(at, { name: 'once', body: 'sleep 300' }));
    await until(scheduler, id, 'running');
    await rejects(scheduler.requeue(id), scheduler.lacks.has('requeue') ? 'unsupported' : 'refused');
    await scheduler.cancel(id);
    await until(scheduler, id, 'ended');
  });

  check('the warning reached the steps, not the batch script', async ({ scheduler, directory }) => {
    const ended = await until(scheduler, warned, 'ended', 100_000);
    assert.equal(ended.outcome, 'completed', show(ended));
    assert.equal(await textOf(join(directory, `warned-${warned}.log`)), 'ready\nwarned\nover\n');
  });

  check('what it lacks it refuses plainly', async ({ scheduler }) => {
    const calls: Partial<Record<Ability, () => Promise<unknown>>> = {
      update: () => scheduler.update('1', { timeSeconds: 60 }),
      history: () => scheduler.history({}),
      script: () => scheduler.script('1'),
      nodes: () => scheduler.nodes(),
    };
    for (const [ability, call] of Object.entries(calls)) {
      if (scheduler.lacks.has(ability as Ability)) await rejects(call(), 'unsupported');
    }
  });
}

function request(
  { directory }: ContractSetting,
  change: Partial<JobRequest> & { name: string; body: string },
): JobRequest {
  mkdirSync(directory, { recursive: true });
  return {
    nodes: { min: 1, max: 1 },
    timeSeconds: 600,
    directory,
    output: join(directory, '%x-%j.log'),
    ...change,
  };
}

export async function one(scheduler: Scheduler, id: string): Promise<Job | undefined> {
  return (await scheduler.jobs({ ids: [id] }))[0];
}

/** Waits until the job is in this state. */
export async function until(scheduler: Scheduler, id: string, state: JobState, patience = 60_000): Promise<Job> {
  let last: Job | undefined;
  return await waitFor(
    async () => {
      last = await one(scheduler, id);
      if (last?.state === 'ended' && state !== 'ended') assert.fail(`it ended: ${show(last)}`);
      return last?.state === state ? last : undefined;
    },
    patience,
    () => `waited for job ${id} to be ${state}: ${show(last)}`,
  );
}

export async function waitFor<T>(
  look: () => Promise<T | undefined>,
  patience = 60_000,
  what = (): string => 'waited in vain',
): Promise<T> {
  for (const began = Date.now(); ; await wait(100)) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() - began > patience) assert.fail(what());
  }
}

export async function rejects(call: Promise<unknown>, kind: SchedulerError['kind']): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof SchedulerError, `${error}`);
    assert.equal(error.kind, kind, error.message);
    return true;
  });
}

/** A file's text, empty where it is not there yet. */
async function textOf(path: string): Promise<string> {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

const show = (value: unknown): string => JSON.stringify(value, null, 1);
