import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CampaignWriter } from '../../test/campaign-files.ts';
import { recordAccounting } from './accounting.ts';
import { historyOf } from './history.ts';
import { readCampaignFiles } from './history-files.ts';
import type { Job } from './scheduler.ts';

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
