import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { Random } from '../base/rng.ts';
import { packageRoot } from '../base/version.ts';
import { MegatronReader, MegatronWriter, mergeMegatron, tokenTypeFor } from './megatron.ts';
import { PagedFile } from './paged-file.ts';

const golden = join(packageRoot, 'test/golden/megatron');
const json = (name: string): unknown => JSON.parse(readFileSync(join(golden, name), 'utf8'));
const documents = json('documents.json') as Record<string, number[][]>;
const indices = json('indices.json') as {
  corpora: { name: string; dtype: 'int32' | 'uint16' }[];
  multi: { documents_of_sequences: number[][][] };
  merged: { sources: string[] };
};
const dir = mkdtempSync(join(tmpdir(), 'belay-megatron-'));
after(() => rmSync(dir, { recursive: true }));

function assertSameFiles(prefix: string, name: string): void {
  for (const end of ['bin', 'idx']) {
    assert.ok(readFileSync(`${prefix}.${end}`).equals(readFileSync(join(golden, `${name}.${end}`))), `${name}.${end}`);
  }
}

test('written files equal the reference byte for byte', () => {
  for (const { name, dtype } of indices.corpora) {
    const writer = new MegatronWriter(join(dir, name), dtype);
    for (const ids of documents[name] as number[][]) writer.addDocument(ids);
    writer.close();
    assertSameFiles(join(dir, name), name);
  }
});

test('documents of several sequences equal the reference', () => {
  const writer = new MegatronWriter(join(dir, 'multi'), 'int32');
  for (const sequences of indices.multi.documents_of_sequences) {
    for (const ids of sequences) writer.addSequence(ids);
    writer.endDocument();
  }
  writer.close();
  assertSameFiles(join(dir, 'multi'), 'multi');
  const reader = new MegatronReader(join(golden, 'multi'));
  indices.multi.documents_of_sequences.forEach((sequences, d) => {
    assert.deepEqual([...reader.documentTokens(d)], sequences.flat());
  });
  reader.close();
});

test('merging equals the reference, and refuses to mix types', () => {
  mergeMegatron(
    indices.merged.sources.map((name) => join(golden, name)),
    join(dir, 'merged'),
  );
  assertSameFiles(join(dir, 'merged'), 'merged');
  assert.throws(
    () => mergeMegatron([join(golden, 'corpus_a'), join(golden, 'corpus_b')], join(dir, 'mixed')),
    (error: unknown) => error instanceof UserError && /corpus_b holds uint16/.test(error.message),
  );
});

test('reading gives the documents, by random access', () => {
  for (const { name } of indices.corpora) {
    const reader = new MegatronReader(join(golden, name));
    const expected = documents[name] as number[][];
    assert.equal(reader.documents, expected.length);
    assert.deepEqual(reader.validate(), []);
    assert.deepEqual(
      [...reader.lengths()],
      expected.map((ids) => ids.length),
    );
    for (let d = expected.length - 1; d >= 0; d--) assert.deepEqual([...reader.documentTokens(d)], expected[d]);
    reader.close();
  }
});

test('an empty pair is valid', () => {
  new MegatronWriter(join(dir, 'empty'), 'uint16').close();
  const reader = new MegatronReader(join(dir, 'empty'));
  assert.equal(reader.documents, 0);
  assert.equal(reader.tokens, 0);
  reader.close();
});

test('truncated and foreign files are refused with what is wrong', () => {
  const damaged = (change: (prefix: string) => void, message: RegExp): void => {
    const prefix = join(dir, 'damaged');
    for (const end of ['bin', 'idx']) copyFileSync(join(golden, `corpus_b.${end}`), `${prefix}.${end}`);
    change(prefix);
    assert.throws(
      () => new MegatronReader(prefix),
      (error: unknown) => error instanceof UserError && message.test(error.message),
      String(message),
    );
  };
  const patch = (path: string, at: number, byte: number): void => {
    const bytes = readFileSync(path);
    bytes[at] = byte;
    writeFileSync(path, bytes);
  };
  damaged((prefix) => truncateSync(`${prefix}.bin`, 100), /100 bytes[\s\S]*2368 bytes of uint16/);
  damaged((prefix) => truncateSync(`${prefix}.idx`, 500), /500 bytes[\s\S]*542 bytes for 25 sequences/);
  damaged((prefix) => truncateSync(`${prefix}.idx`, 10), /at least 34 bytes/);
  damaged((prefix) => patch(`${prefix}.idx`, 0, 0x58), /XMIDIDX/);
  damaged((prefix) => patch(`${prefix}.idx`, 9, 2), /version 2/);
  damaged((prefix) => patch(`${prefix}.idx`, 17, 4), /bytes of int32/);
  damaged((prefix) => patch(`${prefix}.idx`, 17, 99), /type code 99/);
  damaged((prefix) => rmSync(`${prefix}.bin`), /cannot open/);

  const prefix = join(dir, 'damaged');
  for (const end of ['bin', 'idx']) copyFileSync(join(golden, `corpus_b.${end}`), `${prefix}.${end}`);
  patch(`${prefix}.idx`, 34 + 25 * 4 + 8, 77);
  const reader = new MegatronReader(prefix);
  assert.match(reader.validate()[0] ?? '', /sequence 1 begins at byte 77/);
  reader.close();
});

test('a token that does not fit is refused', () => {
  const writer = new MegatronWriter(join(dir, 'range'), 'uint16');
  assert.throws(() => writer.addDocument([65536]), /not a uint16 token/);
  assert.throws(() => writer.addDocument([-1]), /not a uint16 token/);
  writer.close();
  assert.equal(tokenTypeFor(65536), 'uint16');
  assert.equal(tokenTypeFor(65537), 'int32');
});

test('a file larger than the page cache reads right', () => {
  const bytes = new Uint8Array(700_000).map((_, i) => (i * 31 + (i >> 8)) & 255);
  const path = join(dir, 'pages');
  writeFileSync(path, bytes);
  const file = new PagedFile(path, 2);
  const random = new Random(1, 'pages');
  for (let i = 0; i < 300; i++) {
    const at = random.integer(bytes.length);
    const into = new Uint8Array(Math.min(random.integer(150_000), bytes.length - at));
    file.read(at, into);
    assert.ok(Buffer.from(into).equals(bytes.subarray(at, at + into.length)));
  }
  assert.throws(() => file.read(bytes.length - 1, new Uint8Array(2)), /not in/);
  file.close();
});
