import assert from 'node:assert/strict';
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { WARCParser } from 'warcio';
import { Random } from '../../base/rng.ts';
import { encodeRecord, httpResponse, type NewWarcRecord, recordId, WarcWriter } from '../warc-writer.ts';
import { parseHttpResponse, readWarc, type WarcItem, type WarcRecord } from './warc.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-warc-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));

function sampleRecords(count: number, random: Random): NewWarcRecord[] {
  const records: NewWarcRecord[] = [
    {
      type: 'warcinfo',
      id: recordId('info'),
      date: '2024-01-01T00:00:00Z',
      contentType: 'application/warc-fields',
      block: Buffer.from('software: test\r\n'),
    },
  ];
  for (let i = 0; i < count; i++) {
    const body = Buffer.from(Array.from({ length: random.integer(4000) }, () => random.integer(256)));
    const url = `https://host-${i}.example/seite/é?n=${i}`;
    records.push({
      type: 'response',
      id: recordId(url),
      date: '2024-01-01T00:00:00Z',
      targetUri: url,
      contentType: 'application/http;msgtype=response',
      block: httpResponse('200 OK', { 'Content-Type': 'text/html' }, body),
    });
  }
  return records;
}

function write(name: string, records: readonly NewWarcRecord[]): string {
  const writer = new WarcWriter(join(dir, name));
  for (const record of records) writer.write(record);
  writer.close();
  return writer.path;
}

async function readAll(path: string, limits?: { headerBytes: number; blockBytes: number }): Promise<WarcItem[]> {
  const items: WarcItem[] = [];
  for await (const item of limits ? readWarc(path, limits) : readWarc(path)) items.push(item);
  return items;
}

function recordsOf(items: readonly WarcItem[]): WarcRecord[] {
  return items.flatMap((item) => (item.record ? [item.record] : []));
}

for (const extension of ['warc', 'warc.gz']) {
  test(`what is written is read back, and warcio reads the same (.${extension})`, async () => {
    const records = sampleRecords(60, new Random(1, extension));
    const path = write(`plain.${extension}`, records);
    const items = await readAll(path);
    const read = recordsOf(items);
    assert.equal(read.length, items.length);
    assert.deepEqual(
      read.map(({ type, id, targetUri, block }) => ({ type, id, targetUri, block: block.toString('base64') })),
      records.map(({ type, id, targetUri, block }) => ({
        type,
        id,
        targetUri,
        block: Buffer.from(block).toString('base64'),
      })),
    );
    let i = 0;
    for await (const theirs of new WARCParser(createReadStream(path), { parseHttp: true })) {
      const ours = read[i++] as WarcRecord;
      assert.equal(theirs.warcType, ours.type);
      assert.equal(theirs.warcHeaders.headers.get('WARC-Record-ID'), ours.id);
      if (ours.type !== 'response') {
        await theirs.readFully(false);
        continue;
      }
      const http = parseHttpResponse(ours.block);
      assert.ok(typeof http !== 'string');
      assert.deepEqual(Buffer.from(await theirs.readFully(true)), http.body);
    }
    assert.equal(i, read.length);
  });

  test(`truncated and flipped files never throw, and what is read is right (.${extension})`, async () => {
    const random = new Random(2, extension);
    const records = sampleRecords(12, random);
    const path = write(`whole.${extension}`, records);
    const blocks = new Map(records.map(({ id, block }) => [id, Buffer.from(block)]));
    const bytes = readFileSync(path);
    const mutated = join(dir, `mutated.${extension}`);
    let fewest = records.length;
    let intact = 0;
    for (let round = 0; round < 300; round++) {
      let copy = Buffer.from(bytes);
      const kind = random.integer(4);
      const at = random.integer(copy.length);
      if (kind === 0) copy = copy.subarray(0, at);
      else if (kind === 1) copy[at] = (copy[at] as number) ^ (1 << random.integer(8));
      else if (kind === 2) copy.fill(random.integer(256), at, at + random.integer(300));
      else copy = Buffer.concat([copy.subarray(0, at), Buffer.alloc(random.integer(50), 'x'), copy.subarray(at)]);
      writeFileSync(mutated, copy);
      const items = await readAll(mutated);
      const read = recordsOf(items);
      for (const record of read) {
        const original = blocks.get(record.id ?? '');
        // A header hit by the damage may name another id; a block under a known id is never another block.
        if (original && record.headers.has('warc-block-digest'))
          assert.ok(record.block.equals(original), `round ${round}`);
      }
      if (kind !== 0) fewest = Math.min(fewest, read.length);
      if (items.length === records.length && read.length === records.length) intact++;
    }
    assert.ok(intact < 150, 'most damage is seen');
    assert.ok(fewest >= records.length - 4, `one damaged place costs few records, not ${records.length - fewest}`);
  });
}

test('truncated files: warcio finds no record that we lose', async () => {
  const records = sampleRecords(8, new Random(3));
  const bytes = readFileSync(write('cut.warc.gz', records));
  const path = join(dir, 'cut-short.warc.gz');
  for (let at = 10; at < bytes.length; at += 997) {
    writeFileSync(path, bytes.subarray(0, at));
    const ours = recordsOf(await readAll(path)).map(({ id }) => id);
    const theirs: (string | undefined | null)[] = [];
    try {
      for await (const record of new WARCParser(createReadStream(path), { parseHttp: false })) {
        const block = await record.readFully(false);
        const whole = records.find(({ id }) => id === record.warcHeaders.headers.get('WARC-Record-ID'));
        if (whole && block.length === whole.block.length) theirs.push(whole.id);
      }
    } catch {
      // warcio throws on some cuts; what it read before still counts.
    }
    for (const id of theirs) {
      // A record whose bytes are all there but whose checksum is cut off counts as truncated for us.
      if (id !== theirs.at(-1)) assert.ok(ours.includes(id as string), `cut at ${at}`);
    }
    assert.ok(ours.length >= theirs.length - 1);
  }
});

test('one gzip member around many records, and records cut over members', async () => {
  const records = sampleRecords(30, new Random(4));
  const plain = Buffer.concat(records.map(encodeRecord));
  const one = join(dir, 'one.warc.gz');
  writeFileSync(one, gzipSync(plain));
  assert.equal(recordsOf(await readAll(one)).length, records.length);
  const split = join(dir, 'split.warc.gz');
  const pieces: Buffer[] = [];
  for (let at = 0; at < plain.length; at += 1000) pieces.push(gzipSync(plain.subarray(at, at + 1000)));
  writeFileSync(split, Buffer.concat(pieces));
  assert.equal(recordsOf(await readAll(split)).length, records.length);
});

test('limits, garbage, empty files and a wrong length', async () => {
  const records = sampleRecords(5, new Random(5));
  const path = write('limits.warc.gz', records);
  const limited = await readAll(path, { headerBytes: 65536, blockBytes: 500 });
  assert.equal(limited.length, records.length);
  assert.ok(limited.some(({ rejected }) => rejected?.reason === 'too-large' && rejected.targetUri !== undefined));

  for (const [name, content] of [
    ['empty.warc', ''],
    ['empty.warc.gz', ''],
    ['garbage.warc.gz', 'not gzip at all'],
    ['garbage.warc', 'not WARC at all\r\n\r\n'],
    ['html.warc', '<html>WARC/1.0</html>'],
    ['endless.warc', `WARC/1.0\r\n${'a: b\r\n'.repeat(20_000)}`],
  ] as const) {
    writeFileSync(join(dir, name), content);
    assert.equal(recordsOf(await readAll(join(dir, name))).length, 0, name);
  }

  const lying = encodeRecord(records[1] as NewWarcRecord)
    .toString('latin1')
    .replace(/Content-Length: \d+/, 'Content-Length: 9');
  const wrong = join(dir, 'length.warc');
  writeFileSync(wrong, Buffer.concat([Buffer.from(lying, 'latin1'), encodeRecord(records[2] as NewWarcRecord)]));
  const items = await readAll(wrong);
  assert.equal(items[0]?.rejected?.reason, 'digest-mismatch');
  assert.deepEqual(
    recordsOf(items).map(({ id }) => id),
    [records[2]?.id],
  );
});

test('a record that claims to go on behind its gzip member takes no other with it', async () => {
  const records = sampleRecords(4, new Random(6)).slice(1);
  const [lying = '', ...whole] = records.map((record) => encodeRecord(record).toString('latin1'));
  for (const claimed of [lying.length + 100, 20_000_000, 10 ** 12]) {
    const wrong = lying
      .replace(/WARC-Block-Digest.*\r\n/, '')
      .replace(/Content-Length: \d+/, `Content-Length: ${claimed}`);
    const path = join(dir, 'claims.warc.gz');
    writeFileSync(path, Buffer.concat([wrong, ...whole].map((text) => gzipSync(Buffer.from(text, 'latin1')))));
    const items = await readAll(path);
    assert.equal(items[0]?.rejected?.reason, 'truncated', String(claimed));
    assert.deepEqual(
      recordsOf(items).map(({ id }) => id),
      records.slice(1).map(({ id }) => id),
    );
  }
});

test('a gzip bomb is skipped in bounded memory', async () => {
  const path = join(dir, 'bomb.warc.gz');
  const head = 'WARC/1.1\r\nWARC-Type: response\r\nContent-Length: 300000000\r\n\r\n';
  writeFileSync(path, gzipSync(Buffer.concat([Buffer.from(head), Buffer.alloc(300_000_000)])));
  const before = process.memoryUsage().rss;
  const items = await readAll(path);
  assert.equal(items[0]?.rejected?.reason, 'too-large');
  assert.ok(process.memoryUsage().rss - before < 250_000_000);
});

test('HTTP: chunked, compressed, stored decoded, and broken', () => {
  const text = Buffer.from('Grüezi mitenand');
  const response = (headers: string, body: Uint8Array): Buffer =>
    Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\n${headers}\r\n`), body]);
  const body = (block: Buffer): string => {
    const http = parseHttpResponse(block);
    return typeof http === 'string' ? http : http.body.toString();
  };
  const chunked = Buffer.concat([
    Buffer.from('5;x=1\r\n'),
    text.subarray(0, 5),
    Buffer.from('\r\nb\r\n'),
    text.subarray(5),
    Buffer.from('\r\n0\r\n\r\n'),
  ]);
  assert.equal(body(response('Transfer-Encoding: chunked\r\n', chunked)), 'Grüezi mitenand');
  assert.equal(body(response('Transfer-Encoding: chunked\r\n', text)), 'Grüezi mitenand');
  assert.equal(body(response('Content-Encoding: gzip\r\n', gzipSync(text))), 'Grüezi mitenand');
  assert.equal(body(response('Content-Encoding: gzip\r\n', text)), 'Grüezi mitenand');
  assert.equal(body(response('Content-Encoding: deflate\r\n', deflateSync(text))), 'Grüezi mitenand');
  assert.equal(body(response('Content-Encoding: deflate\r\n', deflateRawSync(text))), 'Grüezi mitenand');
  assert.equal(body(response('content-encoding: br\r\n', brotliCompressSync(text))), 'Grüezi mitenand');
  assert.match(body(response('Content-Encoding: gzip\r\n', gzipSync(text).subarray(0, 20))), /cannot decode gzip/);
  assert.match(
    body(response('Content-Encoding: gzip\r\n', gzipSync(Buffer.alloc(40_000_000)))),
    /more bytes than the limit/,
  );
  assert.match(body(response('Content-Encoding: gzip, gzip, gzip, gzip, gzip\r\n', text)), /5 times/);
  assert.match(body(response('Content-Encoding: zstd\r\n', text)), /not supported/);
  assert.match(body(Buffer.from('<html>')), /no HTTP status line/);
});
