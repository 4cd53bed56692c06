import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { TextSet } from './text-set.ts';

test('holds what a Set holds', () => {
  fc.assert(
    fc.property(fc.array(fc.string()), fc.array(fc.string()), (added, asked) => {
      const [set, expected] = [new TextSet(), new Set(added)];
      for (const text of added) set.add(text);
      assert.equal(set.size, expected.size);
      for (const text of [...added, ...asked]) assert.equal(set.has(text), expected.has(text));
    }),
  );
});

test('half a million texts in a few bytes each', () => {
  const set = new TextSet();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 500_000; i++) set.add(`host-${i}.some.example`);
  assert.equal(set.size, 500_000);
  assert.ok(process.memoryUsage().arrayBuffers - before < 40e6);
  for (let i = 0; i < 500_000; i += 1000)
    assert.ok(set.has(`host-${i}.some.example`) && !set.has(`host-${i}.other.example`));
});
