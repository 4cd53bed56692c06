import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Document } from '../base/document.ts';
import { JsonlWriter, readJsonl } from '../base/jsonl.ts';
import { writeManifest } from '../base/manifest.ts';
import { silentLog } from '../base/progress.ts';
import { parseRecipe } from '../base/recipe.ts';
import { MegatronWriter, tokenTypeFor } from '../corpus/megatron.ts';
import { packDocuments } from '../corpus/pack.ts';
import { Apertus } from '../model/apertus.ts';
import { modelConfig } from '../model/config.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { Engine } from '../tensor/tensor.ts';
import { writeTokenizerFiles } from '../tokenizer/tokenizer-files.ts';
import { trainBpe } from '../tokenizer/train.ts';
import { answersName, type Evaluation, evaluateModels, evaluationName, trainingUnigram } from './evaluate-stage.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-evaluate-'));
after(() => rmSync(scratch, { recursive: true }));

const recipe = parseRecipe(
  {
    name: 'test',
    model: { layers: 1, hidden: 16, intermediate: 32, heads: 2, kvHeads: 1, headDim: 8, vocabularySize: 345 },
    evaluate: { sequenceLength: 16, maxQuestions: 3 },
  },
  'test',
);

function stageFolder(name: string): string {
  const dir = join(scratch, name);
  mkdirSync(dir);
  return dir;
}

function finish(dir: string): string {
  writeManifest(dir, { kind: 'test', version: 1, recipe: { dir }, inputs: {}, facts: {} });
  return dir;
}

test('the stage measures both models on the held-out documents and the language question', async () => {
  const documentsDir = stageFolder('documents');
  const text = 'all human beings are born free and equal';
  const document = (id: string, language: string): Document => {
    return { id, text: `${text} ${id}`, language, source: 'test', licence: 'CC0-1.0' };
  };
  for (const [split, documents] of [
    ['train', [document('a', 'eng'), document('b', 'fra')]],
    ['validation', [document('c', 'eng'), document('d', 'fra'), document('e', 'fra'), document('f', 'deu')]],
  ] as const) {
    const writer = new JsonlWriter(join(documentsDir, `${split}.jsonl.gz`));
    for (const line of documents) await writer.write(line);
    await writer.close();
  }
  finish(documentsDir);
  const tokenizerDir = stageFolder('tokenizer');
  writeTokenizerFiles(tokenizerDir, await trainBpe([text], 345, silentLog));
  finish(tokenizerDir);
  const tokens = join(scratch, 'tokens');
  await packDocuments({ dir: tokens, documentsDir, tokenizerDir, recipe, log: silentLog });

  const loaded: string[] = [];
  const options = {
    dir: join(scratch, 'evaluation'),
    recipe,
    inputs: {
      documents: documentsDir,
      tokenizer: tokenizerDir,
      tokens,
      base: finish(stageFolder('pretrain')),
      chat: finish(stageFolder('sft')),
    },
    loadModel: (dir: string) => {
      loaded.push(dir);
      const model = new Apertus(new Engine(jsBackend()), modelConfig(recipe.model), { gradients: false });
      model.initialise(1);
      return model;
    },
    log: silentLog,
  };
  const { dir, manifest } = await evaluateModels(options);
  assert.deepEqual(loaded, [join(scratch, 'pretrain', 'model'), join(scratch, 'sft', 'model')]);
  const evaluation = JSON.parse(readFileSync(join(dir, evaluationName), 'utf8')) as Evaluation;
  const { base, chat } = evaluation.validation;
  assert.deepEqual(base, chat);
  assert.deepEqual(Object.keys(base.languages), ['deu', 'eng', 'fra']);
  assert.equal(base.overall.documents, 4);
  assert.equal(base.overall.bytes, 4 * Buffer.byteLength(`${text} x`));
  // Every document is its text with <s> and </s>; all but <s> is predicted.
  assert.ok(Math.abs(base.overall.natsPerToken - Math.log(345)) < 0.3, `${base.overall.natsPerToken}`);
  assert.ok(base.overall.unigramNatsPerToken < Math.log(345) - 1, 'the unigram knows the training tokens');
  assert.equal(manifest.facts['natsPerToken'], base.overall.natsPerToken);
  assert.equal(evaluation.languageQuestion?.questions, 3);
  assert.equal(evaluation.languageQuestion?.chance, 1 / 3);
  assert.equal(evaluation.languageNames['fra'], 'French');
  let answers = 0;
  for await (const answer of readJsonl<{ expected: string }>(join(dir, answersName))) {
    answers++;
    assert.ok(['French', 'English', 'German, Standard'].includes(answer.expected));
  }
  assert.equal(answers, 3);
  assert.equal((await evaluateModels(options)).skipped, true);
});

test('the unigram counts the training tokens of every group', () => {
  const dir = stageFolder('grouped');
  for (const [name, ids] of [
    ['train', [1, 5, 2]],
    ['long', [1, 5, 5, 7, 2]],
    ['validation', [1, 9, 2]],
  ] as const) {
    const writer = new MegatronWriter(join(dir, name), tokenTypeFor(345));
    writer.addDocument(ids);
    writer.close();
  }
  writeManifest(dir, { kind: 'tokens', version: 1, recipe: {}, inputs: {}, facts: { groups: { long: {} } } });
  const unigram = trainingUnigram(dir, 345);
  assert.equal(unigram.tokens, 8);
  assert.equal(unigram.loss(5), -Math.log(4 / (8 + 345)));
  assert.equal(unigram.loss(9), -Math.log(1 / (8 + 345)));
});
