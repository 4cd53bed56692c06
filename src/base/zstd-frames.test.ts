// The zstd decoder against files of the reference implementation, whole and damaged.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goldenJson } from '../../test/golden.ts';
import { sha256 } from './hashing.ts';
import { Random } from './rng.ts';
import { Xxh64 } from './xxh64.ts';
import { readZstdFrames, unzstd } from './zstd-frames.ts';

interface Case {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly zst: string;
}
const { cases } = goldenJson<{ readonly cases: readonly Case[] }>('zstd.json');

/** Bytes in chunks of a size. */
async function* chunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(bytes: Buffer, size = 1 << 16): Promise<{ out: Buffer; damage: string[] }> {
  const parts: Buffer[] = [];
  const damage: string[] = [];
  for await (const piece of readZstdFrames(chunks(bytes, size))) {
    if (Buffer.isBuffer(piece)) parts.push(piece);
    else if (piece.mark === 'damage') damage.push(piece.reason);
  }
  return { out: Buffer.concat(parts), damage };
}

test('files of the reference implementation are read to the byte, however they come', async () => {
  for (const { name, bytes, sha256: expected, zst } of cases) {
    for (const size of [1 << 16, 1000, 7]) {
      const { out, damage } = await read(Buffer.from(zst, 'base64'), size);
      assert.deepEqual(damage, [], name);
      assert.equal(out.length, bytes, name);
      assert.equal(sha256(out), expected, name);
    }
  }
});

test('XXH64 gives the published values', () => {
  const low = (...parts: string[]): string => {
    const hash = new Xxh64();
    for (const part of parts) hash.update(Buffer.from(part));
    return hash.low().toString(16);
  };
  // ef46db3751d8e999, 44bc2cf5ad770999 and fbcea83c8a378bf1 of the specification's implementation.
  assert.equal(low(''), '51d8e999');
  assert.equal(low('abc'), 'ad770999');
  assert.equal(low('Nobody inspects the spammish repetition'), '8a378bf1');
  assert.equal(low('Nobody inspects', ' the spammish ', 'repetition'), '8a378bf1');
});

test('damage is told, costs its frame and no other, and never throws', async () => {
  const one = Buffer.from(cases.find(({ name }) => name === 'text, level 1')?.zst ?? '', 'base64');
  const file = Buffer.concat([one, one, one]);
  const whole = (await read(one)).out;
  const random = new Random(1, 'zstd');
  let seen = 0;
  for (let round = 0; round < 400; round++) {
    const copy = Buffer.from(file);
    const at = one.length + random.integer(one.length);
    copy[at] = (copy[at] as number) ^ (1 << random.integer(8));
    const { out, damage } = await read(copy);
    assert.ok(out.subarray(0, whole.length).equals(whole), `round ${round}: the frame before`);
    assert.ok(out.subarray(-whole.length).equals(whole), `round ${round}: the frame after`);
    if (damage.length > 0) seen++;
    else assert.ok(out.equals(Buffer.concat([whole, whole, whole])), `round ${round}: what is not told is not changed`);
  }
  assert.ok(seen > 390, `${seen} of 400 seen`);
  const cut = await read(file.subarray(0, 2 * one.length + 100));
  assert.deepEqual(cut.damage, ['truncated zstd frame']);
  assert.ok(cut.out.length >= 2 * whole.length);
  const dictionary = Buffer.from(cases.find(({ name }) => /^dictionary/.test(name))?.zst ?? '', 'base64');
  for (let length = 1; length < 30; length++) {
    assert.equal((await read(dictionary.subarray(0, length))).damage.length, 1, `${length} bytes`);
    assert.equal((await read(one.subarray(0, length))).damage.length, 1, `${length} bytes`);
  }
});

test('a bomb stops at the limit, and a window that nobody has is refused', async () => {
  const zeros = Buffer.from(cases.find(({ name }) => name === 'zeros')?.zst ?? '', 'base64');
  await assert.rejects(unzstd(zeros, 1000), /more than 1000 bytes/);
  // Single segment, content size of 8 bytes: 2^40.
  const head = Buffer.from('28b52ffde00000000000010000', 'hex');
  assert.match((await read(head)).damage[0] ?? '', /window of 1099511627776 bytes/);
});
