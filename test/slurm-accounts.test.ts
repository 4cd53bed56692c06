// The past of jobs from a real slurmdbd: how they ended, by name and time, long after the controller forgot them.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { JobRequest } from '../src/cluster/scheduler.ts';
import { slurmCli } from '../src/cluster/schedulers/slurm-cli.ts';
import { until, waitFor } from './scheduler-contract.ts';
import { Cluster, whyNoNamespaces, whyNoSlurm, whyNot } from './slurm/cluster.ts';

const required = process.env['BELAY_REQUIRE_SLURM'] === '1';
const missing = whyNoSlurm() ?? whyNot({ accounts: true });
const skip = required ? false : (missing ?? false);

const scratch = mkdtempSync(join(tmpdir(), 'belay-accounts-'));
let cluster: Cluster;

before(async () => {
  if (skip) return;
  assert.equal(missing, undefined);
  // The database runs as another user.
  chmodSync(scratch, 0o755);
  const options = { accounts: true, conf: ['MinJobAge=2'] };
  cluster = await Cluster.start(join(scratch, 'slurm'), 2, whyNoNamespaces() === undefined, options);
});
after(async () => {
  await cluster?.close();
  rmSync(scratch, { recursive: true, force: true });
});

test('ended jobs from accounts, by id, name and time', { skip, timeout: 120_000 }, async () => {
  const scheduler = slurmCli({ prefix: cluster.prefix, env: cluster.env });
  const work = (change: Partial<JobRequest>): JobRequest => ({
    name: 'good | odd',
    body: 'true',
    nodes: { min: 2, max: 2 },
    timeSeconds: 600,
    output: '/dev/null',
    directory: scratch,
    comment: 'link 3 | of "run"',
    ...change,
  });
  const since = Math.floor(Date.now() / 1000) - 5;
  const good = await scheduler.submit(work({}));
  const bad = await scheduler.submit(work({ name: 'bad', body: 'exit 3' }));
  const stopped = await scheduler.submit(work({ name: 'stopped', body: 'srun sleep 300' }));
  await until(scheduler, stopped, 'running');
  await scheduler.cancel(stopped);
  await until(scheduler, stopped, 'ended');
  // The database is told in bundles.
  const past = await waitFor(async () => {
    const jobs = await scheduler.history({ since });
    return jobs.length === 3 ? jobs : undefined;
  });
  assert.deepEqual(
    past.map(({ id, name, outcome, exitCode, nodes }) => ({ id, name, outcome, exitCode, nodes })),
    [
      { id: good, name: 'good | odd', outcome: 'completed', exitCode: 0, nodes: ['n1', 'n2'] },
      { id: bad, name: 'bad', outcome: 'failed', exitCode: 3, nodes: ['n1', 'n2'] },
      { id: stopped, name: 'stopped', outcome: 'cancelled', exitCode: 0, nodes: ['n1', 'n2'] },
    ],
  );
  const [job] = past;
  assert.equal(job?.comment, 'link 3 | of "run"');
  assert.ok((job?.submitted as number) >= since && (job?.ended as number) >= (job?.began as number));
  const ids = async (filter: Parameters<typeof scheduler.history>[0]): Promise<string[]> =>
    (await scheduler.history(filter)).map(({ id }) => id);
  assert.deepEqual(await ids({ name: 'bad' }), [bad]);
  assert.deepEqual(await ids({ ids: [good, stopped] }), [good, stopped]);
  assert.deepEqual(await ids({ ids: ['999999'] }), []);
  assert.deepEqual(await ids({ since: since + 86_400 }), []);
  // The controller forgets.
  await waitFor(async () => ((await scheduler.jobs({ ids: [good, bad] })).length === 0 ? true : undefined));
  assert.deepEqual(await ids({ ids: [good, bad] }), [good, bad]);
});
