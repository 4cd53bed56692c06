import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { documentFiles } from '../../base/documents-folder.ts';
import { hashFile } from '../../base/hashing.ts';
import { readJsonl } from '../../base/jsonl.ts';
import { type Funnel, readLedger } from '../../base/ledger.ts';
import { silentLog } from '../../base/progress.ts';
import { parseRecipe, type Recipe, type RecipeInput } from '../../base/recipe.ts';
import { buildSource } from '../build-source.ts';
import { runCli } from '../../../test/run-cli.ts';
import { cleanDocuments, workFolder } from '../clean.ts';
import { httpResponse, recordId, WarcWriter } from '../warc-writer.ts';

type RecipeSteps = NonNullable<Recipe['data']>['steps'];

const dir = mkdtempSync(join(tmpdir(), 'belay-line-'));
after(() => rmSync(dir, { recursive: true }));
const source = join(dir, 'source');

const model = { layers: 1, hidden: 8, intermediate: 8, heads: 1, kvHeads: 1, headDim: 8, vocabularySize: 512 };
const steps = [{ step: 'opt-out' }, { step: 'language' }, { step: 'pii' }, { step: 'exact-dedup', parts: 3 }];

function recipe(data: Partial<NonNullable<RecipeInput['data']>> = {}): Recipe {
  const plant = {
    optOutHosts: 0.2,
    personalDataPages: 10,
    duplicatePages: 30,
    probes: { textsPerBucket: 1, words: 20 },
  };
  const all = { source: { kind: 'udhr' as const }, plant, heldOutSections: ['article-15'], steps, shardBytes: 60_000 };
  return parseRecipe({ name: 'test', model, data: { ...all, ...data } }, 'test');
}

before(async () => {
  await buildSource({ dir: source, recipe: recipe(), log: silentLog });
});

/** Names and hashes of what a folder holds; the manifest also says where its inputs lie. */
function contents(folder: string): Map<string, string> {
  const names = readdirSync(folder).filter((name) => name !== 'manifest.json');
  return new Map(names.sort().map((name) => [name, hashFile(join(folder, name)).sha256]));
}

/** When the tasks of a level were done. */
function doneTimes(folder: string, level: string): number[] {
  const work = join(workFolder(folder), level);
  return readdirSync(work)
    .sort()
    .map((task) => statSync(join(work, task, 'done.json')).mtimeMs);
}

const clean = (name: string, of: Recipe, more: object = {}) =>
  cleanDocuments({ dir: join(dir, name), recipe: of, source, log: silentLog, ...more });

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

test('the bytes do not depend on the number of threads', async () => {
  await clean('one', recipe(), { workers: 1 });
  await clean('three', recipe(), { workers: 3 });
  const one = contents(join(dir, 'one'));
  assert.ok(one.size > 8, 'there is more than one shard');
  assert.deepEqual(contents(join(dir, 'three')), one);
});

test('verdicts and documents do not depend on how the files are cut into shards', async () => {
  await clean('whole', recipe({ shardBytes: 1e9 }), { workers: 2 });
  const rows = await all(readLedger(join(dir, 'one')));
  assert.deepEqual(await all(readLedger(join(dir, 'whole'))), rows);
  assert.equal(documentFiles(join(dir, 'whole'), 'train').length, 1);
  for (const part of ['train', 'validation'] as const) {
    const documents = async (name: string): Promise<unknown[]> => {
      const shards = documentFiles(join(dir, name), part).map((path) => all(readJsonl(path)));
      return (await Promise.all(shards)).flat();
    };
    assert.deepEqual(await documents('whole'), await documents('one'));
  }
  const funnel = (name: string): unknown => JSON.parse(readFileSync(join(dir, name, 'funnel.json'), 'utf8'));
  assert.deepEqual(funnel('whole'), funnel('one'));
});

test('a robots.txt that comes later makes again what it touches, and the result is that of a whole run', async () => {
  const pages = join(dir, 'pages');
  mkdirSync(pages);
  const date = '2020-01-01T00:00:00Z';
  const write = (file: string, records: readonly (readonly [string, string, string])[]): void => {
    const writer = new WarcWriter(join(pages, file));
    for (const [targetUri, type, body] of records) {
      const block = httpResponse('200 OK', { 'Content-Type': type }, Buffer.from(body));
      const contentType = 'application/http;msgtype=response';
      writer.write({ type: 'response', id: recordId(targetUri, date), date, targetUri, contentType, block });
    }
    writer.close();
  };
  const page = (host: number, text: string) => [`https://h${host}.example/${text.length}`, 'text/plain', text] as const;
  for (let host = 0; host < 6; host++) {
    // Two hosts share a text each: the first of them is the one that stays.
    write(`h${host}.warc.gz`, [
      page(host, `Only here, on ${host}.`),
      page(host, `The same text on pair ${Math.floor(host / 2)}.`),
    ]);
  }
  const warc = recipe({ source: { kind: 'warc', paths: [pages] }, plant: null, heldOutSections: [], shardBytes: 1 });
  const run = async (name: string): Promise<string> => {
    await buildSource({ dir: join(dir, `${name}-source`), recipe: warc, log: silentLog });
    const options = { recipe: warc, source: join(dir, `${name}-source`), log: silentLog, workers: 1 };
    return (await cleanDocuments({ ...options, dir: join(dir, name) })).manifest.id;
  };
  await run('again');
  const work = join(dir, 'again');
  const levels = ['read', 'pass-1', 'final'];
  const before = levels.map((level) => doneTimes(work, level));
  write('z.warc.gz', [['https://h0.example/robots.txt', 'text/plain', 'User-agent: GPTBot\nDisallow: /']]);
  const id = await run('again');
  const [read = [], pass = [], final = []] = levels.map((level, i) =>
    doneTimes(work, level).flatMap((time, shard) => (time === before[i]?.[shard] ? [] : [shard])),
  );
  // 0 is refused, 1 now holds the first copy, 6 is the new file; what was removed in between is made again for them.
  assert.deepEqual(
    [read, pass, final],
    [
      [0, 1, 6],
      [0, 1, 6],
      [0, 1, 6],
    ],
  );
  assert.equal(await run('fresh'), id);
  assert.deepEqual(contents(join(dir, 'fresh')), contents(work));
  const rows = await all(readLedger(work));
  const texts = rows.filter(({ verdict }) => verdict === 'kept').map(({ url }) => url);
  assert.deepEqual(
    texts.filter((url) => url?.endsWith('/24')).map((url) => url?.slice(8, 10)),
    ['h1', 'h2', 'h4'],
  );
  assert.deepEqual(
    rows.filter(({ reason }) => reason === 'opt-out').map(({ url, detail }) => [url, detail]),
    ['16', '24'].map((path) => [`https://h0.example/${path}`, 'GPTBot']),
  );
});

test('a step that is not first where it must be, a step twice, an unknown one: the mistake is named', async () => {
  const refused = async (list: RecipeSteps, pattern: RegExp): Promise<void> => {
    const of = { ...recipe(), data: { ...recipe().data, steps: list } } as Recipe;
    await assert.rejects(clean('refused', of), pattern);
  };
  await refused([{ step: 'pii' }, { step: 'opt-out' }], /opt-out must be the first step/);
  await refused([{ step: 'pii' }, { step: 'pii' }], /has pii twice/);
  await refused([{ step: 'pi' }], /there is no step "pi"; did you mean "pii"/);
  await refused([{ step: 'opt-out', agent: 'x' }], /settings of the step opt-out are not right/);
});

test('killed at any moment it goes on to the same bytes', async () => {
  const target = join(dir, 'killed');
  const saved = join(dir, 'killed-recipe.json');
  writeFileSync(saved, JSON.stringify(recipe()));
  const args = ['data', 'clean', '--recipe', saved, '--out', target, '--workers', '2'];
  let kills = 0;
  for (let wait = 300; ; wait *= 1.35) {
    const { signal, code, stderr } = await runCli(args, { killAfterMs: wait });
    if (signal === null) {
      assert.equal(code, 0, stderr);
      break;
    }
    kills++;
    assert.ok(kills < 30, 'it ends');
  }
  assert.ok(kills > 1, `it was killed ${kills} times`);
  assert.deepEqual(contents(join(target, 'documents')), contents(join(dir, 'one')));
});

test('a source without a robots.txt says that nobody was asked, and counts it', async () => {
  const input = join(dir, 'silent.jsonl');
  const lines = [
    { id: 'a', text: 'one', url: 'https://a.example/1' },
    { id: 'b', text: 'two' },
    { id: 'a', text: 'again', url: 'https://a.example/2' },
  ];
  writeFileSync(input, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const own = recipe({ source: { kind: 'jsonl', paths: [input] }, plant: null, heldOutSections: [] });
  const from = join(dir, 'silent-source');
  await buildSource({ dir: from, recipe: own, log: silentLog });
  const said: string[] = [];
  const log = { ...silentLog, line: (words: string) => void said.push(words) };
  await cleanDocuments({ dir: join(dir, 'silent'), recipe: own, source: from, log, workers: 1 });
  const told = said.filter((words) => words.startsWith('opt-out: '));
  assert.match(told[0] ?? '', /holds no robots\.txt/);
  assert.match(told[1] ?? '', /1 documents without an address, 1 of hosts/);
  const funnel = JSON.parse(readFileSync(join(dir, 'silent', 'funnel.json'), 'utf8')) as Funnel;
  const asked = funnel.steps.find(({ step }) => step === 'opt-out');
  assert.deepEqual(asked?.unasked, { noAddress: 1, noRobots: 1 });
  assert.equal(asked?.in.documents, 2);
});
