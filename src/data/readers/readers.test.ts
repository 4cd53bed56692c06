// The readers by what is in their files: Parquet of DuckDB, folders of plain text, JSON lines of others, and bombs.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { ByteWriter, parquetWrite } from 'hyparquet-writer';
import { goldenJson } from '../../../test/golden.ts';
import type { Document } from '../../base/document.ts';
import { UserError } from '../../base/errors.ts';
import { sha256 } from '../../base/hashing.ts';
import { encodeRecord, httpResponse, recordId, WarcWriter } from '../warc-writer.ts';
import { ParquetShard } from '../writers/parquet-shard.ts';
import type { ReadLimits, SourceItem } from './documents.ts';
import { extractHtml } from './html.ts';
import { fileNames, listFiles, readDocuments } from './open.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-readers-'));
after(() => rmSync(dir, { recursive: true, force: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(dir, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

async function items(path: string, limits?: ReadLimits, name = path): Promise<SourceItem[]> {
  const found: SourceItem[] = [];
  for await (const item of readDocuments({ path, name }, 'test', limits)) found.push(item);
  return found;
}

/** Reasons of what was rejected, texts of the rest. */
async function outcomes(path: string, limits?: ReadLimits): Promise<(string | undefined)[]> {
  return (await items(path, limits)).map(({ document, rejected }) => document?.text ?? rejected?.reason);
}

/** The highest memory over what there was, in bytes, while something runs. */
async function peakMemory(run: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage().rss;
  let peak = before;
  const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 10);
  await run();
  clearInterval(timer);
  return Math.max(peak, process.memoryUsage().rss) - before;
}

interface GoldenRow {
  readonly [column: string]: string | number | boolean | null;
}

test('Parquet of DuckDB, in every compression and both versions of pages', async () => {
  const { rows, files } = goldenJson<{ rows: GoldenRow[]; files: Record<string, string> }>('parquet.json');
  for (const [name, bytes] of Object.entries(files)) {
    const read = await items(file(`${name}.parquet`, Buffer.from(bytes, 'base64')));
    assert.deepEqual(
      read.map(({ document }) => document),
      rows.map(({ text, id, url, language, ...row }, i) => ({
        id,
        text,
        ...(url === null ? {} : { url }),
        language: language === 'en' ? 'eng' : 'deu',
        source: 'test',
        licence: 'CC-BY-4.0',
        notes: {
          parquet: {
            ...row,
            token_count: Number(row['token_count']),
            'metadata.deep.n': i,
          },
        },
      })),
      name,
    );
  }
});

test('Parquet: many pages of unequal rows, missing texts, wrong encodings, too large ones, no text at all', async () => {
  const texts = Array.from({ length: 500 }, (_, i) => (i % 50 === 7 ? null : `${i} `.repeat(1 + ((i * 37) % 200))));
  const writer = new ByteWriter();
  parquetWrite({
    writer,
    rowGroupSize: 120,
    pageSize: 1000,
    columnData: [
      { name: 'text', data: texts, type: 'STRING', encoding: 'PLAIN' },
      { name: 'id', data: texts.map((_, i) => `id-${i}`), type: 'STRING', encoding: 'DELTA_BYTE_ARRAY' },
      {
        name: 'token_count',
        data: texts.map((_, i) => BigInt(i) ** 3n),
        type: 'INT64',
        encoding: 'DELTA_BINARY_PACKED',
      },
    ],
  });
  const path = file('pages.parquet', new Uint8Array(writer.getBuffer()));
  const read = await items(path);
  assert.deepEqual(
    read.map(({ document, rejected }) => [document?.id ?? rejected?.id, document?.text ?? rejected?.reason]),
    texts.map((text, i) => [`id-${i}`, text ?? 'empty']),
  );
  assert.deepEqual(read[499]?.document?.notes, { parquet: { token_count: 499 ** 3 } });
  const small = await outcomes(path, { recordBytes: 600 });
  assert.deepEqual(
    small,
    texts.map((text, i) => (text && text.length + `id-${i}`.length > 600 ? 'too-large' : (text ?? 'empty'))),
  );

  const odd = new ByteWriter();
  const bytes = [Buffer.from('Zürich', 'latin1'), Buffer.from('Zürich'), Buffer.from('a\0b')];
  parquetWrite({ writer: odd, columnData: [{ name: 'text', data: bytes, type: 'BYTE_ARRAY' }] });
  assert.deepEqual(await outcomes(file('odd.parquet', new Uint8Array(odd.getBuffer()))), [
    'unreadable',
    'Zürich',
    'unreadable',
  ]);
  const none = new ByteWriter();
  parquetWrite({ writer: none, columnData: [{ name: 'content', data: ['a'], type: 'STRING' }] });
  const [without] = await items(file('none.parquet', new Uint8Array(none.getBuffer())));
  assert.equal(without?.rejected?.detail, 'no column "text"');
  await assert.rejects(items(join(dir, 'missing.parquet')), UserError);
});

test('links to a folder around, and to nothing, are no files', () => {
  const folder = join(dir, 'links');
  file('links/a/one.txt', Buffer.from('one'));
  symlinkSync('..', join(folder, 'a/up'));
  symlinkSync('.', join(folder, 'here'));
  symlinkSync('nowhere', join(folder, 'broken.txt'));
  symlinkSync('round.txt', join(folder, 'round.txt'));
  symlinkSync('a', join(folder, 'b'));
  const names = listFiles([folder], fileNames.text).map(({ name }) => name);
  assert.deepEqual(names, ['a/one.txt', 'b/one.txt']);
});

test('a record of a page without an address is rejected, not passed over', async () => {
  const head = (fields: string): string => `WARC/1.0\r\n${fields}Content-Length: 5\r\n\r\nhello\r\n\r\n`;
  const path = file('no-uri.warc', Buffer.from(head('WARC-Type: conversion\r\n') + head('WARC-Type: warcinfo\r\n')));
  assert.deepEqual(
    (await items(path)).map(({ rejected }) => [rejected?.reason, rejected?.detail]),
    [['unreadable', 'no WARC-Target-URI']],
  );
});

test('plain text: one document per file, its encoding, and its place below the folder as its id', async () => {
  const folder = join(dir, 'texts');
  const contents: Record<string, Uint8Array> = {
    'a/utf8.txt': Buffer.from('Zürich\r\nGenf\n'),
    'a/utf16.txt': Buffer.from('\ufeffZürich', 'utf16le'),
    'b/latin.md': Buffer.from('Z\xfcrich \x80', 'latin1'),
    'b/packed.txt.gz': gzipSync('gepackt'),
    'b/empty.txt': Buffer.from('\n \n'),
    'b/nul.txt': Buffer.from('a\0b'),
    'b/no.pdf': Buffer.from('%PDF'),
  };
  for (const [name, content] of Object.entries(contents)) file(`texts/${name}`, content);
  const files = listFiles([folder, join(folder, 'a/utf8.txt')], fileNames.text);
  assert.deepEqual(
    files.map(({ name }) => name),
    ['a/utf16.txt', 'a/utf8.txt', 'b/empty.txt', 'b/latin.md', 'b/nul.txt', 'b/packed.txt.gz', 'utf8.txt'],
  );
  const read: SourceItem[] = [];
  for (const { path, name } of files) read.push(...(await items(path, undefined, name)));
  assert.deepEqual(
    read.map(({ document, rejected }) => document?.text ?? rejected?.reason),
    ['Zürich', 'Zürich\nGenf', 'empty', 'Zürich €', 'unreadable', 'gepackt', 'Zürich\nGenf'],
  );
  assert.equal(read[0]?.document?.id, sha256('a/utf16.txt').slice(0, 32));
  assert.deepEqual(
    read.map(({ document }) => document?.notes),
    [{ text: { encoding: 'utf-16le' } }, undefined, undefined, { text: { encoding: 'windows-1252' } }, ...Array(3)],
  );
  assert.deepEqual(await outcomes(join(folder, 'a/utf8.txt'), { recordBytes: 5 }), ['too-large']);
});

test('JSON lines: half characters, NULs, metadata of datatrove, a name without a reader', async () => {
  const path = file(
    'odd.jsonl',
    [
      '{"id":"a","text":"x\\ud800y"}',
      '{"id":"b","text":"x\\u0000y"}',
      '{"id":"c","text":"gut","metadata":{"url":"https://a.example/","language":"de","license":"CC0"}}',
      '{"id":"d","text":["kein Text"]}',
      '[]',
      `{"id":"e","text":"${'x'.repeat(2000)}"}`,
      '{"id":"f","text":"\\ud83d\\ude00"}',
    ].join('\n'),
  );
  assert.deepEqual(await outcomes(path, { recordBytes: 1000 }), [
    'unreadable',
    'unreadable',
    'gut',
    'empty',
    'empty',
    'too-large',
    '😀',
  ]);
  const { document } = (await items(path))[2] as SourceItem;
  assert.deepEqual(document, {
    id: 'c',
    text: 'gut',
    url: 'https://a.example/',
    language: 'deu',
    source: 'test',
    licence: 'CC0-1.0',
  });
  await assert.rejects(async () => await items(file('a.docx', '')), /no reader for/);
});

test('bombs in pages: compressed bodies, gzip in gzip in gzip, deep nesting, a million attributes, huge data', async () => {
  const path = join(dir, 'bombs.warc.gz');
  const writer = new WarcWriter(path);
  const add = (name: string, headers: Record<string, string>, body: Uint8Array): void =>
    writer.write({
      type: 'response',
      id: recordId(name),
      date: '2024-01-01T00:00:00Z',
      targetUri: `https://bombs.example/${name}`,
      contentType: 'application/http;msgtype=response',
      block: httpResponse('200 OK', { 'Content-Type': 'text/html', ...headers }, body),
    });
  const page = (inside: string): Buffer => Buffer.from(`<html><body><main><p>vorher</p>${inside}<p>nachher</p></main>`);
  add('gzip', { 'Content-Encoding': 'gzip' }, gzipSync(Buffer.alloc(1 << 28)));
  add('brotli', { 'Content-Encoding': 'br' }, brotliCompressSync(Buffer.alloc(1 << 26)));
  add('twice', { 'Content-Encoding': 'gzip, gzip' }, gzipSync(gzipSync(Buffer.alloc(1 << 28))));
  // A body may hold another compressed one without end; only what its header lists is unpacked, and that four times.
  const nested = Array.from({ length: 2000 }).reduce(
    (inner: Buffer) => gzipSync(inner, { level: 0 }),
    Buffer.from('x'),
  );
  add('nested', { 'Content-Encoding': 'gzip' }, nested);
  add('listed', { 'Content-Encoding': Array(2000).fill('gzip').join(',') }, nested);
  add('deep', {}, page('<div>'.repeat(1_000_000)));
  add('attributes', {}, page(`<p ${Array.from({ length: 1_000_000 }, (_, i) => `a${i}=1`).join(' ')}>x</p>`));
  add('data', {}, page(`<img src="data:image/png;base64,${'A'.repeat(12_000_000)}">`));
  add('comment', {}, page(`<!--${'-'.repeat(10_000_000)}`));
  add('open', {}, page('<'.repeat(5_000_000)));
  add('entities', {}, page('&'.repeat(3_000_000)));
  writer.close();
  let read: SourceItem[] = [];
  const started = performance.now();
  const peak = await peakMemory(async () => {
    read = await items(path);
  });
  const found = Object.fromEntries(
    read.map(({ document, rejected }) => [
      (document?.url ?? rejected?.url ?? '').replace('https://bombs.example/', ''),
      document ? 'read' : rejected?.reason,
    ]),
  );
  assert.deepEqual(found, {
    gzip: 'too-large',
    brotli: 'too-large',
    twice: 'too-large',
    nested: 'unreadable',
    listed: 'unreadable',
    deep: 'read',
    attributes: 'read',
    data: 'read',
    comment: 'read',
    open: 'read',
    entities: 'read',
  });
  assert.ok(peak < 1.2e9, `${Math.round(peak / 1e6)} MB`);
  assert.ok(performance.now() - started < 30_000, `${Math.round(performance.now() - started)} ms`);
});

test('elements and attributes without number do not make extraction slower than linear', () => {
  const time = (count: number): number => {
    const started = performance.now();
    extractHtml(`<body>${'<p class="a b">x <b>y</b> '.repeat(count)}`);
    return performance.now() - started;
  };
  time(1000);
  const small = time(20_000);
  assert.ok(time(160_000) < 8 * 4 * Math.max(small, 20));
});

test('files far larger than the memory: half a gigabyte of each kind in less than half of it', async () => {
  const documents = Array.from({ length: 2000 }, (_, i): Document => {
    const text = `${i} ${'Ein Satz, der sich wiederholt. '.repeat(130)}`;
    return {
      id: `document-${i}`,
      text,
      url: `https://host.example/${i}`,
      language: 'deu',
      source: 'test',
      licence: 'x',
    };
  });
  const lines = documents.map((document) => `${JSON.stringify(document)}\n`).join('');
  const shard = new ParquetShard();
  const groups = Array.from({ length: 60 }, () => shard.rowGroup(documents));
  const records = documents.map(({ id, text, url }) =>
    encodeRecord({
      type: 'conversion',
      id: recordId(id),
      date: '2024-01-01T00:00:00Z',
      targetUri: url as string,
      contentType: 'text/plain',
      block: Buffer.from(text),
    }),
  );
  const files = {
    'large.jsonl.gz': Buffer.concat(Array<Buffer>(60).fill(gzipSync(lines))),
    'large.wet.gz': Buffer.concat(Array<Buffer>(60).fill(gzipSync(Buffer.concat(records)))),
    'large.parquet': Buffer.concat([...groups, shard.end()]),
  };
  for (const [name, bytes] of Object.entries(files)) {
    const path = file(name, bytes);
    let numDocuments = 0;
    let characters = 0;
    const peak = await peakMemory(async () => {
      for await (const { document } of readDocuments({ path, name }, 'test')) {
        numDocuments++;
        characters += document?.text.length ?? 0;
      }
    });
    assert.equal(numDocuments, 60 * documents.length, name);
    assert.ok(characters > 480e6, name);
    assert.ok(peak < 240e6, `${name}: ${Math.round(peak / 1e6)} MB`);
  }
});
