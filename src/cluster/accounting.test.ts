import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CampaignWriter } from '../../test/campaign-files.ts';
import { recordAccounting } from './accounting.ts';
import { historyOf } from './history.ts';
import { readCampaignFiles } from './history-files.ts';
import type { Job } from './scheduler.ts';
import { slurmCli } from './schedulers/slurm-cli.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-accounting-'));
after(() => rmSync(scratch, { recursive: true }));

const job = (id: string, more: Partial<Job>): Job => ({
  id,
  name: 'test',
  user: 'me',
  state: 'ended',
  raw: '',
  reason: '',
  nodes: ['n1', 'n2'],
  ...more,
});

test('jobs that ended are recorded once, and the history counts as the scheduler does', () => {
  const campaign = new CampaignWriter(scratch);
  for (const [i, id] of ['7', '8', '9'].entries()) {
    campaign.link(`000${i + 1}`, { job: { job: id }, begin: { time: 100 * (i + 1) + 2, job: id, nodes: ['n1'] } });
  }
  const jobs = [
    job('7', { outcome: 'node-failure', began: 100, ended: 150, energyJoules: 5000 }),
    job('8', { state: 'running', began: 200 }),
    job('9', { outcome: 'completed', began: 300 }),
    job('10', { outcome: 'completed', began: 300, ended: 400 }),
  ];
  const record = (): string[] => recordAccounting(readCampaignFiles(scratch), jobs);
  assert.deepEqual(record(), ['0001']);
  assert.deepEqual(record(), []);
  const [first, second] = historyOf(readCampaignFiles(scratch), { now: 320 }).links;
  assert.deepEqual(
    [
      first?.clock,
      first?.why,
      first?.allocatedNodeSeconds,
      first?.energyJoules,
      first?.energyIsEstimate,
      first?.beganLater,
    ],
    ['scheduler', 'node-failure', 100, 5000, false, 2],
  );
  assert.equal(second?.clock, 'link');
});

test('energy as a sacct tells it that measures, of a job that it measured and of one that it did not', async () => {
  const dir = join(scratch, 'energy');
  const campaign = new CampaignWriter(dir);
  const nodes = ['n1', 'n2'];
  campaign.link('0001', { job: { job: '7' }, begin: { time: 102, job: '7', nodes } });
  campaign.link('0002', { job: { job: '8' }, begin: { time: 202, job: '8', nodes } });
  const sacct = join(scratch, 'sacct.sh');
  const line = (id: string, began: number, joules: string): string =>
    `echo '${[id, 'x', 'me', 'COMPLETED', '0:0', '90', began, began + 50, 'n[1-2]', 'None', '', joules].join('|')}'`;
  // Its first word is sacct; what stands for | is the last thing asked for.
  const script = `#!/bin/sh\n[ "$1" = sacct ] || exit 1\n{ ${line('7', 100, '123456')}; ${line('8', 200, '0')}; } | tr '|' '\\037'\n`;
  writeFileSync(sacct, script);
  chmodSync(sacct, 0o755);
  const scheduler = slurmCli({ prefix: [sacct] });
  assert.deepEqual(recordAccounting(readCampaignFiles(dir), await scheduler.history({ ids: ['7', '8'] })), [
    '0001',
    '0002',
  ]);
  const { links, summary } = historyOf(readCampaignFiles(dir), { now: 400, wattsPerNode: 500 });
  assert.deepEqual(
    links.map(({ energyJoules, energyIsEstimate }) => [energyJoules, energyIsEstimate]),
    [
      [123_456, false],
      [500 * 2 * 50, true],
    ],
  );
  assert.deepEqual([summary.energyMeasuredLinks, summary.energyIsEstimate], [1, true]);
  assert.equal(
    historyOf(readCampaignFiles(dir), { now: 400 }).summary.energyJoules,
    undefined,
    'of one nothing is known',
  );
});
