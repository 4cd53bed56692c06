import assert from 'node:assert/strict';
import { test } from 'node:test';
import apertus70b from '../../recipes/apertus-70b.ts';
import apertus8b from '../../recipes/apertus-8b.ts';
import { parseRecipe, type RecipeInput } from '../base/recipe.ts';
import { type Plan, planRecipe, planText } from './plan.ts';

const planOf = (recipe: RecipeInput, measure = false): Plan => planRecipe(parseRecipe(recipe, 'recipe'), { measure });

test('the published numbers of Apertus', () => {
  const small = planOf(apertus8b);
  const large = planOf(apertus70b);
  assert.equal(small.parameters, 8_053_338_176);
  assert.equal(large.parameters, 70_599_864_480);
  assert.equal(large.pretrain?.tokens, 15e12);
  assert.equal(large.pretrain?.flops?.toPrecision(3), '6.74e+24');
  // 15e12 tokens / (4,096 x 723 tokens/s) = 5.065e6 s; x 4,096 devices = 5.763e6 hours; x 560 W = 3,227 MWh.
  assert.equal(large.cluster?.days.toFixed(1), '58.6');
  assert.equal(large.cluster?.deviceHours.toPrecision(3), '5.76e+6');
  assert.equal(large.cluster?.energyMegawattHours?.toFixed(0), '3227');
  // Weights and three moments in float32; a bfloat16 release; 80 layers x 2 x 8 heads x 128 values in float32.
  assert.equal(large.pretrain?.checkpointBytes, 16 * 70_599_864_480);
  assert.equal(large.releaseBytes, 2 * 70_599_864_480);
  assert.equal(large.cacheBytesPerToken, 655_360);
  assert.equal(large.thisMachine, null);
  const text = planText(large);
  assert.match(text, /70,599,864,480/);
  assert.match(text, /6\.74e24/);
});

test('steps come from the recipe, or from minutes and the rate measured now', () => {
  const recipe: RecipeInput = {
    name: 'small',
    model: { layers: 2, hidden: 64, intermediate: 128, heads: 4, kvHeads: 2, headDim: 16, vocabularySize: 512 },
    pretrain: { steps: 100, sequenceLength: 32, batchSize: 4, peakLearningRate: 1e-3 },
  };
  assert.equal(planOf(recipe).pretrain?.tokens, 100 * 32 * 4);
  const inMinutes = { ...recipe, pretrain: { ...recipe.pretrain, steps: null, minutes: 1, peakLearningRate: 1e-3 } };
  assert.equal(planOf(inMinutes).pretrain?.steps, null);
  assert.match(planText(planOf(inMinutes)), /chosen by the measured rate/);
  const measured = planOf(inMinutes, true);
  assert.ok((measured.pretrain?.steps as number) >= 1);
  // At the rate it was planned with, the planned work takes the given minute, up to one step.
  const seconds = (measured.thisMachine?.days as number) * 86_400;
  const step = 60 / (measured.pretrain?.steps as number);
  assert.ok(seconds <= 60.001 && seconds >= 59.99 - step, `${seconds} s`);
  assert.match(planText(measured), /measured now/);
});
