import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Apertus } from '../model/apertus.ts';
import { modelConfig } from '../model/config.ts';
import { selectedBackend } from '../tensor/backend-select.ts';
import { Engine } from '../tensor/tensor.ts';
import { parseRecipe } from '../base/recipe.ts';
import { type EvaluatedModel, evaluatedModel } from './evaluated-model.ts';
import { longDocumentLoss, positionsText } from './long-documents.ts';

/** Half a nat for a token whose place in its window is at least 4, one for the others. */
const farSighted: Pick<EvaluatedModel, 'score'> = {
  score: (sequences) =>
    sequences.map(({ ids }) => Array.from({ length: ids.length - 1 }, (_, t) => (t + 1 >= 4 ? -0.5 : -1))),
};

const document = (tokens: number, bytes: number) => ({
  language: 'und',
  ids: Array.from({ length: tokens }, (_, i) => i % 7),
  bytes,
});

test('only long documents, whole, each token once, by its place in the document', () => {
  const documents = [document(8, 20), document(17, 50), document(3, 9), document(16, 30)];
  const common = { model: farSighted, documents, minTokens: 16, bounds: [4, 8], tokensPerCall: 9 };
  const long = longDocumentLoss({ ...common, window: 16 });
  // Documents of 17 and 16 ids: places 1-3 cost a nat, 4-16 and 4-15 half of one.
  assert.equal(long.documents, 2);
  assert.equal(long.bytes, 80);
  assert.equal(long.tokens, 16 + 15);
  assert.equal(long.natsPerToken, (2 * 3 + 0.5 * (13 + 12)) / 31);
  assert.equal(long.bitsPerByte, (2 * 3 + 0.5 * (13 + 12)) / Math.LN2 / 80);
  assert.deepEqual(long.positions, [
    { from: 0, to: 4, tokens: 6, natsPerToken: 1 },
    { from: 4, to: 8, tokens: 8, natsPerToken: 0.5 },
    { from: 8, to: null, tokens: 17, natsPerToken: 0.5 },
  ]);
  assert.equal(positionsText(long.positions), '0-4 1.000, 4-8 0.500, 8- 0.500');
  // Windows of 4: three of four places in each do not see far enough; the same tokens are scored.
  const short = longDocumentLoss({ ...common, window: 4 });
  assert.equal(short.tokens, long.tokens);
  assert.deepEqual(
    short.positions.map(({ from, tokens }) => [from, tokens]),
    long.positions.map(({ from, tokens }) => [from, tokens]),
  );
  assert.equal(short.positions[1]?.natsPerToken, (2 * 0.5 + 6 * 1) / 8);
  assert.ok(short.bitsPerByte > long.bitsPerByte);
});

test('nothing is long enough', () => {
  const none = longDocumentLoss({ model: farSighted, documents: [document(9, 9)], minTokens: 10, window: 4 });
  assert.deepEqual([none.documents, none.tokens, none.bitsPerByte, none.positions], [0, 0, 0, []]);
});

test('a longer window changes nothing before the end of the first short one', () => {
  const { model: sizes } = parseRecipe(
    {
      name: 'small',
      model: {
        layers: 1,
        hidden: 16,
        intermediate: 32,
        heads: 2,
        kvHeads: 1,
        headDim: 8,
        vocabularySize: 64,
        maxPositions: 64,
        initStd: 0.3,
      },
    },
    'small',
  );
  const model = new Apertus(new Engine(selectedBackend().backend, 'float32'), modelConfig(sizes));
  model.initialise(1);
  const documents = [document(60, 100)];
  const [short, long] = [16, 64].map((window) =>
    longDocumentLoss({ model: evaluatedModel(model), documents, minTokens: 2, window, bounds: [17, 32] }),
  );
  assert.ok(short && long);
  const difference = (i: number): number =>
    Math.abs((short.positions[i]?.natsPerToken as number) - (long.positions[i]?.natsPerToken as number));
  assert.ok(difference(0) < 1e-5, `${difference(0)}`);
  assert.ok(difference(1) > 1e-4, `${difference(1)}`);
});
