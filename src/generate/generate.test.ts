// Generation against the reference continuation and against the full forward pass, on every backend this machine has.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { availableBackends } from '../../test/backends.ts';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import { Random } from '../base/rng.ts';
import { Apertus } from '../model/apertus.ts';
import { modelConfig } from '../model/config.ts';
import { loadHfFolder } from '../model/hf-folder.ts';
import type { Backend } from '../tensor/backend.ts';
import { Engine } from '../tensor/tensor.ts';
import { generate, generateEvents } from './generate.ts';
import { greedyToken } from './sample.ts';

interface Batch {
  greedy_continuation: { prompt: number[]; steps: { token: number; logit: number }[] };
}
const { prompt: goldenPrompt, steps } = goldenJson<Batch>('model', 'batch.json').greedy_continuation;

/** A model with weights large enough that its tokens differ. */
function randomModel(backend: Backend, maxPositions = 512): Apertus {
  const model = new Apertus(
    new Engine(backend),
    modelConfig({
      layers: 2,
      hidden: 48,
      intermediate: 80,
      activation: 'xielu',
      heads: 4,
      kvHeads: 2,
      headDim: 12,
      vocabularySize: 101,
      maxPositions,
      ropeTheta: 500_000,
      ropeScaling: null,
      rmsNormEps: 1e-5,
      initStd: 0.3,
    }),
    { gradients: false },
  );
  model.initialise(5);
  return model;
}

function randomPrompts(count: number, longest: number): number[][] {
  const random = new Random(7, 'prompts');
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + random.integer(longest) }, () => random.integer(101)),
  );
}

/** The most likely next token by a whole forward pass, without a cache. */
function nextByFullForward(model: Apertus, ids: readonly number[]): number {
  const T = ids.length;
  const positions = Int32Array.from(ids, (_, i) => i);
  const batch = {
    B: 1,
    T,
    tokens: Int32Array.from(ids),
    positions,
    lo: new Int32Array(T),
    hi: positions.map((p) => p + 1),
  };
  let next = -1;
  model.engine.scope(() => {
    next = greedyToken(model.logits(model.hidden(batch)).data.slice(-model.config.vocabularySize));
  });
  return next;
}

for (const { name, backend } of availableBackends()) {
  test(`${name}: the greedy continuation of the reference`, () => {
    const model = loadHfFolder(goldenPath('model', 'hf'), new Engine(backend()), { gradients: false });
    const [result] = generate(model, [goldenPrompt], { maxTokens: steps.length, logprobs: true });
    assert.deepEqual(
      result?.ids,
      steps.map(({ token }) => token),
    );
    assert.equal(result?.finish, 'length');
    assert.equal(result?.logprobs?.length, steps.length);
    assert.equal(model.engine.memory.liveBytes, 0, 'memory left over');
  });

  test(`${name}: greedy is the argmax of a full forward pass each time`, () => {
    const model = randomModel(backend());
    for (const prompt of randomPrompts(4, 40)) {
      const made = generate(model, [prompt], { maxTokens: 12 })[0]?.ids as number[];
      const ids = [...prompt];
      for (const id of made) {
        assert.equal(id, nextByFullForward(model, ids));
        ids.push(id);
      }
      assert.equal(made.length, 12);
    }
  });

  test(`${name}: a batch gives each prompt what it gets alone, to the bit`, () => {
    const model = randomModel(backend());
    // More prompts than slots, more slots than a group, prompts longer than a piece, a cache that grows.
    const prompts = [...randomPrompts(20, 50), ...randomPrompts(2, 400).map((p) => [...p, ...p].slice(0, 400))];
    const options = { maxTokens: 70, stopIds: [3, 4, 5], logprobs: true };
    const together = generate(model, prompts, { ...options, maxBatch: 11 });
    assert.ok(new Set(together.map(({ finish }) => finish)).size === 2, 'both ways to end occur');
    for (const [i, prompt] of prompts.entries()) {
      assert.deepEqual(together[i], generate(model, [prompt], options)[0], `prompt ${i}`);
    }
    assert.equal(model.engine.memory.liveBytes, 0, 'memory left over');
  });
}

test('sampling: a seed decides, another seed differs, each prompt has its own stream', () => {
  const model = randomModel(availableBackends()[0]?.backend() as Backend);
  const draw = (seed: number): number[][] =>
    generate(model, [[1], [1]], { maxTokens: 16, temperature: 1.5, topP: 0.95, seed }).map(({ ids }) => ids);
  assert.deepEqual(draw(1), draw(1));
  assert.notDeepEqual(draw(1), draw(2));
  assert.notDeepEqual(draw(1)[0], draw(1)[1]);
});

test('ends: stop ids, the last position, no tokens at all; prompts that cannot run are named', () => {
  const model = randomModel(availableBackends()[0]?.backend() as Backend, 20);
  const prompt = [9, 8, 7];
  const free = generate(model, [prompt], { maxTokens: 6 })[0]?.ids as number[];
  const stopId = free[3] as number;
  const stopped = generate(model, [prompt], { maxTokens: 6, stopIds: [stopId] })[0];
  assert.deepEqual(stopped, { ids: free.slice(0, free.indexOf(stopId)), finish: 'stop', stopId });
  // 3 tokens are read, positions 3..19 are filled, and one more token is drawn from the last.
  const longest = generate(model, [prompt], { maxTokens: 500 })[0];
  assert.equal(longest?.ids.length, 18);
  assert.equal(longest?.finish, 'length');
  assert.deepEqual(generate(model, [prompt], { maxTokens: 0 }), [{ ids: [], finish: 'length' }]);
  assert.throws(() => generate(model, [[1], []]), /prompt 1 is empty/);
  assert.throws(() => generate(model, [[101]]), /101[\s\S]*0\.\.100/);
  assert.throws(() => generate(model, [Array.from({ length: 21 }, () => 1)]), /longer than the model's context/);
  assert.throws(() => generate(model, [[1]], { temperature: -2 }), /temperature, got -2/);
});

test('leaving the stream early gives the memory back', () => {
  const model = randomModel(availableBackends()[0]?.backend() as Backend);
  for (const event of generateEvents(model, [[1, 2]], { maxTokens: 50 })) if (event.kind === 'token') break;
  assert.equal(model.engine.memory.liveBytes, 0);
});
