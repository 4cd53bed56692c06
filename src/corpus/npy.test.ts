import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { goldenPath } from '../../test/golden.ts';
import { hashFile } from '../base/hashing.ts';
import { NpyFile, npyBytes, NpyWriter, type NpyType } from './npy.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-npy-'));
after(() => rmSync(dir, { recursive: true }));

function write(name: string, type: NpyType, shape: readonly number[], values: readonly number[]): string {
  const path = join(dir, name);
  const writer = new NpyWriter(path, type, shape);
  for (const value of values) writer.push(value);
  const { bytes, sha256 } = writer.close();
  assert.equal(bytes, npyBytes(type, shape));
  assert.deepEqual(hashFile(path), { bytes, sha256 });
  return path;
}

test('numbers of every type come back, also across pages', () => {
  const values: Record<NpyType, number[]> = {
    int16: [-32768, 32767, 0, -1, 5],
    int32: [-(2 ** 31), 2 ** 31 - 1, 0, -1, 7],
    uint32: [2 ** 32 - 1, 0, 2 ** 31, 1, 9],
    int64: [-(2 ** 53), 2 ** 53 - 1, -1, 0, 2 ** 32, -(2 ** 32), -(2 ** 32) - 1, 2 ** 31, 4294967295],
  };
  for (const [type, numbers] of Object.entries(values) as [NpyType, number[]][]) {
    const many = Array.from({ length: 30_001 }, (_, i) => numbers[i % numbers.length] as number);
    const file = new NpyFile(write(`${type}.npy`, type, [many.length], many));
    assert.deepEqual([file.type, file.shape], [type, [many.length]]);
    for (let i = many.length - 1; i >= 0; i -= 7) assert.equal(file.at(i), many[i]);
    file.close();
  }
});

test('files of the reference are read, and written again byte for byte', () => {
  for (const name of ['document', 'sample', 'shuffle']) {
    const path = goldenPath('megatron', `corpus_a_seed28_len64_epochs2.3_${name}_index.npy`);
    const file = new NpyFile(path);
    const count = file.shape.reduce((product, length) => product * length, 1);
    const copy = write(
      'copy.npy',
      file.type,
      file.shape,
      Array.from({ length: count }, (_, i) => file.at(i)),
    );
    file.close();
    assert.ok(readFileSync(copy).equals(readFileSync(path)), name);
  }
});

test('damaged and foreign files are refused with what is wrong', () => {
  const refused = (change: (path: string) => void, message: RegExp): void => {
    const path = write('damaged.npy', 'int32', [40, 2], Array(80).fill(3));
    change(path);
    assert.throws(() => new NpyFile(path), message);
  };
  const patch = (from: string, to: string) => (path: string) =>
    writeFileSync(path, readFileSync(path, 'latin1').replace(from, to), 'latin1');
  refused((path) => truncateSync(path, 447), /has 447 bytes, its header asks for 448/);
  refused((path) => truncateSync(path, 100), /ends in its header/);
  refused((path) => truncateSync(path, 5), /too short/);
  refused((path) => writeFileSync(path, readFileSync(path, 'latin1').slice(0, 128), 'latin1'), /has 128 bytes/);
  refused(patch('NUMPY', 'NUMPX'), /not an array of numpy/);
  refused(patch('False', 'True '), /another header/);
  refused(patch('<i4', '<f4'), /numbers of type <f4/);
  assert.throws(() => {
    const writer = new NpyWriter(join(dir, 'short.npy'), 'int32', [3]);
    writer.push(1);
    writer.close();
  }, /lacks 2 numbers/);
});
