// The batch script of a request, and which requests are refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { batchScript, type JobRequest, SchedulerError, slurmTime } from './scheduler.ts';

const least: JobRequest = {
  name: 'apertus',
  body: 'srun hostname',
  nodes: { min: 2, max: 2 },
  timeSeconds: 600,
  output: 'out.log',
  directory: '/scratch/run',
};

test('the least request: no option that was not asked for', () => {
  assert.equal(
    batchScript(least),
    [
      '#!/bin/bash',
      '#SBATCH --job-name=apertus',
      '#SBATCH --nodes=2',
      '#SBATCH --time=00:10:00',
      '#SBATCH --output=out.log',
      '#SBATCH --chdir=/scratch/run',
      '#SBATCH --no-requeue',
      'srun hostname',
      '',
    ].join('\n'),
  );
});

test('every field of a request stands in the script, in one order', () => {
  const script = batchScript({
    body: 'srun hostname\n',
    comment: 'say "when" at 100 $ # \\ end',
    exclude: ['nid000003', 'nid000007'],
    extra: ['--mem=0', '--mail-user=A B', '--contiguous'],
    exclusive: true,
    name: 'apertus',
    nodes: { max: 8, min: 6 },
    tasksPerNode: 4,
    cpusPerTask: 72,
    gpusPerNode: 4,
    timeSeconds: 2 * 86400 - 1,
    partition: 'normal',
    account: 'a-infra01',
    reservation: 'apertus',
    constraint: 'gh200&thp_never',
    dependency: 'singleton',
    warning: { signal: 'USR2', seconds: 600 },
    output: 'links/%j of it.log',
    directory: '/scratch/run',
    array: '0-99%8',
  });
  assert.equal(
    script,
    [
      '#!/bin/bash',
      '#SBATCH --job-name=apertus',
      '#SBATCH --nodes=6-8',
      '#SBATCH --ntasks-per-node=4',
      '#SBATCH --cpus-per-task=72',
      '#SBATCH --gpus-per-node=4',
      '#SBATCH --time=1-23:59:59',
      '#SBATCH --partition=normal',
      '#SBATCH --account=a-infra01',
      '#SBATCH --reservation=apertus',
      '#SBATCH --constraint=gh200&thp_never',
      '#SBATCH --exclude=nid000003,nid000007',
      '#SBATCH --dependency=singleton',
      '#SBATCH --signal=USR2@600',
      '#SBATCH --output="links/%j of it.log"',
      '#SBATCH --chdir=/scratch/run',
      '#SBATCH --array=0-99%8',
      '#SBATCH --comment="say \\"when\\" at 100 $ # \\\\ end"',
      '#SBATCH --exclusive',
      '#SBATCH --no-requeue',
      '#SBATCH --mem=0',
      '#SBATCH --mail-user="A B"',
      '#SBATCH --contiguous',
      'srun hostname',
      '',
    ].join('\n'),
  );
});

test('requests that no scheduler could take are the user’s mistake', () => {
  const bad: readonly Partial<JobRequest>[] = [
    { name: '' },
    { name: 'a\n#SBATCH --uid=0' },
    { name: 'a/b' },
    { output: 'a\u0000b' },
    { comment: 'two\nlines' },
    { extra: ['mem=0'] },
    { extra: ['-S 4'] },
    { extra: ['--mem=0\nrm -r out'] },
    { nodes: { min: 0, max: 1 } },
    { nodes: { min: 3, max: 2 } },
    { nodes: { min: 1.5, max: 2 } },
    { tasksPerNode: -1 },
    { timeSeconds: 0 },
    { timeSeconds: Number.NaN },
    { timeSeconds: Number.POSITIVE_INFINITY },
    { warning: { signal: 'USR2', seconds: 0 } },
  ];
  for (const change of bad)
    assert.throws(() => batchScript({ ...least, ...change }), UserError, JSON.stringify(change));
});

test('seconds as Slurm writes them', () => {
  assert.equal(slurmTime(1), '00:00:01');
  assert.equal(slurmTime(59.2), '00:01:00');
  assert.equal(slurmTime(3661), '01:01:01');
  assert.equal(slurmTime(86400), '1-00:00:00');
  assert.equal(slurmTime(48 * 3600 + 90), '2-00:01:30');
});

test('what may succeed a moment later', () => {
  const kinds = ['unreachable', 'timeout', 'refused', 'malformed', 'unsupported'] as const;
  assert.deepEqual(
    kinds.map((kind) => new SchedulerError(kind, '').retryable),
    [true, true, false, false, false],
  );
  assert.equal(new SchedulerError('refused', 'too many jobs', { retryable: true }).retryable, true);
});
