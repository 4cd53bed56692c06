import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EvaluatedModel } from './evaluated-model.ts';
import { Unigram } from './unigram.ts';
import { scoringWindows, validationLoss } from './validation.ts';

/** A model that gives every token half a nat more loss than its position in the window. */
const ruler: Pick<EvaluatedModel, 'score'> = {
  score: (sequences) => sequences.map(({ ids }) => Array.from({ length: ids.length - 1 }, (_, t) => -(t + 0.5))),
};

test('windows predict every token but the first exactly once', () => {
  for (let n = 0; n < 40; n++) {
    for (const window of [1, 2, 3, 7, 50]) {
      const predicted = scoringWindows(n, window).flatMap(({ start, end }) =>
        Array.from({ length: end - start - 1 }, (_, i) => start + 1 + i),
      );
      assert.deepEqual(
        predicted,
        Array.from({ length: Math.max(0, n - 1) }, (_, i) => i + 1),
        `n ${n}, window ${window}`,
      );
    }
  }
});

test('sums of nats become nats per token and bits per byte, overall and per language', () => {
  const unigram = new Unigram([0, 2, 4, 2]);
  const documents = [
    { language: 'fra', ids: [1, 2, 3, 2], bytes: 10 },
    { language: 'deu', ids: Int32Array.of(1, 3), bytes: 4 },
    { language: 'fra', ids: [1, 2], bytes: 6 },
  ];
  const { overall, languages } = validationLoss({ model: ruler, documents, unigram, window: 2, tokensPerCall: 3 });
  assert.deepEqual(Object.keys(languages), ['deu', 'fra']);
  // fra: windows [1 2 3] and [3 2] give 0.5 + 1.5 and 0.5, the third document 0.5: 3 nats over 4 tokens and 16 bytes.
  assert.equal(languages['fra']?.natsPerToken, 3 / 4);
  assert.equal(languages['fra']?.bitsPerByte, 3 / Math.LN2 / 16);
  assert.equal(languages['fra']?.documents, 2);
  assert.equal(overall.tokens, 5);
  assert.equal(overall.natsPerToken, 3.5 / 5);
  const expected = 3 * -Math.log(5 / 12) + 2 * -Math.log(3 / 12);
  assert.ok(Math.abs(overall.unigramNatsPerToken - expected / 5) < 1e-14);
  assert.ok(Math.abs(overall.unigramBitsPerByte - expected / Math.LN2 / 20) < 1e-14);
});

test('a model that returns the wrong number of scores is found out', () => {
  const short = { score: () => [[0]] };
  const documents = [{ language: 'und', ids: [1, 2, 3], bytes: 3 }];
  assert.throws(
    () => validationLoss({ model: short, documents, unigram: new Unigram([1, 1, 1, 1]), window: 8 }),
    /1 log/,
  );
});
