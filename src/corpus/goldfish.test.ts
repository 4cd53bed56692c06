import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { goldenJson } from '../../test/golden.ts';
import { Random } from '../base/rng.ts';
import { type Goldfish, goldfishTable, maskGoldfish, modulo } from './goldfish.ts';

const golden = goldenJson<{
  table: {
    size: number;
    sha256_little_endian_float32: string;
    first_32: number[];
    first_32_bits_hex: string[];
    scattered_indices: number[];
    scattered_values: number[];
    sum_float64: number;
    count_below_1_over_50: number;
    count_below_1_over_4: number;
    count_below_1_over_3: number;
  };
  sequences: { name: string; labels: number[] }[];
  cases: {
    sequence: string;
    k: number;
    h: number;
    masked_positions: number[];
    n_masked: number | number[];
    shorter_than_h?: boolean;
  }[];
  key_checks: {
    sequence: string;
    position: number;
    h: number;
    product_int64: string;
    key: number;
    table_value: number;
  }[];
}>('goldfish.json');
const labelsOf = (name: string): number[] => golden.sequences.find((s) => s.name === name)?.labels ?? [];

function masked(labels: Int32Array, goldfish: Goldfish): number[] {
  const mask = new Float32Array(labels.length).fill(1);
  maskGoldfish(mask, labels, goldfish);
  assert.ok(mask.every((weight) => weight === 0 || weight === 1));
  return [...mask.keys()].filter((i) => mask[i] === 0);
}

/** Position i is masked when the product of labels [i-h+1, i], in 64 bits and modulo the table, falls below 1/k. */
function bruteForce(labels: Int32Array, { k, h }: Goldfish): number[] {
  const expected: number[] = [];
  for (let t = h - 1; t < labels.length; t++) {
    const key = Number(((productAt(labels, t, h) % 1_000_003n) + 1_000_003n) % 1_000_003n);
    if ((goldfishTable()[key] as number) < Math.fround(1 / k)) expected.push(t);
  }
  return expected;
}

function productAt(labels: ArrayLike<number>, t: number, h: number): bigint {
  let product = 1n;
  for (let j = t - h + 1; j <= t; j++) product = BigInt.asIntN(64, product * BigInt(labels[j] as number));
  return product;
}

test('the table equals the published one bit for bit', () => {
  const table = goldfishTable();
  const { table: expected } = golden;
  const bytes = Buffer.alloc(4 * table.length);
  for (const [i, value] of table.entries()) bytes.writeFloatLE(value, 4 * i);
  assert.equal(table.length, expected.size);
  assert.deepEqual(
    expected.first_32_bits_hex.map((_, i) => bytes.readUInt32LE(4 * i)),
    expected.first_32_bits_hex.map((hex) => Number.parseInt(hex, 16)),
  );
  assert.deepEqual([...table.subarray(0, 32)], expected.first_32);
  assert.deepEqual(
    expected.scattered_indices.map((i) => table[i]),
    expected.scattered_values,
  );
  assert.equal(createHash('sha256').update(bytes).digest('hex'), expected.sha256_little_endian_float32);
  assert.ok(Math.abs(table.reduce((sum, value) => sum + value, 0) - expected.sum_float64) < 1e-6);
  for (const [k, count] of [
    [50, expected.count_below_1_over_50],
    [4, expected.count_below_1_over_4],
    [3, expected.count_below_1_over_3],
  ] as const) {
    assert.equal(
      table.reduce((below, value) => below + (value < Math.fround(1 / k) ? 1 : 0), 0),
      count,
    );
  }
});

test('every masked position equals the reference', () => {
  assert.equal(golden.cases.length, 42);
  assert.equal(golden.cases.filter((c) => c.shorter_than_h).length, 2);
  for (const { sequence, k, h, masked_positions, shorter_than_h } of golden.cases) {
    const labels = labelsOf(sequence);
    const what = `${sequence} ${k} ${h}`;
    assert.ok(labels.length > 0, what);
    assert.equal(labels.length < h, shorter_than_h ?? false, what);
    assert.deepEqual(masked(Int32Array.from(labels), { k, h }), masked_positions, what);
    assert.deepEqual(bruteForce(Int32Array.from(labels), { k, h }), masked_positions, what);
  }
});

test('keys of single windows equal the reference', () => {
  assert.equal(golden.key_checks.length, 24);
  for (const { sequence, position, h, product_int64, key, table_value } of golden.key_checks) {
    assert.equal(productAt(labelsOf(sequence), position, h), BigInt(product_int64));
    const product = BigInt.asUintN(64, BigInt(product_int64));
    const found = modulo(Number(product >> 32n) | 0, Number(product & 0xffffffffn) | 0);
    assert.equal(found, key);
    assert.equal(goldfishTable()[found], table_value);
  }
});

test('running products equal 64-bit integers, also for negative labels', () => {
  const random = new Random(1, 'goldfish');
  for (let i = 0; i < 200; i++) {
    const h = 1 + random.integer(12);
    const labels = Int32Array.from({ length: random.integer(80) }, () => random.integer(200_000) * 2 + 1 - 200_000);
    const k = 1 + random.integer(4);
    assert.deepEqual(masked(labels, { k, h }), bruteForce(labels, { k, h }), `h ${h}`);
  }
});

test('the ends of the ranges: rows shorter than h, as long as h, h = 1, k = 1', () => {
  const labels = Int32Array.from({ length: 40 }, (_, i) => 7 * i + 3);
  assert.deepEqual(masked(labels, { k: 2, h: 41 }), []);
  assert.deepEqual(masked(labels, { k: 1, h: 41 }), []);
  assert.deepEqual(masked(new Int32Array(0), { k: 1, h: 1 }), []);
  // With k = 1 every window is masked; the labels before the first whole window never are.
  assert.deepEqual(masked(labels, { k: 1, h: 40 }), [39]);
  assert.deepEqual(masked(labels, { k: 1, h: 13 }), [...labels.keys()].slice(12));
  assert.deepEqual(masked(labels, { k: 1, h: 1 }), [...labels.keys()]);
  // With h = 1 the label alone decides: equal labels are masked alike.
  const twice = Int32Array.from([...labels, ...labels]);
  const found = masked(twice, { k: 3, h: 1 });
  assert.deepEqual(found, bruteForce(twice, { k: 3, h: 1 }));
  assert.ok(found.length > 0 && found.length < 80);
  assert.deepEqual(
    found.filter((i) => i < 40),
    found.filter((i) => i >= 40).map((i) => i - 40),
  );
});
