import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { CampaignFolder } from './campaign-folder.ts';
import type { ClusterNode } from './scheduler.ts';
import { keepWatch, signOfLife } from './sentinel.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-sentinel-'));
after(() => rmSync(scratch, { recursive: true }));

function linkOf(name: string): CampaignFolder {
  const folder = new CampaignFolder(join(scratch, name));
  mkdirSync(folder.link('0001'), { recursive: true });
  folder.write('0001', 'begin.json', { time: 1, job: '7', nodes: ['a', 'b', 'c'], host: 'a.site' });
  return folder;
}

/** A scheduler that knows the state of one node. */
const nodes = (name: string, state: ClusterNode['state']) => ({
  nodes: async (): Promise<readonly ClusterNode[]> => [
    { name, state, raw: state, partitions: [], features: [], gres: '', reason: null } as unknown as ClusterNode,
  ],
});
const well = nodes('a', 'allocated');

function watch(folder: CampaignFolder, more: Partial<Parameters<typeof keepWatch>[0]> = {}) {
  return keepWatch({ folder, link: '0001', scheduler: well, host: 'b', silenceSeconds: 1, place: 0, ...more });
}

test('a silent controller is taken over from by one of two', async () => {
  const folder = linkOf('silent');
  signOfLife(folder, '0001', '1');
  const ending = new AbortController();
  const second = watch(folder, { host: 'c', place: 1, signal: ending.signal });
  const taken = await watch(folder);
  assert.deepEqual([taken?.host, taken?.from, /was silent for/.test(taken?.why ?? '')], ['b', 'a', true]);
  // The one that took over gives signs of life.
  const beat = setInterval(() => signOfLife(folder, '0001', `b ${performance.now()}`), 300);
  await wait(6000);
  ending.abort();
  clearInterval(beat);
  assert.equal(await second, undefined);
  assert.deepEqual(folder.takeovers('0001'), [taken]);
});

test('who takes over may fall silent, too', async () => {
  const folder = linkOf('twice');
  assert.ok(folder.takeOver('0001', { time: 2, host: 'b', from: 'a', why: 'silent' }));
  const taken = await watch(folder, { host: 'c' });
  assert.deepEqual([taken?.host, taken?.from], ['c', 'b']);
  assert.equal(folder.takeovers('0001').length, 2);
});

test('a controller that left because a later link began is not taken over from', async () => {
  const folder = linkOf('later');
  mkdirSync(folder.link('0002'), { recursive: true });
  folder.write('0002', 'begin.json', { time: 2, job: '8', nodes: ['c'], host: 'c' });
  assert.equal(await watch(folder), undefined);
  assert.deepEqual(folder.takeovers('0001'), []);
});

test('where everything stood still the controller gets its time again', async () => {
  const folder = linkOf('stalled');
  const beat = setInterval(() => signOfLife(folder, '0001', `${performance.now()}`), 600);
  const ending = new AbortController();
  const watching = watch(folder, { signal: ending.signal });
  await wait(1500);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4000);
  await wait(1500);
  ending.abort();
  clearInterval(beat);
  assert.equal(await watching, undefined);
});

test('a node that the scheduler calls down is not waited for; nor is a link that is over watched', async () => {
  const folder = linkOf('down');
  const beat = setInterval(() => signOfLife(folder, '0001', `${performance.now()}`), 200);
  const taken = await watch(folder, { scheduler: nodes('a', 'down') });
  clearInterval(beat);
  assert.match(taken?.why ?? '', /the scheduler calls a down/);
  const over = linkOf('over');
  writeFileSync(over.link('0001', 'end.json'), '{}');
  assert.equal(await watch(over), undefined);
});

test('a scheduler that takes its time to answer does not keep a silent controller in office', async () => {
  const folder = linkOf('slow');
  signOfLife(folder, '0001', '1');
  const ending = new AbortController();
  const slow = {
    async nodes() {
      await wait(5000);
      return await well.nodes();
    },
  };
  const watching = watch(folder, { scheduler: slow, silenceSeconds: 6, signal: ending.signal });
  const taken = await Promise.race([watching, wait(9000).then(() => undefined)]);
  ending.abort();
  assert.match(taken?.why ?? 'nobody takes over', /was silent for [67] s/);
});
