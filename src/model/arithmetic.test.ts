import assert from 'node:assert/strict';
import { test } from 'node:test';
import apertus8b from '../../recipes/apertus-8b.ts';
import apertus70b from '../../recipes/apertus-70b.ts';
import { parseRecipe } from '../base/recipe.ts';
import { parameterCount, trainingFlopsPerToken } from './arithmetic.ts';

test('Apertus 8B and 70B have the published numbers of parameters', () => {
  assert.equal(parameterCount(parseRecipe(apertus8b, 'apertus-8b').model), 8_053_338_176);
  assert.equal(parameterCount(parseRecipe(apertus70b, 'apertus-70b').model), 70_599_864_480);
});

test('70B on 15T tokens costs 6.74e24 FLOP, 8B 7.74e23', () => {
  const total = (recipe: typeof apertus8b): number =>
    trainingFlopsPerToken(parseRecipe(recipe, 'recipe').model, 4096) * 15e12;
  assert.equal((total(apertus70b) / 1e24).toFixed(2), '6.74');
  assert.equal((total(apertus8b) / 1e23).toFixed(2), '7.74');
});
