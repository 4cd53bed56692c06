// `belay robots` as a user meets it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { runCli } from '../../test/run-cli.ts';
import type { OptOutLosses } from '../data/robots-statistics.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-robots-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const at = (name: string): string => join(dir, name);
const lines = (values: readonly unknown[]): string => values.map((value) => `${JSON.stringify(value)}\n`).join('');

writeFileSync(at('robots.txt'), 'User-agent: GPTBot\nSitemap: /s\nUser-agent: CCBot\nDisallow: /private\n');

test('check: addresses and agents, as lines and as JSON, from arguments and from standard input', async () => {
  const flags = ['robots', 'check', '--robots', at('robots.txt'), '--agent', 'GPTBot', '--agent', 'Other'];
  const urls = ['https://a.example/', 'https://a.example/private/x'];
  const text = await runCli([...flags, ...urls]);
  assert.equal(text.code, 0, text.stderr);
  assert.deepEqual(text.stdout.trimEnd().split('\n'), [
    `allowed\tGPTBot\t${urls[0]}`,
    `allowed\tOther\t${urls[0]}`,
    `refused\tGPTBot\t${urls[1]}`,
    `allowed\tOther\t${urls[1]}`,
  ]);
  const json = await runCli([...flags, '--json', '-'], { input: `${urls[1]}\r\n\n` });
  assert.deepEqual(JSON.parse(json.stdout), [
    { url: urls[1], agent: 'GPTBot', allowed: false },
    { url: urls[1], agent: 'Other', allowed: true },
  ]);
  // Protego ends the list of agents at the sitemap.
  const protego = await runCli([...flags, '--mode', 'protego', '--exit-code', ...urls]);
  assert.equal(protego.code, 0);
  assert.doesNotMatch(protego.stdout, /refused/);
  assert.equal((await runCli([...flags, '--mode', 'strictest', '--exit-code', ...urls])).code, 5);
  assert.deepEqual(JSON.parse((await runCli([...flags, '--json', '-'])).stdout), []);
  assert.equal((await runCli(['robots', 'check', '--robots', at('none'), 'https://a.example/'])).code, 2);
});

test('import, and the step that asks the snapshot', async () => {
  writeFileSync(at('hosts.jsonl'), lines([{ host: 'a.example', body: 'User-agent: *\nDisallow: /' }, { status: 1 }]));
  const made = await runCli(['robots', 'import', '--store', at('store'), '--date', '2025-01-31', at('hosts.jsonl')]);
  assert.equal(made.code, 0, made.stderr);
  assert.match(
    made.stderr,
    /2025-01-31: hosts: 1 \(1 with status 200\); records of hosts seen before: 0, unreadable: 1/,
  );
  const set = ['--set', `snapshot=${at('store')}`, '--set', 'agents=["GPTBot"]', '--removed', at('removed.jsonl')];
  const input = lines([
    { text: 'one', url: 'https://a.example/1' },
    { text: 'two', url: 'https://b.example/2' },
  ]);
  const step = await runCli(['data', 'step', 'opt-out', ...set], { input });
  assert.equal(step.code, 0, step.stderr);
  assert.deepEqual(
    step.stdout
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { text: string }).text),
    ['two'],
  );
});

test('domains: English and others apart, the longest first', async () => {
  const page = (host: string, language: string, length: number): unknown => ({
    text: 'x'.repeat(length),
    url: `https://${host}/`,
    language,
  });
  const pages = [
    page('small.example', 'en', 3),
    page('large.example', 'eng', 90),
    page('both.example', 'deu', 40),
    page('small.example', 'eng', 50),
    page('both.example', 'fr', 50),
    page('other.example', 'und', 60),
    { text: 'no address' },
  ];
  writeFileSync(at('pages.jsonl.gz'), gzipSync(lines(pages)));
  const text = await runCli(['robots', 'domains', at('pages.jsonl.gz')]);
  assert.equal(
    text.stdout,
    'english\t1\tlarge.example\t1\t90\nenglish\t2\tsmall.example\t2\t53\nother\t1\tboth.example\t2\t90\nother\t2\tother.example\t1\t60\n',
    text.stderr,
  );
  const json = await runCli(['robots', 'domains', '--top', '1', '--json', dir]);
  assert.deepEqual(
    (JSON.parse(json.stdout) as { domain: string }[]).map(({ domain }) => domain),
    ['large.example', 'both.example'],
  );
});

test('losses: by agent and by language, with shares', async () => {
  const kept = { verdict: 'kept', bytesIn: 100 };
  const dropped = { verdict: 'dropped', step: 'opt-out', reason: 'opt-out' };
  const rows = [
    { ...kept, language: 'eng' },
    { ...kept, language: 'deu' },
    { ...dropped, detail: 'CCBot, GPTBot', language: 'eng', bytesIn: 300 },
    { ...dropped, detail: 'GPTBot', language: 'deu', bytesIn: 100 },
    { verdict: 'dropped', step: 'opt-out', reason: 'robots-unreachable', language: 'deu', bytesIn: 200 },
    { verdict: 'dropped', step: 'exact-dedup', reason: 'duplicate', detail: 'x', language: 'fra', bytesIn: 200 },
  ];
  writeFileSync(at('ledger.jsonl.gz'), gzipSync(lines(rows)));
  const json = await runCli(['robots', 'losses', '--ledger', dir, '--json']);
  assert.equal(json.code, 0, json.stderr);
  const { read, lost, agents, languages } = JSON.parse(json.stdout) as OptOutLosses;
  assert.deepEqual(read, { documents: 6, bytes: 1000 });
  assert.deepEqual(lost, { documents: 3, bytes: 600, shareOfDocuments: 0.5, shareOfBytes: 0.6 });
  assert.deepEqual(
    agents.map(({ agent, documents, bytes, shareOfBytes }) => [agent, documents, bytes, shareOfBytes]),
    [
      ['GPTBot', 2, 400, 0.4],
      ['CCBot', 1, 300, 0.3],
      ['(robots-unreachable)', 1, 200, 0.2],
    ],
  );
  assert.deepEqual(
    languages.map(({ language, bytes, shareOfBytes }) => [language, bytes, shareOfBytes]),
    [
      ['deu', 300, 0.75],
      ['eng', 300, 0.75],
      ['fra', 0, 0],
    ],
  );
  const text = await runCli(['robots', 'losses', '--ledger', at('ledger.jsonl.gz')]);
  assert.match(text.stdout, /^agent +documents +of all +bytes +of all\nGPTBot +2 +33\.33 % +400 +40\.00 %\n/);
  assert.match(text.stdout, /\ndeu +2 +66\.67 % +300 +75\.00 %\n/);
  assert.equal((await runCli(['robots', 'losses', '--ledger', at('robots.txt/none')])).code, 2);
});
