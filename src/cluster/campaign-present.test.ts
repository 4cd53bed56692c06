import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CampaignWriter } from '../../test/campaign-files.ts';
import { CampaignFolder } from './campaign-folder.ts';
import { presentOf } from './campaign-present.ts';
import { historyOf } from './history.ts';
import type { Job, Scheduler } from './scheduler.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-present-'));
after(() => rmSync(scratch, { recursive: true }));

const job = (id: string, more: Partial<Job>): Job => ({
  id,
  name: 'belay-test-abc',
  user: 'me',
  state: 'running',
  raw: '',
  reason: '',
  nodes: ['n1', 'n2'],
  ...more,
});
const begin = (id: string) => ({ time: 102.5, job: id, nodes: ['n1', 'n2'], host: 'n1' });
const end = { time: 150.5, why: 'finished' };

/** Clock, beginning, end, nodes and reason of the link of job 7, with what the queue and the accounts know of it. */
async function told(name: string, files: Record<string, object>, queue: readonly Job[], accounts: readonly Job[] = []) {
  const dir = join(scratch, name);
  const campaign = new CampaignWriter(dir);
  campaign.link('0001', { job: { job: '7', submitted: 90 }, ...files } as Parameters<typeof campaign.link>[1]);
  // The last sign of life of a controller, where it left one.
  campaign.json('campaign/links/0001/alive', {});
  utimesSync(join(dir, 'campaign', 'links', '0001', 'alive'), 140, 140);
  const scheduler = { jobs: async () => queue, history: async () => accounts } as unknown as Scheduler;
  const present = await presentOf(new CampaignFolder(dir), { name: 'test', id: 'abc' }, scheduler);
  const [link] = historyOf(present.files, { now: 160 }).links;
  return [link?.clock, link?.began, link?.ended, link?.nodes.join(), link?.why];
}

test('when a link began is its scheduler’s to say, from the moment the queue knows it', async () => {
  const pending = job('7', { state: 'pending', nodes: [] });
  assert.deepEqual(await told('waits', {}, [pending]), ['link', undefined, undefined, '', 'waiting']);
  const running = job('7', { began: 100 });
  assert.deepEqual(await told('begins', {}, [running]), ['scheduler', 100, undefined, 'n1,n2', 'running']);
  assert.deepEqual(await told('runs', { begin: begin('7') }, [running]), [
    ...['scheduler', 100, undefined],
    ...['n1,n2', 'running'],
  ]);
  // The controller has said that it ends, and the scheduler still clears a node.
  const completing = job('7', { raw: 'COMPLETING', nodes: ['n2'], began: 100 });
  assert.deepEqual(await told('completes', { begin: begin('7'), end }, [completing]), [
    ...['scheduler', 100, 150.5],
    ...['n1,n2', 'finished'],
  ]);
});

test('a link that is over is told by the accounts, and by its own files until they know it', async () => {
  const over = job('7', { state: 'ended', outcome: 'completed', began: 100, ended: 152 });
  const files = { begin: begin('7'), end };
  assert.deepEqual(await told('accounted', files, [], [over]), ['scheduler', 100, 152, 'n1,n2', 'finished']);
  // The queue may remember it for a while.
  assert.deepEqual(await told('remembered', files, [over]), ['link', 102.5, 150.5, 'n1,n2', 'finished']);
  assert.deepEqual(await told('own', files, []), ['link', 102.5, 150.5, 'n1,n2', 'finished']);
  assert.deepEqual(await told('gone', { begin: begin('7') }, []), ['link', 102.5, 140, 'n1,n2', 'its job is gone']);
});
