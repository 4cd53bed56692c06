// Every reader against damaged files: whatever is done to a file, reading ends, throws nothing but a UserError, and gives
// every document that lies before the damage.
//
// BELAY_FUZZ_CASES=20000 runs longer than the suite does, BELAY_FUZZ_SEED=7 takes other cases.
import { cpuMilliseconds } from '../../../test/cpu-time.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';
import { goldenJson } from '../../../test/golden.ts';
import type { Document } from '../../base/document.ts';
import { UserError } from '../../base/errors.ts';
import { Random } from '../../base/rng.ts';
import { encodeRecord, httpResponse, type NewWarcRecord, recordId } from '../warc-writer.ts';
import { ParquetShard } from '../writers/parquet-shard.ts';
import { readDocuments } from './open.ts';

const cases = Number(process.env['BELAY_FUZZ_CASES'] ?? 100);
const seed = Number(process.env['BELAY_FUZZ_SEED'] ?? 1);
/** Reading a damaged file of a few hundred kilobytes takes milliseconds; more than this is a loop. */
const maxSeconds = 10;
const dir = mkdtempSync(join(tmpdir(), 'belay-fuzz-'));
after(() => rmSync(dir, { recursive: true, force: true }));

/** A part of a file, and how many documents are whole once it is there. */
interface Part {
  readonly bytes: Buffer;
  readonly documents: number;
}

const random = new Random(seed, 'fuzz-seeds');
const words = 'aber auch <b>nicht</b> der die das &amp; Zürich 東京 \\u0041 "Wort" 😀 null {} []'.split(' ');
const text = (): string =>
  Array.from({ length: 3 + random.integer(80) }, () => words[random.integer(words.length)]).join(' ');

const lines = Array.from({ length: 40 }, (_, i) =>
  Buffer.from(`${JSON.stringify({ id: `line-${i}`, text: text() })}\n`),
);

const records = Array.from({ length: 16 }, (_, i): Buffer => {
  const html = `<!doctype html><html lang=de><body><main><p>${text()}<p>Seite ${i}</main></body></html>`;
  const encodings = [
    { 'Content-Type': 'text/html' },
    { 'Content-Type': 'text/html', 'Content-Encoding': 'gzip' },
    { 'Content-Type': 'text/html', 'Content-Encoding': 'deflate' },
  ] as const;
  const body = [Buffer.from(html), gzipSync(html), deflateSync(html)][i % 3] as Buffer;
  const url = `https://host.example/${i}`;
  const isWet = i % 4 === 3;
  const record: NewWarcRecord = {
    type: isWet ? 'conversion' : 'response',
    id: recordId(url),
    date: '2024-01-01T00:00:00Z',
    targetUri: url,
    contentType: isWet ? 'text/plain' : 'application/http;msgtype=response',
    block: isWet
      ? Buffer.from(`Text ${i} ${text()}`)
      : httpResponse('200 OK', encodings[i % 3] as Record<string, string>, body),
  };
  return encodeRecord(record);
});

/** A frame of stored blocks, without a checksum. */
function zstdFrame(bytes: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(bytes.length);
  const parts: Buffer[] = [Buffer.from('28b52ffda0', 'hex'), size];
  for (let at = 0; at < bytes.length; at += 1000) {
    const block = bytes.subarray(at, at + 1000);
    const head = Buffer.alloc(3);
    head.writeUIntLE((at + 1000 >= bytes.length ? 1 : 0) + (block.length << 3), 0, 3);
    parts.push(head, block);
  }
  return Buffer.concat(parts);
}

/** Parts of `size` units, each compressed by itself. */
function packed(units: readonly Buffer[], size: number, pack: (bytes: Buffer) => Buffer): Part[] {
  const parts: Part[] = [];
  for (let at = 0; at < units.length; at += size) {
    parts.push({ bytes: pack(Buffer.concat(units.slice(at, at + size))), documents: size });
  }
  return parts;
}

/** Row groups of a file of our own; the footer is the last part. */
function parquetParts(): Part[] {
  const shard = new ParquetShard();
  const parts: Part[] = [{ bytes: Buffer.from(shard.head()), documents: 0 }];
  for (let group = 0; group < 5; group++) {
    const documents = Array.from(
      { length: 12 },
      (_, i): Document => ({
        id: `row-${group}-${i}`,
        text: text(),
        language: 'und',
        source: 'fuzz',
        licence: 'unknown',
        ...(i % 2 === 0 ? { url: `https://host.example/${i}` } : {}),
        notes: { parquet: { token_count: i, language_score: i / 7, dump: 'CC' } },
      }),
    );
    parts.push({ bytes: Buffer.from(shard.rowGroup(documents)), documents: 12 });
  }
  parts.push({ bytes: Buffer.from(shard.end()), documents: 0 });
  return parts;
}

const whole = (bytes: Buffer): Part[] => [{ bytes, documents: 0 }];
const base64 = (value: string | undefined): Buffer => Buffer.from(value ?? '', 'base64');
const duckdb = goldenJson<{ readonly files: Readonly<Record<string, string>> }>('parquet.json').files;
const zstdCases = goldenJson<{ readonly cases: readonly { readonly name: string; readonly zst: string }[] }>(
  'zstd.json',
);

const seeds: Readonly<Record<string, readonly Part[]>> = {
  'a.warc': packed(records, 1, (bytes) => bytes),
  'a.warc.gz': packed(records, 1, (bytes) => gzipSync(bytes)),
  'a.warc.zst': packed(records, 1, zstdFrame),
  'a.jsonl': packed(lines, 1, (bytes) => bytes),
  'a.jsonl.gz': packed(lines, 10, (bytes) => gzipSync(bytes)),
  'one-member.jsonl.gz': whole(gzipSync(Buffer.concat(lines))),
  'a.jsonl.zst': packed(lines, 10, zstdFrame),
  ...Object.fromEntries(
    zstdCases.cases
      .filter(({ name }) => /level 19|dictionary/.test(name))
      .map(({ zst }, i) => [`reference-${i}.jsonl.zst`, whole(base64(zst))]),
  ),
  'a.parquet': parquetParts(),
  ...Object.fromEntries(Object.entries(duckdb).map(([name, file]) => [`${name}.parquet`, whole(base64(file))])),
  'a.txt': whole(Buffer.from(text())),
  'a.txt.gz': whole(gzipSync(text())),
};

/** A damaged copy, and the first byte that differs; `moved` where what follows is not where it was. */
function damage(
  bytes: Buffer,
  from: Random,
): { readonly bytes: Buffer; readonly at: number; readonly end: number; readonly moved: boolean } {
  const copy = Buffer.from(bytes);
  const at = from.integer(copy.length);
  const kind = from.integer(7);
  if (kind === 0) return { bytes: copy.subarray(0, at), at, end: bytes.length, moved: true };
  if (kind === 1) {
    const junk = Buffer.from(Array.from({ length: 1 + from.integer(40) }, () => from.integer(256)));
    return {
      bytes: Buffer.concat([copy.subarray(0, at), junk, copy.subarray(at)]),
      at,
      end: bytes.length,
      moved: true,
    };
  }
  if (kind === 2) {
    const length = 1 + from.integer(200);
    return {
      bytes: Buffer.concat([copy.subarray(0, at), copy.subarray(at + length)]),
      at,
      end: bytes.length,
      moved: true,
    };
  }
  let end = at + 1;
  if (kind === 3) {
    copy[at] = (copy[at] as number) ^ (1 << from.integer(8));
  } else if (kind === 4) {
    end = Math.min(copy.length, at + 1 + from.integer(300));
    copy.fill(from.integer(256), at, end);
  } else if (kind === 5) {
    // Lies about lengths: numbers at the edges of what four or eight bytes hold.
    const lies = [
      'ffffffff',
      '00000000',
      'ffffff7f',
      '00000080',
      '01000000',
      'fffffffffffffff7',
      '7f',
      'ff',
      '0a',
      '00',
    ];
    const lie = Buffer.from(lies[from.integer(lies.length)] as string, 'hex');
    end = Math.min(copy.length, at + lie.length);
    lie.copy(copy, at);
  } else {
    // Digits, so that lengths in text lie too.
    end = Math.min(copy.length, at + 1 + from.integer(4));
    copy.fill(48 + from.integer(10), at, end);
  }
  return { bytes: copy, at, end, moved: false };
}

async function read(path: string): Promise<Document[]> {
  const documents: Document[] = [];
  try {
    for await (const { document } of readDocuments({ path, name: 'fuzz' }, 'fuzz', { recordBytes: 1 << 20 })) {
      if (document) documents.push(document);
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
  return documents;
}

for (const [name, parts] of Object.entries(seeds)) {
  test(`${name}, damaged`, async () => {
    const from = new Random(seed, 'fuzz', name);
    const bytes = Buffer.concat(parts.map((part) => part.bytes));
    const path = join(dir, name);
    writeFileSync(path, bytes);
    const good = await read(path);
    const expected = parts.reduce((sum, { documents }) => sum + documents, 0);
    if (expected > 0) assert.equal(good.length, expected, 'the seed is read whole');
    const footer = bytes.length - (parts.at(-1)?.bytes.length ?? 0);
    for (let round = 0; round < cases; round++) {
      const damaged = damage(bytes, from);
      writeFileSync(path, damaged.bytes);
      const before = cpuMilliseconds();
      const what = `seed ${seed}, round ${round}, byte ${damaged.at}`;
      const documents = await read(path).catch((error: unknown) => assert.fail(`${what}: ${(error as Error).stack}`));
      assert.ok(cpuMilliseconds() - before < maxSeconds * 1000, `${what}: ${cpuMilliseconds() - before} ms`);
      // The footer of a Parquet file says where everything is: what is before it counts only if it is whole.
      if (name.endsWith('.parquet') && (damaged.moved || damaged.end > footer)) continue;
      let sure = 0;
      let end = 0;
      for (const part of parts) {
        end += part.bytes.length;
        if (end > damaged.at) break;
        sure += part.documents;
      }
      assert.deepEqual(documents.slice(0, sure), good.slice(0, sure), what);
    }
  });
}
