import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../base/progress.ts';
import { Apertus } from '../model/apertus.ts';
import { modelConfig } from '../model/config.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { Engine } from '../tensor/tensor.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { tokenizerJson } from '../tokenizer/tokenizer-files.ts';
import { trainBpe } from '../tokenizer/train.ts';
import { type EvaluatedModel, evaluatedModel } from './evaluated-model.ts';
import { makeProbes, probeModel, probeSequences, spreadOf, summariseMemorisation } from './memorisation.ts';

const tokenizer = new Tokenizer(
  tokenizerJson(await trainBpe(['one two three four five six seven eight nine ten'], 345, silentLog)),
  'test tokenizer',
);
const planted = [
  { id: 'a', text: 'one two three four five six seven eight nine ten', repetitions: 1 },
  { id: 'b', text: 'ten nine eight seven six five four three two one', repetitions: 4 },
  { id: 'c', text: 'one', repetitions: 2 },
];
const { probes, tooShort } = makeProbes(tokenizer, planted, { prefixTokens: 4, suffixTokens: 5 });

/** Knows text b by heart and answers everything else with token 99. */
const parrot: EvaluatedModel = {
  greedy: (prompts, { maxTokens }) =>
    prompts.map((prompt) => {
      const known = tokenizer.encode(planted[1]?.text ?? '', { bos: true });
      const knows = prompt.every((id, i) => id === known[i]);
      return knows ? known.slice(prompt.length, prompt.length + maxTokens) : new Array<number>(maxTokens).fill(99);
    }),
  score: (sequences) => sequences.map(({ ids }) => Array.from({ length: ids.length - 1 }, (_, i) => -i)),
};

test('a probe is a prefix after <s> and the tokens that follow it', () => {
  assert.deepEqual(tooShort, ['c']);
  assert.deepEqual(
    probes.map(({ id }) => id),
    ['a', 'b'],
  );
  for (const { id, prefix, suffix } of probes) {
    assert.equal(prefix.length, 5);
    assert.equal(prefix[0], 1);
    assert.equal(suffix.length, 5);
    const text = planted.find((entry) => entry.id === id)?.text ?? '';
    assert.ok(text.startsWith(tokenizer.decode([...prefix.slice(1), ...suffix])));
  }
});

test('what is known by heart scores 1, what is not scores 0, and only the suffix is scored', () => {
  const [a, b] = probeModel(parrot, probes);
  assert.equal(b?.rougeL, 1);
  assert.equal(b?.lccs, 1);
  assert.equal(b?.exact, true);
  assert.equal(a?.rougeL, 0);
  assert.equal(a?.exact, false);
  // Prefix of 5: predictions 4 to 8 are the suffix.
  assert.equal(a?.suffixLogprob, -6);
});

test('a side corpus holds every text as often as it says, in an order of the seed', () => {
  const build = (seed: number): (readonly number[])[] =>
    probeSequences({ planted, background: ['ten', 'two'], encode: (text) => [1, ...tokenizer.encode(text), 2], seed });
  const texts = build(1).map((ids) => tokenizer.decode(ids, { skipSpecial: true }));
  assert.equal(texts.length, 1 + 4 + 2 + 2);
  for (const { text, repetitions } of planted) {
    assert.equal(texts.filter((other) => other === text).length, repetitions);
  }
  assert.deepEqual(build(1), build(1));
  assert.notDeepEqual(build(1), build(2));
});

test('the summary is the spread over seeds of the mean over probes', () => {
  const results = probeModel(parrot, probes);
  const worse = results.map((result) => ({ ...result, rougeL: 0 }));
  const summary = summariseMemorisation([
    { goldfish: true, seed: 2, results: worse },
    { goldfish: false, seed: 2, results: worse },
    { goldfish: false, seed: 1, results },
  ]);
  assert.deepEqual(summary.seeds, [1, 2]);
  assert.deepEqual(
    summary.standard.map(({ repetitions }) => repetitions),
    [1, 4],
  );
  assert.deepEqual(summary.standard[1]?.rougeL, { mean: 0.5, min: 0, max: 1, sd: Math.SQRT1_2 });
  assert.deepEqual(summary.goldfish[1]?.rougeL, { mean: 0, min: 0, max: 0, sd: 0 });
  assert.equal(spreadOf([1, 2, 3]).sd, 1);
});

test('a transformer in this process can be probed', () => {
  const model = new Apertus(
    new Engine(jsBackend()),
    modelConfig({
      layers: 1,
      hidden: 16,
      intermediate: 32,
      activation: 'xielu',
      heads: 2,
      kvHeads: 1,
      headDim: 8,
      vocabularySize: 345,
      maxPositions: 64,
      ropeTheta: 10_000,
      ropeScaling: null,
      rmsNormEps: 1e-5,
      initStd: 0.02,
    }),
    { gradients: false },
  );
  model.initialise(1);
  const [a] = probeModel(evaluatedModel(model), probes);
  // A model that knows nothing spreads its belief over the vocabulary.
  assert.ok(Math.abs((a?.suffixLogprob ?? 0) + Math.log(345)) < 0.2, `${a?.suffixLogprob}`);
});
