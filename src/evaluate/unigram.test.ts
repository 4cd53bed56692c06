import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Unigram } from './unigram.ts';

test('add-one probabilities sum to one and rank by count', () => {
  const unigram = new Unigram([0, 3, 1, 0, 1]);
  assert.equal(unigram.tokens, 5);
  assert.ok(Math.abs(unigram.loss(1) - -Math.log(4 / 10)) < 1e-15);
  assert.ok(Math.abs(unigram.loss(0) - -Math.log(1 / 10)) < 1e-15);
  let sum = 0;
  for (let id = 0; id < 5; id++) sum += Math.exp(-unigram.loss(id));
  assert.ok(Math.abs(sum - 1) < 1e-15);
});

test('an id outside the vocabulary is refused', () => {
  assert.throws(() => new Unigram([1, 1]).loss(2), /id 2/);
});
