import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Random } from '../base/rng.ts';
import { packageRoot } from '../base/version.ts';
import { type Goldfish, goldfishTable, maskGoldfish, modulo } from './goldfish.ts';

const golden = JSON.parse(readFileSync(join(packageRoot, 'test/golden/goldfish.json'), 'utf8')) as {
  table: { sha256_little_endian_float32: string; first_32_bits_hex: string[] };
  sequences: { name: string; labels: number[] }[];
  cases: { sequence: string; k: number; h: number; masked_positions: number[] }[];
  key_checks: {
    sequence: string;
    position: number;
    h: number;
    product_int64: string;
    key: number;
    table_value: number;
  }[];
};
const labelsOf = (name: string): number[] => golden.sequences.find((s) => s.name === name)?.labels ?? [];

function masked(labels: Int32Array, goldfish: Goldfish): number[] {
  const mask = new Float32Array(labels.length).fill(1);
  maskGoldfish(mask, labels, goldfish);
  return [...mask.keys()].filter((i) => mask[i] === 0);
}

test('the table equals the published one bit for bit', () => {
  const bytes = Buffer.alloc(4 * goldfishTable().length);
  for (const [i, value] of goldfishTable().entries()) bytes.writeFloatLE(value, 4 * i);
  assert.equal(bytes.readUInt32LE(0).toString(16), golden.table.first_32_bits_hex[0]);
  assert.equal(createHash('sha256').update(bytes).digest('hex'), golden.table.sha256_little_endian_float32);
});

test('every masked position equals the reference', () => {
  assert.equal(golden.cases.length, 42);
  for (const { sequence, k, h, masked_positions } of golden.cases) {
    assert.deepEqual(masked(Int32Array.from(labelsOf(sequence)), { k, h }), masked_positions, `${sequence} ${k} ${h}`);
  }
});

test('keys of single windows equal the reference', () => {
  for (const { product_int64, key, table_value } of golden.key_checks) {
    const product = BigInt.asUintN(64, BigInt(product_int64));
    const found = modulo(Number(product >> 32n) | 0, Number(product & 0xffffffffn) | 0);
    assert.equal(found, key);
    assert.equal(goldfishTable()[found], table_value);
  }
});

test('running products equal 64-bit integers, also for negative labels', () => {
  const random = new Random(1, 'goldfish');
  for (let i = 0; i < 60; i++) {
    const h = 1 + random.integer(12);
    const labels = Int32Array.from({ length: 1 + random.integer(80) }, () => random.integer(200_000) * 2 + 1 - 200_000);
    const k = 2 + random.integer(3);
    const expected: number[] = [];
    for (let t = h - 1; t < labels.length; t++) {
      let product = 1n;
      for (let j = t - h + 1; j <= t; j++) product = BigInt.asIntN(64, product * BigInt(labels[j] as number));
      const key = Number(((product % 1_000_003n) + 1_000_003n) % 1_000_003n);
      if ((goldfishTable()[key] as number) < Math.fround(1 / k)) expected.push(t);
    }
    assert.deepEqual(masked(labels, { k, h }), expected, `h ${h}`);
  }
});
