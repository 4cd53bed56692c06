import assert from 'node:assert/strict';
import { test } from 'node:test';
import demo from '../../recipes/demo.ts';
import tiny from '../../recipes/demo-tiny.ts';
import { UserError } from './errors.ts';
import { loadRecipe, parseRecipe, setInRecipe } from './recipe.ts';

const recipe = parseRecipe(tiny, 'tiny');

test('an unknown key is answered with the valid ones', () => {
  assert.throws(
    () => parseRecipe({ ...tiny, pretrain: { ...tiny.pretrain, peekLearningRate: 1 } }, 'mine'),
    (error: UserError) =>
      error instanceof UserError &&
      /did you mean "peakLearningRate"/.test(error.message) &&
      /batchSize/.test(error.message),
  );
});

test('assignments are checked together, at the end', () => {
  const set = setInRecipe(recipe, ['pretrain.steps=null', 'pretrain.minutes=3', 'name=other']);
  assert.equal(set.pretrain?.steps, null);
  assert.equal(set.pretrain?.minutes, 3);
  assert.equal(set.name, 'other');
  assert.equal(recipe.pretrain?.steps, tiny.pretrain?.steps, 'the original is untouched');
  assert.throws(() => setInRecipe(recipe, ['pretrain.steps=null']), /how long to train/);
  assert.throws(() => setInRecipe(recipe, ['nothing.here=1']), /has no "nothing"/);
  assert.throws(() => setInRecipe(recipe, ['__proto__.x=1']), /has no "__proto__"/);
  assert.throws(() => setInRecipe(recipe, ['steps']), /not an assignment/);
});

test('the demo may be told its steps although it names minutes', () => {
  assert.equal(setInRecipe(parseRecipe(demo, 'demo'), ['pretrain.steps=200']).pretrain?.steps, 200);
});

test('models and parts that cannot work are refused before anything runs', () => {
  const fails = (change: object, message: RegExp): void =>
    assert.throws(() => parseRecipe({ ...tiny, ...change }, 'mine'), message);
  fails({ model: { ...tiny.model, heads: 3, kvHeads: 2 } }, /must divide/);
  fails({ model: { ...tiny.model, headDim: 15 } }, /RoPE turns pairs/);
  fails({ model: { ...tiny.model, vocabularySize: 512 } }, /more tokens than the model/);
  fails({ data: { ...tiny.data, plant: null } }, /plants no probes/);
});

test('a recipe is loaded by name or file; a missing one is the user’s mistake', async () => {
  assert.equal((await loadRecipe('demo-tiny')).name, 'demo-tiny');
  await assert.rejects(loadRecipe('no-such-recipe'), UserError);
  await assert.rejects(loadRecipe('/nowhere/x.json'), UserError);
});

test('a recipe for a corpus alone needs no model, and says so when asked for one', () => {
  const corpus = parseRecipe({ name: 'corpus', data: { source: { kind: 'jsonl', paths: ['in'] } } }, 'corpus.json');
  assert.throws(() => corpus.model, /the recipe corpus\.json describes no model[\s\S]*parts for a corpus alone/);
  assert.ok(!('model' in (JSON.parse(JSON.stringify(corpus)) as object)));
  assert.throws(
    () => parseRecipe({ name: 'x', pretrain: { steps: 1, peakLearningRate: 1e-3 } }, 'x'),
    /pretrain, which needs one/,
  );
});
