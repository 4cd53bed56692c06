import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type BatchRamp, batchSize as rampedBatch } from '../optim/schedule.ts';
import { parseRecipe, type PretrainRecipe } from '../base/recipe.ts';
import { curriculumOf, defaultShards } from './curriculum.ts';

const model = { layers: 1, hidden: 8, intermediate: 8, heads: 1, kvHeads: 1, headDim: 8, vocabularySize: 64 };

function pretrain(part: Record<string, unknown>): PretrainRecipe {
  const recipe = parseRecipe({ name: 'test', model, pretrain: { peakLearningRate: 1, ...part } }, 'test');
  return recipe.pretrain as PretrainRecipe;
}

test('one phase: steps, samples and a WSD rate counted in samples', () => {
  const curriculum = curriculumOf(pretrain({ steps: 100, batchSize: 4, warmup: 10, cooldown: 0.2 }), 28);
  assert.equal(curriculum.samples, 400);
  assert.equal(curriculum.at(0).learningRate, 0);
  assert.equal(curriculum.at(5).learningRate, 0.5);
  assert.equal(curriculum.at(50).learningRate, 1);
  assert.equal(curriculum.at(80).learningRate, 1);
  assert.equal(curriculum.at(85).learningRate, 1 - Math.sqrt(0.25));
  assert.deepEqual(curriculum.stepOf(curriculum.at(0).phase, 9), { step: 2, row: 1 });
});

test('the 8B run: its ramp ends at iteration 1,678,000 and the whole has 2,627,139 steps', () => {
  const ramp = { start: 1024, increment: 1024, samples: 1_718_272_000 };
  const part = pretrain({
    samples: 3_662_109_375,
    sequenceLength: 4096,
    batchSize: 2048,
    batchRamp: ramp,
    warmupSamples: 4_096_000,
    cooldownSamples: 403_905_806,
    peakLearningRate: 1.1e-4,
    finalLearningRate: 1.1e-5,
  });
  const curriculum = curriculumOf(part, 28);
  assert.equal(curriculum.steps, 2_627_139);
  assert.equal(curriculum.at(1_677_999).batchSize, 1024);
  assert.equal(curriculum.at(1_678_000).batchSize, 2048);
  assert.equal(curriculum.at(1_678_000).samples, 1_718_272_000);
  assert.equal(curriculum.at(4000).learningRate, 1.1e-4);
  assert.equal(curriculum.at(0).phase.shards, 8);
});

test('a curriculum walks its phases, and only those without a rate of their own follow the run', () => {
  const part = pretrain({
    batchSize: 4,
    sequenceLength: 16,
    warmup: 0,
    cooldown: 10,
    phases: [
      { name: 'a', steps: 10 },
      { name: 'b', samples: 22, seed: 5, startSample: 40, mixture: [{ data: 'x' }, { data: 'y', weight: 3 }] },
      {
        name: 'c',
        steps: 4,
        batchSize: 2,
        sequenceLength: 64,
        ropeTheta: 1e6,
        resetOptimizer: true,
        learningRate: { peak: 0.1, warmup: 2, decay: 'constant' },
      },
      { name: 'd', steps: 5, dataStart: 7 },
    ],
  });
  const curriculum = curriculumOf(part, 28);
  assert.deepEqual(
    curriculum.phases.map(({ startStep, steps, startSample, samples }) => [startStep, steps, startSample, samples]),
    [
      [0, 10, 0, 40],
      [10, 5, 40, 20],
      [15, 4, 60, 8],
      [19, 5, 68, 20],
    ],
  );
  assert.equal(curriculum.steps, 24);
  assert.equal(curriculum.tokens, 60 * 16 + 8 * 64 + 20 * 16);
  assert.deepEqual(
    curriculum.phases.map(({ ropeTheta, seed, dataStart }) => [ropeTheta, seed, dataStart]),
    [
      [null, 28, 0],
      [null, 5, 0],
      [1e6, 28, 0],
      [1e6, 28, 7],
    ],
  );
  assert.equal(curriculum.at(15).learningRate, 0);
  assert.equal(curriculum.at(17).learningRate, 0.1);
  assert.equal(curriculum.at(9).learningRate, 1);
  // The run's schedule is 82 samples long (phase b as worded) and had 60 before phase d: its cooldown has begun.
  const n = 60 + 4;
  assert.equal(curriculum.at(20).learningRate, 1 - Math.sqrt((n - (82 - 40)) / 40));
  assert.equal(curriculum.tokensBefore(16), 60 * 16 + 2 * 64);
  assert.throws(
    () => curriculumOf(pretrain({ ...part, phases: [{ name: 'a', steps: 1, startSample: 3 }] }), 1),
    /begin/,
  );
});

test('the stretches of a ramp are the batch sizes of the reference, step by step', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 1, max: 400 }),
      (start, increment, increments, samples) => {
        const final = start + increment * increments;
        const part = pretrain({ steps: 120, batchSize: final, batchRamp: { start, increment, samples } });
        const curriculum = curriculumOf(part, 1);
        const ramp: BatchRamp = { start, increment, samples, final };
        let n = 0;
        for (let step = 0; step < 120; step++) {
          const place = curriculum.at(step);
          assert.equal(place.samples, n, `samples before step ${step}`);
          assert.equal(place.batchSize, rampedBatch(ramp, n), `batch of step ${step}`);
          n += place.batchSize;
        }
        assert.equal(curriculum.samples, n);
      },
    ),
  );
});

test('shards divide the batch and keep 512 tokens each', () => {
  assert.equal(defaultShards(2048, 4096), 8);
  assert.equal(defaultShards(12, 512), 12);
  assert.equal(defaultShards(8, 128), 2);
  assert.equal(defaultShards(7, 4096), 1);
});
