import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { jsBackend } from './backend-js.ts';
import { SafetensorsFile, writeSafetensors } from './safetensors.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-safetensors-'));
after(() => rmSync(scratch, { recursive: true }));
const path = join(scratch, 'weights.safetensors');

function write(header: unknown, dataBytes: number): void {
  const text = typeof header === 'string' ? header : JSON.stringify(header);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  writeFileSync(path, Buffer.concat([head, Buffer.from(text), Buffer.alloc(dataBytes)]));
}

const vector = (from: number, to: number): object => ({
  dtype: 'F32',
  shape: [(to - from) / 4],
  data_offsets: [from, to],
});

test('what was written is read: values, shapes and metadata, in any order of the header', () => {
  const backend = jsBackend();
  const tensors = [
    { name: 'b', shape: [2, 2], values: Float32Array.of(1, 2, 3, 4) },
    { name: 'empty', shape: [0, 3], values: new Float32Array(0) },
    { name: 'a', shape: [], values: Float32Array.of(5) },
  ];
  writeSafetensors(path, tensors, 'F32', backend, { step: '7' });
  const file = new SafetensorsFile(path);
  assert.deepEqual(file.metadata, { step: '7' });
  for (const { name, shape, values } of tensors) {
    assert.deepEqual(file.tensors.get(name)?.shape, shape);
    assert.deepEqual(file.read(name, backend), values);
  }
  file.close();
  write({ second: vector(8, 12), first: vector(0, 8) }, 12);
  new SafetensorsFile(path).close();
});

test('a header that lies is refused with what is wrong, and the file is closed', {
  skip: process.platform !== 'linux',
}, () => {
  const whole = readFileSync(path);
  const cases: readonly (readonly [unknown, number, RegExp])[] = [
    // The sizes add up to the 16 bytes that are there, but bytes 4..8 belong to two tensors and 12..16 to none.
    [{ a: vector(0, 8), b: vector(4, 12) }, 16, /b begins at byte 4 where byte 8 is next/],
    [{ a: vector(0, 8), b: vector(0, 8) }, 16, /b begins at byte 0 where byte 8 is next/],
    [{ a: vector(0, 8), b: vector(12, 16) }, 16, /b begins at byte 12/],
    [{ a: vector(0, 8) }, 12, /8 bytes of tensors in 12/],
    [{ a: vector(0, 16) }, 12, /truncated/],
    ['null', 0, /header with/],
    ['[1]', 0, /not a whole safetensors file/],
    ['{', 0, /not JSON/],
    [{ a: null }, 0, /a: .*expected object/],
    [{ a: { dtype: 'F32', shape: 5, data_offsets: [0, 20] } }, 20, /expected array/],
    [{ a: { dtype: 'F32', shape: [-1, -1], data_offsets: [0, 4] } }, 4, /Too small/],
    [{ a: { dtype: 'F32', shape: [1], data_offsets: '04' } }, 4, /data_offsets/],
    [{ a: { dtype: 'F32', shape: [2], data_offsets: [0, 4] } }, 4, /offsets 0..4 for shape \[2\]/],
    [{ a: { dtype: 'toString', shape: [1], data_offsets: [0, 4] } }, 4, /dtype toString/],
    [{ __metadata__: { step: 7 } }, 0, /header with/],
  ];
  const open = (): number => readdirSync('/proc/self/fd').length;
  const before = open();
  for (const [header, bytes, expected] of cases) {
    write(header, bytes);
    assert.throws(
      () => new SafetensorsFile(path),
      (error) => error instanceof UserError && expected.test(error.message.replaceAll('\n', ' ')),
      JSON.stringify(header),
    );
  }
  assert.equal(open(), before, 'open files');
  writeFileSync(path, whole);
  new SafetensorsFile(path).close();
});
