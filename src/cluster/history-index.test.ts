import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { eventfulCampaign } from '../../test/campaign-files.ts';
import { historyOf } from './history.ts';
import { readCampaignFiles } from './history-files.ts';
import { indexTables, queryHistoryIndex, writeHistoryIndex } from './history-index.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-index-'));
after(() => rmSync(scratch, { recursive: true }));

const path = join(scratch, 'index.duckdb');
const campaign = eventfulCampaign(join(scratch, 'campaign'));
campaign.line('campaign/nodes.jsonl', { time: 1000, node: 'n4', link: '0001', verdict: 'sick', why: 'slow' });
campaign.line('campaign/alerts.jsonl', {
  time: 1020,
  event: 'straggler',
  state: 'firing',
  node: 'n4',
  step: 12,
  score: 0.5,
});
campaign.line('campaign/links/0001/events.jsonl', { time: 1001, event: 'begin', "it's": 1 });

async function build(): Promise<void> {
  const files = readCampaignFiles(campaign.dir);
  await writeHistoryIndex(path, [{ files, history: historyOf(files, { now: 1200, wattsPerNode: 500 }) }]);
}

async function everything(): Promise<unknown> {
  const tables = [];
  for (const table of Object.keys(indexTables)) tables.push(await queryHistoryIndex(path, `SELECT * FROM ${table}`));
  return tables;
}

test('the index answers in SQL what the history says; deleted and made again it is equal', async () => {
  await build();
  const before = await everything();
  const ask = async (sql: string): Promise<unknown> => (await queryHistoryIndex(path, sql)).map(Object.values);
  assert.deepEqual(await ask(`SELECT count(*)::INT, max(step)::INT FROM steps WHERE fate = 'kept'`), [[70, 70]]);
  assert.deepEqual(await ask(`SELECT link, sum(seconds) FROM steps WHERE fate = 'lost' GROUP BY link`), [['0001', 15]]);
  assert.deepEqual(await ask('SELECT sum(useful_seconds * nodes) / sum(allocated_seconds * nodes) FROM links'), [
    [280 / 630 - 0],
  ]);
  assert.deepEqual(await ask('SELECT node, verdict FROM nodes'), [['n4', 'sick']]);
  assert.deepEqual(await ask('SELECT kind, step::INT FROM alerts'), [['straggler', 12]]);
  assert.deepEqual(await ask(`SELECT fields FROM events WHERE source = 'link 0001'`), [[`{"it's":1}`]]);
  rmSync(path);
  await build();
  assert.deepEqual(await everything(), before);
  await build();
  assert.deepEqual(await everything(), before, 'over an index that is there, too');
  assert.deepEqual(readdirSync(scratch).sort(), ['campaign', 'index.duckdb']);
});

test('what is no index is never replaced by one', async () => {
  const spec = join(scratch, 'campaign.json');
  writeFileSync(spec, '{"name": "run1"}');
  await assert.rejects(writeHistoryIndex(spec, []), /would be replaced\n +found: +a file of another kind/);
  assert.equal(readFileSync(spec, 'utf8'), '{"name": "run1"}');
  await assert.rejects(writeHistoryIndex(scratch, []), /would be replaced\n +found: +a folder/);
  assert.ok(!existsSync(`${scratch}.partial`));
});

test('a broken index and a wrong query are said', async () => {
  const broken = join(scratch, 'broken.duckdb');
  writeFileSync(broken, 'not a database, but long enough to be looked at'.repeat(200));
  await assert.rejects(queryHistoryIndex(broken, 'SELECT 1'), /cannot be opened as an index/);
  await build();
  await assert.rejects(queryHistoryIndex(path, 'SELECT nothing FROM links'), /the query failed/);
});
