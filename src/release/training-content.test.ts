// The public summary says what the ledger holds, under the headings that the recipe gives, and nothing else.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Json } from '../base/json.ts';
import { JsonlWriter } from '../base/jsonl.ts';
import { writeJsonAtomic } from '../base/atomic.ts';
import { FunnelCounter, funnelName, type LedgerRow } from '../base/ledger.ts';
import { writeManifest } from '../base/manifest.ts';
import { parseRecipe, type RecipeInput } from '../base/recipe.ts';
import { runCli } from '../../test/run-cli.ts';
import { dataSummary } from './data-summary.ts';
import { domainOf } from './registrable-domain.ts';
import { ContentCounter, type TrainingContent } from './training-content.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-summary-'));
after(() => rmSync(scratch, { recursive: true }));

const model = { layers: 1, hidden: 8, intermediate: 8, heads: 1, kvHeads: 1, headDim: 8, vocabularySize: 512 };

function row(id: number, more: Partial<LedgerRow> = {}): LedgerRow {
  const of = { language: 'deu', source: 'web', licence: 'unknown' };
  return { id: `d${id}`, verdict: 'kept', ...of, bytesIn: 120, bytesOut: 100, tokensIn: 30, tokensOut: 25, ...more };
}

const gone = { verdict: 'dropped' as const, step: 'opt-out', reason: 'opt-out', bytesOut: 0, tokensOut: 0 };

function contentOf(rows: readonly LedgerRow[], summary?: RecipeInput['summary']): TrainingContent {
  const counter = new ContentCounter();
  const funnel = new FunnelCounter(['read', 'opt-out', 'block-list'], true);
  for (const each of rows) {
    counter.add(each);
    const size = { bytes: each.bytesIn, tokens: each.tokensIn ?? 0 };
    if (each.verdict === 'dropped') funnel.dropped(1, each, size, 'opt-out');
  }
  const steps = [
    { step: 'opt-out', settings: { agents: ['GPTBot'] } },
    { step: 'block-list', settings: {} },
  ];
  const recipe = parseRecipe({ name: 'test', model, ...(summary ? { summary } : {}) }, 'test');
  return counter.content({ name: 'test', recipe, steps, funnel });
}

test('hosts count by the domain that was registered', () => {
  const cases = {
    'https://a.b.example.com/x': 'example.com',
    'http://www.news.co.uk:80/': 'news.co.uk',
    'https://uni.ac.at/': 'uni.ac.at',
    'https://me.com.se/x': 'me.com.se',
    'https://admin.ch/': 'admin.ch',
    'https://a.admin.ch./': 'admin.ch',
    'https://x.co.com/': 'co.com',
    'http://192.168.7.9/': '192.168.7.9',
    'http://[::1]/': '[::1]',
    'https://LOCALHOST/': 'localhost',
    'https://münchen.de/': 'xn--mnchen-3ya.de',
  };
  for (const [url, domain] of Object.entries(cases)) assert.equal(domainOf(url), domain, url);
  for (const url of ['', 'no address', 'urn:uuid:1234', 'file:///etc']) assert.equal(domainOf(url), undefined, url);
});

test('domains are ranked by bytes kept; a tenth is listed, of small providers a twentieth', () => {
  const rows = Array.from({ length: 200 }, (_, i) => {
    const size = { bytesIn: 1000 + i, bytesOut: 1000 + i };
    return row(i, { url: `https://www.site-${i % 40}.example/${i}`, ...size });
  });
  rows.push(row(900, { url: 'https://refused.example/', bytesIn: 1e9, ...gone }));
  rows.push(row(901, { url: 'https://of-others.example/', source: 'set', bytesOut: 1e9 }));
  const sources = [
    { source: 'web', category: 'crawled' as const },
    { source: 'set', category: 'public' as const },
  ];
  const { domains } = contentOf(rows, { sources }).crawling;
  assert.equal(domains.of, 40, 'what was dropped, or is no crawl of the provider, is not counted');
  assert.deepEqual(
    domains.list.map(({ domain }) => domain),
    ['site-39.example', 'site-38.example', 'site-37.example', 'site-36.example'],
  );
  const expected = [39, 79, 119, 159, 199].reduce((sum, i) => sum + 1000 + i, 0);
  assert.deepEqual(domains.list[0], { domain: 'site-39.example', documents: 5, bytes: expected });
  assert.equal(contentOf(rows, { sources, smallProvider: true }).crawling.domains.list.length, 2);
  const many = Array.from({ length: 30_000 }, (_, i) => row(i, { url: `https://s${i}.example/` }));
  assert.equal(contentOf(many).crawling.domains.list.length, 3000);
  assert.equal(contentOf(many, { smallProvider: true }).crawling.domains.list.length, 1000);
});

test('sources stand under the heading that the recipe gives; what it does not say is not guessed', () => {
  const rows = [
    ...Array.from({ length: 97 }, (_, i) => row(i, { source: 'large' })),
    ...[1, 2, 3].map((i) => row(100 + i, { source: `small-${i}` })),
    row(200, { source: 'udhr' }),
    row(201, { source: 'mystery', notes: { crawl: { date: '2019-05-06' } } }),
    row(202, { source: 'mystery', notes: { parquet: { date: '2021-02-03T04:05:06Z', score: 1 } } }),
    row(203, { source: 'mystery', notes: { crawl: { date: '2030-01-01' } }, ...gone }),
  ];
  const open = (source: string) => ({ source, category: 'public' as const, title: `The ${source} set` });
  const sources = ['large', 'small-1', 'small-2', 'small-3'].map(open);
  const content = contentOf(rows, { sources, provider: 'Somebody' });
  const { public: open_, unstated } = content.sources;
  assert.equal(open_.sources.length, 5, 'a collection that belay fetches itself is a public one');
  assert.deepEqual(
    open_.sources.filter(({ large }) => large).map(({ source }) => source),
    ['large'],
  );
  assert.deepEqual(
    unstated.sources.map(({ source, documentsIn, documentsKept, period }) => [
      source,
      documentsIn,
      documentsKept,
      period,
    ]),
    [['mystery', 3, 2, { first: '2019-05-06', last: '2021-02-03' }]],
  );
  assert.equal(content.general.latestDate, '2021-02-03');
  assert.equal(content.general.total.tokensKept, 103 * 25);
  assert.equal(content.general.range, 'less than 1 billion tokens');
  const all = Object.values(content.sources).reduce((sum, { total }) => sum + total.bytesKept, 0);
  assert.equal(all, content.general.total.bytesKept, 'every source is under one heading');
  const text = dataSummary(content);
  assert.match(text, /- provider: Somebody\n- contact: not stated/);
  assert.match(
    text,
    /\| The large set \(large\) \| 97 \| 11 640 \| 97 \| 9 700 \| 2 425 \|\n\| 4 smaller ones \| 4 \|/,
  );
  assert.match(text, /### Sources without a heading[\s\S]*\| mystery \| 3 \|/);
  assert.match(text, /refuses any of these agents: `GPTBot`. Left out for that: 1 documents of 120 bytes\./);
  assert.match(text, /`block-list`: .*: 0 documents/);
  assert.match(text, /Whether the provider signed the Code of Practice is not stated/);
  assert.doesNotMatch(text, /undefined|NaN|null|\[object/);
});

test('what a share of toxicity took counts as removal of illegal content, what one of quality took does not', () => {
  const content = contentOf([row(1)]);
  const rules = [
    { note: 'quality.score', top: 'keep' },
    { note: 'toxicity.score', top: 'drop' },
  ];
  const dropped = [
    { step: 'top-share', reason: 'below-top-share', documents: 700, bytes: 7, tokens: null },
    { step: 'top-share', reason: 'in-top-share', documents: 41, bytes: 1, tokens: null },
  ];
  const summaryWith = (some: readonly object[]): string => {
    const steps = [{ step: 'top-share', settings: { rules: some as never } }];
    return dataSummary({ ...content, processing: { ...content.processing, steps, dropped } });
  };
  assert.match(summaryWith(rules), /`top-share`: the documents .* most toxic are dropped: 41 documents/);
  assert.match(summaryWith(rules.slice(0, 1)), /No step of the cleaning line looked for illegal content/);
});

test('what owners asked for is told apart from what robots.txt refuses, and from nothing being looked for', () => {
  const content = contentOf([row(1)]);
  const dropped = [
    { step: 'opt-out', reason: 'opt-out', documents: 5, bytes: 50, tokens: null },
    { step: 'opt-out', reason: 'opt-out-request', documents: 2, bytes: 20, tokens: null },
    { step: 'opt-out', reason: 'robots-unreachable', documents: 3, bytes: 30, tokens: null },
  ];
  const summaryWith = (settings?: Record<string, Json>): string => {
    const steps = settings ? [{ step: 'opt-out', settings }] : [];
    return dataSummary({ ...content, processing: { ...content.processing, steps, dropped } });
  };
  const whole = summaryWith({ agents: ['GPTBot'], domains: ['a.example', 'b.example'], unreachable: 'drop' });
  assert.match(whole, /`GPTBot`\. Left out for that: 5 documents of 50 bytes/);
  assert.match(whole, /owners of 2 domains asked .*: 2 documents of 20 bytes/);
  assert.match(whole, /could not be reached .*: 3 documents of 30 bytes/);
  const asked = summaryWith({ agents: [], domains: ['a.example'] });
  assert.match(asked, /no robots.txt was asked[\s\S]*owners of 1 domain asked/);
  assert.doesNotMatch(asked, /No opt-out was looked for/);
  assert.match(summaryWith(), /No opt-out was looked for/);
});

test('toxicity that only scores is not said to drop', () => {
  const content = contentOf([row(1)]);
  const summaryWith = (settings: Record<string, Json>): string =>
    dataSummary({ ...content, processing: { ...content.processing, steps: [{ step: 'toxicity', settings }] } });
  const scores = { threshold: null, byLanguage: {}, preset: null };
  assert.match(summaryWith(scores), /No step of the cleaning line looked for illegal content/);
  for (const more of [{ threshold: 0.9 }, { preset: 'apertus' }, { byLanguage: { deu: { threshold: 0.5 } } }]) {
    assert.match(summaryWith({ ...scores, ...more }), /`toxicity`: documents .* are dropped: 0 documents/);
  }
});

test('without tokens, sources and addresses the summary says so', () => {
  const { tokensIn: _, tokensOut: __, ...bare } = row(1);
  const content = contentOf([bare]);
  assert.equal(content.general.total.tokensKept, null);
  assert.equal(content.general.range, null);
  const text = dataSummary(content);
  assert.match(text, /Tokens were not counted/);
  assert.match(text, /none states one/);
  assert.match(text, /No document of these sources has an address/);
  assert.match(dataSummary(contentOf([])), /No source of the corpus belongs here/);
});

test('belay data summary makes both forms of a corpus without a model, from its ledger', async () => {
  const dir = join(scratch, 'documents');
  mkdirSync(dir);
  const ledger = new JsonlWriter(join(dir, 'ledger-00000.jsonl.gz'));
  const funnel = new FunnelCounter(['read']);
  for (let i = 0; i < 3; i++) {
    await ledger.write(row(i, { url: `https://h${i}.example/` }));
    funnel.passed(0, row(i), { bytes: 120 }, { bytes: 100 });
  }
  await ledger.close();
  writeJsonAtomic(join(dir, funnelName), { steps: funnel.steps });
  writeManifest(dir, { kind: 'documents', version: 1, recipe: { steps: [] }, inputs: {}, facts: {} });
  const out = join(scratch, 'summary');
  const { code, stderr } = await runCli(['data', 'summary', dir, '--out', out]);
  assert.equal(code, 0, stderr);
  const json = JSON.parse(readFileSync(join(out, 'data-summary.json'), 'utf8')) as TrainingContent;
  assert.equal(json.general.total.documentsKept, 3);
  const text = readFileSync(join(out, 'DATA_SUMMARY.md'), 'utf8');
  assert.equal(text, dataSummary(json));
  const printed = await runCli(['data', 'summary', dir]);
  assert.equal(printed.stdout, text);
  const { stderr: message, code: failed } = await runCli(['data', 'summary', out]);
  assert.equal(failed, 2);
  assert.match(message, /has no cleaned documents/);
});
