import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { UserError } from '../base/errors.ts';
import { importRobots, openRobots, robotsFileOf, StoredRobots } from './robots-store.ts';
import { httpResponse, recordId, WarcWriter } from './warc-writer.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-store-'));
after(() => rmSync(dir, { recursive: true, force: true }));

function jsonl(name: string, values: readonly unknown[]): string {
  const path = join(dir, name);
  writeFileSync(path, values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value))).join('\n'));
  return path;
}

const text = (body: Uint8Array | undefined): string => Buffer.from(body ?? []).toString('utf8');

test('a thousand hosts are found again, whatever fits into memory', async () => {
  const hosts = Array.from({ length: 1000 }, (_, i) => ({
    host: `h${(i * 7919) % 1000}.example`,
    status: i % 10 === 0 ? 404 : 200,
    body: `User-agent: *\nDisallow: /${i}\n${'# filler\n'.repeat(i % 400)}`,
  }));
  const file = jsonl('hosts.jsonl', hosts);
  const store = join(dir, 'store');
  const small = await importRobots({ store, date: '2024-06-01', files: [file], runCharacters: 50_000 });
  const large = await importRobots({ store, date: '2025-01-31', files: [file] });
  assert.equal(small.facts.hosts, 1000);
  assert.deepEqual(small.facts.statuses, { 200: 900, 404: 100 });
  assert.deepEqual(small.facts.files, large.facts.files, 'the same bytes, sorted in many runs or in one');
  const stored = await StoredRobots.open(small.dir);
  for (const { host, status, body } of hosts) {
    const found = stored.find(host);
    assert.deepEqual({ status: found?.status, body: text(found?.body) }, { status, body: status === 200 ? body : '' });
  }
  for (const host of ['', 'a', 'h1000.example', 'zz', 'h1.example.']) assert.equal(stored.find(host), undefined);
  // Shards are ordinary files, sorted.
  const [{ name } = { name: '' }] = small.facts.files;
  const lines = gunzipSync(readFileSync(join(small.dir, name)))
    .toString()
    .trim()
    .split('\n');
  const order = lines.map((line) => (JSON.parse(line) as { host: string }).host);
  assert.deepEqual(order, [...order].sort());
  assert.equal(order.length, 1000);
});

test('the newest snapshot up to a date, or a named one', async () => {
  const store = join(dir, 'dated');
  for (const date of ['2023-01-01', '2024-01-01', '2025-01-01']) {
    const files = [jsonl('dated.jsonl', [{ host: 'a.example', body: date }])];
    await importRobots({ store, date, files });
  }
  const asOf = async (path: string, date: string | null): Promise<string> =>
    text((await openRobots(path, date, () => {})).find('a.example')?.body);
  assert.equal(await asOf(store, null), '2025-01-01');
  assert.equal(await asOf(store, '2024-12-31'), '2024-01-01');
  assert.equal(await asOf(store, '2024-01-01'), '2024-01-01');
  assert.equal(await asOf(join(store, '2023-01-01'), null), '2023-01-01');
  assert.equal(robotsFileOf(store, null), join(store, '2025-01-01', 'index.jsonl'));
  await assert.rejects(asOf(store, '2022-01-01'), UserError);
  await assert.rejects(asOf(join(dir, 'nowhere'), null), UserError);
  await assert.rejects(importRobots({ store, date: '2025-01-01', files: [] }), UserError);
  for (const date of ['yesterday', '2025-02-30']) {
    await assert.rejects(
      importRobots({ store, date, files: [jsonl('dated.jsonl', [{ host: 'a.example' }])] }),
      /YYYY-MM-DD/,
    );
  }
});

test('a file without a record of any host is refused, not taken for hosts that say nothing', async () => {
  const raw = join(dir, 'robots.txt');
  writeFileSync(raw, 'User-agent: *\nDisallow: /\n');
  for (const file of [raw, jsonl('empty.jsonl', [])]) {
    await assert.rejects(
      openRobots(file, null, () => {}),
      /no robots.txt of any host/,
    );
    const store = join(dir, 'nobody');
    await assert.rejects(importRobots({ store, date: '2025-01-31', files: [file] }), /no robots.txt of any host/);
    assert.equal(existsSync(join(store, '2025-01-31')), false);
  }
});

test('of a host the latest record counts; what cannot be read is counted', async () => {
  const file = jsonl('repeated.jsonl', [
    { host: 'B.example', body: 'old', date: '2024-01-01' },
    { url: 'http://b.example/robots.txt', body: 'new', date: '2024-05-01' },
    { host: 'b.example', body: 'older', date: '2023-01-01' },
    { host: 'bytes.example', base64: Buffer.from([0xff, 0x41]).toString('base64') },
    { host: 'down.example', status: 0 },
    { status: 200 },
    'no json',
    { host: 'no host at all/ ' },
    '7',
  ]);
  const {
    dir: at,
    facts,
    repeated,
    unreadable,
  } = await importRobots({
    store: join(dir, 'repeated'),
    date: '2025-01-01',
    files: [file],
  });
  assert.deepEqual([facts.hosts, repeated, unreadable], [3, 2, 4]);
  for (const source of [await StoredRobots.open(at), await openRobots(file, null, () => {})]) {
    assert.equal(text(source.find('b.example')?.body), 'new');
    assert.deepEqual([...(source.find('bytes.example')?.body ?? [])], [0xff, 0x41]);
    assert.equal(source.find('down.example')?.status, 0);
  }
});

test('robots.txt records of WARC files', async () => {
  const path = join(dir, 'crawl.warc.gz');
  const writer = new WarcWriter(path);
  const add = (url: string, status: string, body: string): void =>
    writer.write({
      type: 'response',
      id: recordId(url),
      date: '2025-01-05T00:00:00Z',
      targetUri: url,
      contentType: 'application/http; msgtype=response',
      block: httpResponse(status, { 'Content-Type': 'text/plain' }, Buffer.from(body)),
    });
  add('https://a.example/robots.txt', '200 OK', 'User-agent: *\nDisallow: /\n');
  add('https://a.example/page', '200 OK', 'a page');
  add('http://c.example:8080/robots.txt', '503 Busy', 'later');
  writer.close();
  const { dir: at, facts } = await importRobots({ store: join(dir, 'warc'), date: '2025-01-31', files: [path] });
  assert.equal(facts.hosts, 2);
  const stored = await StoredRobots.open(at);
  assert.equal(text(stored.find('a.example')?.body), 'User-agent: *\nDisallow: /\n');
  assert.deepEqual(stored.find('c.example:8080'), { status: 503, body: Buffer.alloc(0) });
});
