// An opt-out after the fact, from the front door: what holds the documents is named, only those shards are made again,
// and the corpus is that of a whole run from the changed recipe.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { hashFile } from '../src/base/hashing.ts';
import { readLedger } from '../src/base/ledger.ts';
import type { OptOutReport } from '../src/commands/data-optout.ts';
import { runCli } from './run-cli.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-optout-'));
after(() => rmSync(dir, { recursive: true }));

const hashes = (folder: string): [string, string][] =>
  readdirSync(folder)
    .filter((name) => name !== 'manifest.json')
    .sort()
    .map((name) => [name, hashFile(join(folder, name)).sha256]);

const times = (folder: string, level: string): number[] =>
  readdirSync(join(folder, level))
    .sort()
    .map((task) => statSync(join(folder, level, task, 'done.json')).mtimeMs);

async function belay(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCli(args);
  assert.equal(code, 0, stderr);
  return stdout;
}

test('the documents of a domain go, with what holds them named', async () => {
  const pages = join(dir, 'pages');
  mkdirSync(pages);
  for (let file = 0; file < 4; file++) {
    const lines = Array.from({ length: 12 }, (_, i) => {
      // The domain has pages in files 1 and 2 alone.
      const host = i === 5 && (file === 1 || file === 2) ? 'www.gone.example' : `host${file}.example`;
      const text = `Page ${i} of file ${file}: all human beings are born free and equal in dignity and rights, number ${i * 7 + file}.`;
      return JSON.stringify({ id: `${file}-${i}`, url: `https://${host}/${i}`, text, language: 'en' });
    });
    writeFileSync(join(pages, `${file}.jsonl`), lines.join('\n'));
  }
  const recipe = {
    name: 'optout',
    data: { source: { kind: 'jsonl', paths: [pages] }, shardBytes: 1, heldOutShare: 0.1 },
    tokenizer: { vocabularySize: 360 },
    tokens: {},
    model: { layers: 1, hidden: 16, intermediate: 32, heads: 2, kvHeads: 1, headDim: 8, vocabularySize: 360 },
    pretrain: {
      steps: 12,
      batchSize: 4,
      sequenceLength: 64,
      checkpointEverySteps: 2,
      peakLearningRate: 1e-3,
      warmupSamples: 4,
    },
  };
  const path = join(dir, 'recipe.json');
  writeFileSync(path, JSON.stringify(recipe));
  const run = join(dir, 'run');
  await belay('pretrain', '--recipe', path, '--out', run);
  const optout = ['data', 'optout', '--out', run, '--domain', 'Gone.example', '--json'];
  const documents = join(run, 'documents');
  const before = hashes(documents);

  const dry = JSON.parse(await belay(...optout, '--dry-run')) as OptOutReport;
  assert.deepEqual([dry.documents, dry.reasons], [2, { 'gone.example': 2 }]);
  assert.deepEqual(
    dry.shards.map(({ name, documents: count }) => [name, count]),
    [
      ['shard 00001', 1],
      ['shard 00002', 1],
    ],
  );
  const tokens = dry.tokens.reduce((sum, { documents: count, size }) => sum + (size > 20 ? count : 0), 0);
  assert.equal(tokens, 2);
  assert.ok(dry.firstStep !== null && dry.firstStep < 12);
  assert.ok(dry.checkpoints.includes('pretrain/model'));
  assert.deepEqual(hashes(documents), before, 'a dry run changes nothing');

  const finals = times(`${documents}.work`, 'final');
  const report = JSON.parse(await belay(...optout)) as OptOutReport;
  assert.deepEqual(report, dry);
  const again = times(`${documents}.work`, 'final').flatMap((time, i) => (time === finals[i] ? [] : [i]));
  assert.deepEqual(again, [1, 2]);
  const rows = [];
  for await (const row of readLedger(documents)) if (row.reason === 'opt-out-request') rows.push([row.id, row.detail]);
  assert.deepEqual(rows, [
    ['1-5', 'gone.example'],
    ['2-5', 'gone.example'],
  ]);

  const fresh = join(dir, 'fresh');
  await belay('data', 'clean', '--recipe', join(run, 'recipe.json'), '--out', fresh);
  assert.deepEqual(hashes(join(fresh, 'documents')), hashes(documents));
  const id = (of: string): string => JSON.parse(readFileSync(join(of, 'documents', 'manifest.json'), 'utf8')).id;
  assert.equal(id(fresh), id(run));
  const none = JSON.parse(await belay(...optout)) as OptOutReport;
  assert.equal(none.documents, 0);
});

test('a recipe for a corpus alone: the result is that of a whole run', async () => {
  const pages = join(dir, 'corpus.jsonl');
  const lines = Array.from({ length: 30 }, (_, i) => ({
    id: `${i}`,
    url: `https://${i % 3 === 0 ? 'gone' : 'stays'}.example/${i}`,
    text: `Page ${i >> 1}: all human beings are born free and equal in dignity and rights.`,
  }));
  writeFileSync(pages, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const path = join(dir, 'corpus.json');
  writeFileSync(path, JSON.stringify({ name: 'corpus', data: { source: { kind: 'jsonl', paths: [pages] } } }));
  const [out, whole] = [join(dir, 'corpus'), join(dir, 'corpus-whole')];
  await belay('data', 'clean', '--out', out, '--recipe', path);
  await belay('data', 'optout', '--out', out, '--domain', 'gone.example');
  await belay('data', 'clean', '--out', whole, '--recipe', join(out, 'recipe.json'));
  assert.deepEqual(hashes(join(out, 'documents')), hashes(join(whole, 'documents')));
});
