import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bf16Bits, bf16Value, roundToBf16 } from './bf16.ts';

test('rounds to the nearest of the two neighbours, ties to even', () => {
  // Between 1 (0x3f80) and 1.0078125 (0x3f81); the middle is 1.00390625.
  assert.equal(bf16Bits(1.0039), 0x3f80);
  assert.equal(bf16Bits(1.00390625), 0x3f80);
  assert.equal(bf16Bits(1.004), 0x3f81);
  assert.equal(bf16Bits(1.01171875), 0x3f82);
  assert.equal(bf16Bits(3.4e38), 0x7f80);
});

test('NaN stays NaN, whatever its payload, and infinities and zeros keep their sign', () => {
  const low = new Float32Array(Uint32Array.of(0x7f800001, 0xffffffff).buffer);
  for (const x of [NaN, low[0]!, low[1]!])
    assert.ok(Number.isNaN(roundToBf16(x)) && Number.isNaN(bf16Value(bf16Bits(x))));
  for (const x of [Infinity, -Infinity, 0, -0]) assert.ok(Object.is(roundToBf16(x), x));
});

test('every bfloat16 survives the way there and back', () => {
  for (let half = 0; half < 65536; half++) {
    const value = bf16Value(half);
    if (!Number.isNaN(value)) assert.equal(bf16Bits(value), half);
  }
});
