// Training: the same merges in native code and in TypeScript, whatever the threads and the memory; bounds; parity.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Tokenizer as Reference } from 'tokenizers';
import { UserError } from '../base/errors.ts';
import { nativeLibrary } from '../base/native.ts';
import { silentLog } from '../base/progress.ts';
import { Random } from '../base/rng.ts';
import { packageRoot } from '../base/version.ts';
import { udhrArticles } from '../data/sources/udhr-articles.ts';
import { Tokenizer } from './bpe.ts';
import { bytesToAlphabet } from './byte-level.ts';
import { TokenizerMeter, unitsOf } from './metrics.ts';
import { reservedTokens } from './special-tokens.ts';
import { tokenizerJson } from './tokenizer-files.ts';
import { type TrainedVocabulary, trainBpe, type TrainingText, type TrainBpeOptions } from './train.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-train-'));
after(() => rmSync(dir, { recursive: true }));
const library = nativeLibrary();
const native = 'module' in library ? library.module : undefined;
const noNative = native === undefined && 'there is no native library';

const articles = await udhrArticles();
const languages = ['deu', 'eng', 'roh', 'rus', 'cmn', 'tha', 'tam', 'amh'];
const chosen = languages.map((language) => articles.find((one) => one.language === language) ?? assert.fail(language));
const lines: TrainingText[] = chosen.flatMap(({ language, articles: texts }) =>
  texts.map((text) => ({ language, text: `${text}\n` })),
);

/** Text of letters, marks, spaces, signs, halves of pairs and reserved strings. */
function noise(random: Random, length: number): string {
  const kinds = [
    () => random.pick([...'aabbcc  AB\n\t.,/é́漢字ไ١']),
    () => random.pick(['\ud800', '\udc00', '😀', '𝐀', '\\begin{', '<email-pii>', '<', '\\', '\u0085', '\ufeff', '\0']),
    () => String.fromCodePoint(random.integer(0x3000)),
    () => random.pick(['aaaaaaa', 'abab', 'the ', 'Straße']),
  ];
  let text = '';
  for (let i = 0; i < length; i++) text += random.pick(kinds)();
  return text;
}

const train = (texts: readonly (TrainingText | string)[], size: number, options: TrainBpeOptions = {}) =>
  trainBpe(texts, size, silentLog, options);
const same = (a: TrainedVocabulary, b: TrainedVocabulary, what: string): void => {
  assert.deepEqual(a.merges, b.merges, what);
  assert.deepEqual(a.words, b.words, what);
  assert.deepEqual(a.tokens.map(String), b.tokens.map(String), what);
};

test('native code and TypeScript learn the same, with any number of threads', { skip: noNative }, async () => {
  for (const [name, texts, size] of [
    ['articles', lines, 3000],
    ['one letter', ['a'.repeat(1000), 'a'.repeat(7)], 336],
    ['noise', Array.from({ length: 200 }, (_, i) => noise(new Random(i, 'noise'), 60)), 1500],
    ['nothing', ['', ''], 329],
    // Characters beyond 16 bits alone, after white space: half of one is no character to look up.
    ['emoji', ['\n 😀  😀😀\n'.repeat(3)], 332],
  ] as const) {
    const oracle = await train(texts, size, { native: false });
    for (const threads of [1, 2, 5]) {
      same(await train(texts, size, { native: true, threads }), oracle, `${name}, ${threads} threads`);
    }
  }
});

test('counts that outgrow memory are put aside; words that do not fit go by their count', {
  skip: noNative,
}, async () => {
  const texts = Array.from({ length: 300 }, (_, i) => noise(new Random(i, 'more noise'), 200));
  // Batches go to threads by their length: enough text for several.
  const many = Array.from({ length: 8 }, () => texts).flat();
  for (const memoryBytes of [1 << 20, 0]) {
    const oracle = await train(many, 329, { native: false, memoryBytes });
    assert.ok(oracle.words.leftOut > 0 && oracle.words.least > 1 === memoryBytes > 0, `${memoryBytes} bytes`);
    for (const threads of [1, 3]) {
      const options = { native: true, threads, memoryBytes, temporaryDir: dir };
      same(await train(many, 329, options), oracle, `${memoryBytes} bytes, ${threads} threads`);
    }
  }
  const merged = { memoryBytes: 1 << 20, temporaryDir: dir };
  same(
    await train(many, 800, { ...merged, native: true }),
    await train(many, 800, { ...merged, native: false }),
    'merges',
  );
  assert.deepEqual(readdirSync(dir), []);
  await assert.rejects(train(many, 800, { ...merged, temporaryDir: join(dir, 'nowhere') }), UserError);
});

/** Merges of the reference with our pre-tokenizer, spelled, in order. */
function referenceMerges(text: string): [string, string][] {
  const file = join(dir, 'text');
  writeFileSync(file, text);
  const json = tokenizerJson({ tokens: [], merges: [] }) as { model: Record<string, unknown> };
  Object.assign(json, { added_tokens: [], post_processor: null });
  Object.assign(json.model, { vocab: {}, merges: [], ignore_merges: false });
  const trained = Reference.fromString(JSON.stringify(json));
  trained.train([file]);
  trained.save(join(dir, 'trained.json'));
  const { model } = JSON.parse(readFileSync(join(dir, 'trained.json'), 'utf8')) as {
    model: { merges: [string, string][] };
  };
  rmSync(file);
  rmSync(join(dir, 'trained.json'));
  return model.merges;
}

test('the merges of the reference trainer, on corpora of several kinds', async () => {
  const words = (seed: number): string => {
    const random = new Random(seed, 'words');
    const syllables = ['ka', 'lo', 'mi', 'ne', 'ru', 'ß', '漢', 'ไท', ' ', ' ', '\n', '. ', '12'];
    return Array.from({ length: 20_000 }, () => random.pick(syllables)).join('');
  };
  for (const [name, text] of [
    ['thirty articles in eight languages', lines.map((line) => line.text).join('')],
    ['syllables', words(1)],
    ['other syllables', words(2)],
    ['code', readFileSync(join(packageRoot, 'src/tokenizer/train.ts'), 'utf8')],
    ['runs of a letter', 'aaaa aaa aa aaaaaaa '.repeat(50)],
  ] as const) {
    const expected = referenceMerges(text);
    // The reference cuts its files into lines, so ends of lines stay with theirs.
    const pieces = text.split(/(?<=\n)/);
    // Every smaller vocabulary is a beginning of the largest.
    const probe = await trainToTheEnd(pieces);
    const spelled = probe.merges.map((pair) => pair.map((id) => bytesToAlphabet(probe.tokens[id] as Uint8Array)));
    assert.ok(spelled.length > 3, name);
    assert.deepEqual(spelled, expected.slice(0, spelled.length), name);
    const size = reservedTokens.length + 256 + Math.floor(spelled.length / 2);
    assert.deepEqual((await train(pieces, size)).tokens.length, size);
  }
});

/** Trains to the largest vocabulary that the texts allow, at most 6000. */
async function trainToTheEnd(texts: readonly string[]): Promise<TrainedVocabulary> {
  try {
    return await train(texts, 6000);
  } catch (error) {
    assert.ok(error instanceof UserError);
    return await train(texts, Number(/(\d+) tokens/.exec(error.found ?? '')?.[1]));
  }
}

test('tokens that text matches whole are cut out before words are counted', async () => {
  for (const native of [false, ...(noNative ? [] : [true])]) {
    const { tokens } = await train(['x<email-pii>y \\begin{x} '.repeat(50)], 330, { native });
    const spelled = tokens.slice(329).map((bytes) => Buffer.from(bytes).toString());
    assert.ok(!spelled.some((token) => token.includes('pii') || token.includes('begin')), spelled.join());
  }
});

/** Gini coefficient and greatest tokens per line over the languages of held-out articles. */
function costs(vocabulary: TrainedVocabulary): { readonly gini: number; readonly most: number } {
  const tokenizer = new Tokenizer(tokenizerJson(vocabulary), 'trained');
  const meter = new TokenizerMeter(tokenizer.vocabularySize);
  for (const { language, articles: texts } of chosen) {
    for (const text of texts.slice(20)) meter.add(language, tokenizer.encodeOrdinary(text), unitsOf(text));
  }
  const { gini, perLanguage } = meter.metrics().cost.lines;
  return { gini, most: Math.max(...Object.values(perLanguage)) };
}

test('parity lines make the languages pay alike', async () => {
  const seen = chosen.flatMap(({ language, articles: texts }) =>
    texts.slice(0, 20).map((text) => ({ language, text })),
  );
  // Four times as much English as anything else: what a corpus of the web looks like.
  const texts = [...seen, ...Array.from({ length: 3 }, () => seen.filter(({ language }) => language === 'eng')).flat()];
  const plain = costs(await train(texts, 1200));
  const parity = await train(texts, 1200, { parity: seen });
  const fair = costs(parity);
  assert.ok(fair.gini < 0.8 * plain.gini, `Gini ${plain.gini} without, ${fair.gini} with parity lines`);
  assert.ok(fair.most < plain.most, `dearest language ${plain.most} without, ${fair.most} with parity lines`);
  if (!noNative) {
    for (const threads of [1, 3]) {
      same(
        await train(texts, 1200, { parity: seen, native: true, threads }),
        await train(texts, 1200, { parity: seen, native: false }),
        'parity',
      );
    }
  }
  await assert.rejects(train(texts, 1200, { parity: [] }), /parity lines compare languages/);
  await assert.rejects(train(texts, 1200, { parity: seen.filter(({ language }) => language === 'deu') }), /deu alone/);
  // All languages are exhausted long before.
  await assert.rejects(
    train(
      [
        { text: 'ab ab', language: 'a' },
        { text: 'cd', language: 'b' },
      ],
      400,
      {
        parity: [
          { text: 'ab', language: 'a' },
          { text: 'cd', language: 'b' },
        ],
      },
    ),
    /too few/,
  );
});

test('native functions refuse what they cannot take', { skip: noNative }, () => {
  assert.ok(native);
  const ids = Int32Array.from({ length: 256 }, (_, i) => i);
  const none = new Float64Array(0);
  const classes = new Uint8Array(0x110000).fill(3);
  assert.throws(() => native.bpeOpen(0, 1, dir, '', classes), /threads/);
  assert.throws(() => native.bpeOpen(1, 1, dir, 'é\0', classes), /whole/);
  assert.throws(() => native.bpeOpen(1, 1, dir, '', classes.subarray(1)), /classes/);
  assert.throws(() => native.bpeOpen(1, 1, dir, '', new Uint8Array(0x110000).fill(8)), /classes/);
  assert.throws(() => native.bpeAdd(1e9, 'a', 0), /an open training/);
  const training = native.bpeOpen(2, 1 << 20, dir, '', classes);
  assert.throws(() => native.bpeAdd(training, 3 as unknown as string, 0), /text/);
  assert.throws(() => native.bpeLearn(training, ids, 256, none, new Int32Array(3)), /whose words are counted/);
  native.bpeAdd(training, 'abab', 5);
  assert.deepEqual(native.bpeCounted(training), { words: 1, leftOut: 0, least: 1 });
  assert.throws(() => native.bpeAdd(training, 'a', 0), /one that counts/);
  assert.throws(() => native.bpeLearn(training, ids.subarray(1), 256, none, new Int32Array(3)), /idOfByte/);
  assert.throws(() => native.bpeLearn(training, ids, 255, none, new Int32Array(3)), /idOfByte/);
  assert.throws(() => native.bpeLearn(training, ids, 256, Float64Array.of(1, 1), new Int32Array(3)), /units/);
  const out = new Int32Array(9);
  assert.equal(native.bpeLearn(training, ids, 256, none, out), 2);
  assert.deepEqual([...out.subarray(0, 6)], [97, 98, 256, 256, 256, 257]);
  native.bpeClose(training);
  assert.throws(() => native.bpeClose(training), /an open training/);
});
