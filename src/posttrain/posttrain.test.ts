import assert from 'node:assert/strict';
import { mkdtempSync, mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { goldenJson } from '../../test/golden.ts';
import type { Document } from '../base/document.ts';
import { JsonlWriter, readJsonl } from '../base/jsonl.ts';
import { writeManifest } from '../base/manifest.ts';
import { silentLog } from '../base/progress.ts';
import { parseRecipe } from '../base/recipe.ts';
import { Apertus } from '../model/apertus.ts';
import { modelConfig } from '../model/config.ts';
import { Optimizer } from '../optim/optimizer.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { Engine } from '../tensor/tensor.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { encodeChat } from '../tokenizer/chat-format.ts';
import { ASSISTANT_END, ASSISTANT_START, BOS } from '../tokenizer/special-tokens.ts';
import { tokenizerJson, writeTokenizerFiles } from '../tokenizer/tokenizer-files.ts';
import { trainBpe } from '../tokenizer/train.ts';
import { Stepper } from '../train/step.ts';
import { type Conversation, conversationsOf, defaultSystemText, systemTextShare } from './conversations.ts';
import { conversationsName, makeConversations } from './conversations-stage.ts';
import { packedRows, packRows } from './packed-rows.ts';
import { encodeToFit, sftData } from './sft.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-posttrain-'));
after(() => rmSync(scratch, { recursive: true }));

const vocabulary = await trainBpe(
  ['Which language is this? Give article of the Universal Declaration of Human Rights in French.'],
  380,
  silentLog,
);
const tokenizer = new Tokenizer(tokenizerJson(vocabulary), 'test tokenizer');

/** A declaration of `articles` articles that say their own number. */
function declaration(id: string, language: string, articles: number): Document {
  let text = '';
  const sections = [];
  for (let n = 1; n <= articles; n++) {
    const start = text.length;
    text += `Article ${n}. Everyone has the right number ${n} of ${id}.`;
    sections.push({ label: `article-${n}`, start, end: text.length });
    text += '\n';
  }
  return { id, text, language, source: 'test', licence: 'CC0-1.0', sections };
}
const rules = { seed: 1, languageQuestionShare: 0.7 };

test('golden/posttrain.json: the shifted loss on completions', () => {
  interface SftCase {
    prompt_loss_weight: number;
    sequence_level_loss: boolean;
    logits: number[][][];
    [key: string]: unknown;
  }
  const cases = goldenJson<{ sft_losses: SftCase[] }>('posttrain.json').sft_losses.filter(
    (c) => !c.sequence_level_loss,
  );
  assert.ok(cases.length > 0);
  for (const c of cases) {
    const T = (c.logits[0] as number[][]).length - 1;
    const rows = c['labels'] as number[][];
    const prompt = c['prompt_mask'] as number[][];
    const completion = c['completion_mask'] as number[][];
    let sum = 0;
    let weight = 0;
    for (const [b, ids] of rows.entries()) {
      const lossMask = ids.map((_, t) => {
        return c.prompt_loss_weight * (prompt[b]?.[t] as number) + (completion[b]?.[t] as number);
      });
      const part = packedRows({ sequences: [{ ids, lossMask }], sequenceLength: T, seed: 1 }).rows(0, 1);
      for (let t = 0; t < T; t++) {
        const logits = c.logits[b]?.[t] as number[];
        const normaliser = Math.log(logits.reduce((total, x) => total + Math.exp(x), 0));
        const w = part.lossMask[t] as number;
        sum += w * (normaliser - (logits[part.labels[t] as number] as number));
        weight += w;
      }
    }
    const expected = c['expected_loss'] as { no_count: number };
    assert.ok(Math.abs(sum / weight - expected.no_count) < 1e-6, `${sum / weight}, expected ${expected.no_count}`);
  }
});

test('conversations come from the sections, by the seed, in the shares asked for', () => {
  const document = declaration('fra-1', 'fra', 200);
  const made = conversationsOf(document, tokenizer, rules);
  assert.equal(made.length, 400);
  assert.deepEqual(made, conversationsOf(document, tokenizer, rules));
  assert.notDeepEqual(made, conversationsOf(document, tokenizer, { ...rules, seed: 2 }));
  const share = made.filter(({ kind }) => kind === 'language').length / made.length;
  assert.ok(Math.abs(share - 0.7) < 0.1, `${share} ask for the language`);
  const dated = made.filter(({ messages }) => messages[0]?.role === 'system').length / made.length;
  assert.ok(Math.abs(dated - systemTextShare) < 0.1, `${dated} have a system text`);
  for (const { kind, section, messages } of made) {
    const [question, answer] = messages.slice(-2).map(({ content }) => content as string);
    if (kind === 'language') assert.equal(answer, 'French.');
    else {
      const number = section.slice('article-'.length);
      assert.match(question ?? '', new RegExp(`[Aa]rticle ${number} .*French`));
      assert.match(answer ?? '', new RegExp(`^Article ${number}\\.`));
    }
  }
});

test('languages without a name and replaced personal data are left out', () => {
  assert.deepEqual(conversationsOf(declaration('x', 'und', 3), tokenizer, rules), []);
  const document = declaration('fra-1', 'fra', 1);
  const text = `${document.text.trim()} <email-pii>`;
  const marked = { ...document, text, sections: [{ label: 'article-1', start: 0, end: text.length }] };
  assert.deepEqual(conversationsOf(marked, tokenizer, rules), []);
});

test('an answer that is too long is cut and left open; a question that is too long is left out', () => {
  const messages = [
    { role: 'user', content: 'Which language is this?' },
    { role: 'assistant', content: 'French '.repeat(60) },
  ] as const;
  const whole = encodeToFit(tokenizer, { messages }, 1000);
  assert.equal(whole?.ids.at(-1), ASSISTANT_END);
  const cut = encodeToFit(tokenizer, { messages }, (whole?.ids.length ?? 0) - 20);
  assert.equal(cut?.ids.length, (whole?.ids.length ?? 0) - 20);
  assert.ok(!cut?.ids.includes(ASSISTANT_END));
  assert.equal(encodeToFit(tokenizer, { messages }, 30), undefined);
});

test('the system text of conversations is the one the chat template writes, token by token', () => {
  const date = '2026-01-02';
  const messages = [
    { role: 'user', content: 'Which language is this?' },
    { role: 'assistant', content: 'French.' },
  ] as const;
  const system = { role: 'system', content: defaultSystemText(date) } as const;
  const taught = encodeToFit(tokenizer, { messages: [system, ...messages] }, 1000)?.ids ?? [];
  assert.match(tokenizer.decode(taught), /2026-01-02/);
  // The inference template leaves the last turn open.
  assert.deepEqual(taught, [...encodeChat(tokenizer, messages, { date }), ASSISTANT_END]);
});

test('rows hold every sequence once, fit, and are well filled', () => {
  const lengths = Array.from({ length: 500 }, (_, i) => 5 + ((i * 37) % 60));
  const rows = packRows(lengths, 128, 3);
  assert.deepEqual(
    rows.flat().sort((a, b) => a - b),
    lengths.map((_, i) => i),
  );
  const filled = rows.map((row) => row.reduce((sum, i) => sum + (lengths[i] as number), 0));
  assert.ok(filled.every((count) => count <= 128));
  assert.ok(filled.reduce((sum, count) => sum + count, 0) / (rows.length * 128) > 0.9);
});

test('a row depends on the seed and its number alone; conversations do not see each other', () => {
  const sequences = Array.from({ length: 40 }, (_, i) => {
    const n = 4 + (i % 9);
    const ids = Array.from({ length: n }, (_, t) => 100 + i + t);
    return { ids, lossMask: ids.map((_, t) => (t >= n / 2 ? 1 : 0)) };
  });
  const options = { sequences, sequenceLength: 24, seed: 5 };
  const data = packedRows(options);
  const late = data.rows(150, 3);
  data.rows(0, 3);
  assert.deepEqual(data.rows(150, 3), late);
  assert.deepEqual(packedRows(options).rows(150, 3), late);

  const seen = new Map<number, number>();
  for (let step = 0; step * 3 < data.rowsPerEpoch; step++) {
    const { batch, labels, lossMask } = data.rows(step * 3, 3);
    for (let n = 0; n < batch.tokens.length; n++) {
      const lo = batch.lo[n] as number;
      assert.equal(batch.hi[n], n + 1);
      assert.equal(batch.positions[n], n - lo);
      if (batch.tokens[n] === 3) {
        assert.equal(lossMask[n], 0);
        assert.equal(lo, n);
        continue;
      }
      // Ids count up inside a sequence: what is attended to, and the label, belong to the same one.
      assert.equal(batch.tokens[n], (batch.tokens[lo] as number) + n - lo);
      assert.equal(labels[n], (batch.tokens[n] as number) + 1);
      if (n === lo && step * 3 + 3 <= data.rowsPerEpoch) seen.set(batch.tokens[n] as number, 1);
    }
  }
  assert.ok(seen.size > 30);
});

test('the stage writes conversations and a tiny model learns from them', async () => {
  const documentsDir = join(scratch, 'documents');
  const tokenizerDir = join(scratch, 'tokenizer');
  mkdirSync(documentsDir);
  mkdirSync(tokenizerDir);
  const writer = new JsonlWriter(join(documentsDir, 'train.jsonl.gz'));
  for (const [id, language] of [
    ['a', 'fra'],
    ['b', 'kab'],
  ] as const) {
    await writer.write(declaration(id, language, 6));
  }
  await writer.close();
  writeTokenizerFiles(tokenizerDir, vocabulary);
  for (const dir of [documentsDir, tokenizerDir]) {
    writeManifest(dir, { kind: 'test', version: 1, recipe: {}, inputs: {}, facts: {} });
  }
  const recipe = parseRecipe(
    {
      name: 'test',
      model: { layers: 1, hidden: 16, intermediate: 32, heads: 2, kvHeads: 1, headDim: 8, vocabularySize: 380 },
      sft: { steps: 4, peakLearningRate: 0.01 },
    },
    'test',
  );
  const dir = join(scratch, 'conversations');
  const options = { dir, documentsDir, tokenizerDir, recipe, log: silentLog };
  const { manifest } = await makeConversations(options);
  assert.equal(manifest.facts['conversations'], 24);
  assert.equal(manifest.facts['languages'], 2);
  assert.equal((await makeConversations(options)).skipped, true);
  const lines: Conversation[] = [];
  for await (const line of readJsonl<Conversation>(join(dir, conversationsName))) lines.push(line);
  assert.equal(new Set(lines.map(({ id }) => id)).size, 24);

  const data = await sftData({ dir, tokenizer, sequenceLength: 256, seed: 1 });
  assert.equal(data.conversations + data.leftOut, 24);
  const part = data.rows(0, 2);
  for (let n = 0; n < part.labels.length; n++) {
    // Learning begins after <|assistant_start|>, and never from <s> or the prompt.
    if (part.batch.tokens[n] === ASSISTANT_START) assert.equal(part.lossMask[n], 1);
    if (part.batch.tokens[n] === BOS || part.labels[n] === ASSISTANT_START) assert.equal(part.lossMask[n], 0);
  }
  const model = new Apertus(new Engine(jsBackend()), modelConfig(recipe.model));
  model.initialise(1);
  const optimizer = new Optimizer(
    model.parameters,
    { name: 'adamw', beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0 },
    10,
  );
  const stepper = new Stepper(model, optimizer, 1);
  const losses: number[] = [];
  for (let step = 0; step < 4; step++) {
    const gradients = await stepper.gradients(data, { first: 0, batchSize: 2, microBatchSize: null });
    stepper.update(gradients, 0.02, 1);
    losses.push(gradients.loss);
  }
  assert.ok((losses.at(-1) as number) < (losses[0] as number) - 0.3, losses.join(' '));
});
