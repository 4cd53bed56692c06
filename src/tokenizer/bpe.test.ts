import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { silentLog } from '../base/progress.ts';
import { Random } from '../base/rng.ts';
import { StreamDecoder, Tokenizer } from './bpe.ts';
import { mergeLong, mergePiece } from './merge.ts';
import { PairTable } from './pair-table.ts';
import { ASSISTANT_END, BOS, EOS, PAD, reservedContent, reservedTokens, TOOLS_SUFFIX } from './special-tokens.ts';
import { tokenizerJson, writeTokenizerFiles } from './tokenizer-files.ts';
import { trainBpe } from './train.ts';

const corpus = [
  'Die Würde des Menschen. aaaa aaaaaaaa Grüezi 漢字 漢字 hello hello\n',
  'Würde und Grüezi, hello hallo aaaa',
];
const vocabulary = await trainBpe(corpus, 360, silentLog);
const tokenizer = new Tokenizer(tokenizerJson(vocabulary), 'test');
const dir = mkdtempSync(join(tmpdir(), 'belay-bpe-'));
after(() => rmSync(dir, { recursive: true }));

test('reserved ids are those of Apertus', () => {
  assert.equal(reservedTokens.length, 73);
  assert.equal(new Set(reservedTokens.map(({ content }) => content)).size, 73);
  const expected: [number, string][] = [
    [0, '<unk>'],
    [BOS, '<s>'],
    [EOS, '</s>'],
    [PAD, '<pad>'],
    [13, '<SPECIAL_13>'],
    [14, '\\begin{'],
    [17, '\\boxed{'],
    [18, '<filename>'],
    [31, '<reponame>'],
    [32, '<think>'],
    [35, '</answer>'],
    [36, '<iban-pii>'],
    [38, '<ip-pii>'],
    [41, '<intermediate_to_code>'],
    [42, '<pr>'],
    [57, '<pr_diff_hunk_comment_line>'],
    [60, '<fim_end>'],
    [61, '<|system_start|>'],
    [ASSISTANT_END, '<|assistant_end|>'],
    [TOOLS_SUFFIX, '<|tools_suffix|>'],
  ];
  for (const [id, content] of expected) assert.equal(reservedContent(id), content);
  assert.deepEqual(
    reservedTokens.filter(({ special }) => !special).map(({ id }) => id),
    [14, 15, 16, 17],
  );
});

test('ordinary text never becomes a control token, and comes back unchanged', () => {
  const text = reservedTokens.map(({ content }) => content).join('x');
  const ids = tokenizer.encodeOrdinary(text);
  assert.ok(ids.every((id) => !tokenizer.isSpecial(id)));
  assert.deepEqual(
    ids.filter((id) => id < 73),
    [14, 15, 16, 17],
  );
  assert.equal(tokenizer.decode(ids), text);
  assert.deepEqual(tokenizer.encode(text), ids);
  for (const { id, content } of reservedTokens) {
    assert.deepEqual(tokenizer.encode(content, { allowSpecial: true, bos: true }), [BOS, id]);
    if (id !== BOS) assert.ok(!tokenizer.encode(`${content}<s>`, { allowSpecial: [content] }).includes(BOS));
  }
});

test('decoding can leave control tokens out', () => {
  const ids = tokenizer.encode('<s>hello</s>', { allowSpecial: true });
  assert.equal(tokenizer.decode(ids), '<s>hello</s>');
  assert.equal(tokenizer.decode(ids, { skipSpecial: true }), 'hello');
  assert.throws(() => tokenizer.decode([360]), /id 360/);
});

test('streamed text is whole characters and equals the text', () => {
  const text = 'Grüezi 漢字 👩‍💻 \ufeffend';
  const decoder = new StreamDecoder(tokenizer);
  let streamed = '';
  for (const id of tokenizer.encode(text)) {
    const piece = decoder.push(id);
    assert.ok(!piece.includes('\ufffd'));
    streamed += piece;
  }
  assert.equal(streamed + decoder.end(), text);
  const broken = new StreamDecoder(tokenizer);
  const [firstByte] = tokenizer.encode('\u{10fff0}');
  assert.equal(broken.push(firstByte as number) + broken.end(), '\ufffd');
});

test('both ways of merging give the same ids', () => {
  const ranks = new PairTable();
  const made: number[] = [];
  const random = new Random(1, 'merge');
  for (let rank = 0; rank < 40; rank++) {
    // Over few symbols, so that merges overlap and nest.
    const left = random.integer(4 + rank);
    const right = random.integer(4 + rank);
    if (ranks.get(left, right) < 0) ranks.set(left, right, rank);
    made.push(4 + rank);
  }
  const rules = { ranks, made: Int32Array.from(made) };
  for (let i = 0; i < 2000; i++) {
    const ids = Int32Array.from({ length: 1 + random.integer(64) }, () => random.integer(4));
    assert.deepEqual(mergeLong(ids, rules), mergePiece(ids, rules));
  }
});

test('a megabyte of one character stays quick', () => {
  for (const character of ['a', ' ', '!']) {
    const start = performance.now();
    const text = character.repeat(1 << 20);
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
    assert.ok(performance.now() - start < 10_000);
  }
});

test('a pair table keeps what it was told', () => {
  const table = new PairTable(1);
  const random = new Random(2, 'pairs');
  const expected = new Map<string, number>();
  for (let i = 0; i < 20_000; i++) {
    const left = random.integer(200_000);
    const right = random.integer(200_000);
    table.set(left, right, i);
    expected.set(`${left} ${right}`, i);
  }
  assert.equal(table.size, expected.size);
  for (const [pair, value] of expected) {
    const [left, right] = pair.split(' ').map(Number) as [number, number];
    assert.equal(table.get(left, right), value);
    assert.equal(table.get(right + 200_000, left), -1);
  }
});

test('training depends on the texts alone, and not on their order', async () => {
  assert.deepEqual(await trainBpe([...corpus].reverse(), 360, silentLog), vocabulary);
  assert.equal(vocabulary.tokens.length, 360);
  assert.equal(tokenizer.vocabularySize, 360);
});

test('markers and LaTeX openers are not learnt as pieces', async () => {
  const plain = await trainBpe(corpus, 360, silentLog);
  const marked = corpus.map((text) => `<email-pii>${text}\\begin{<ip-pii><ip-pii>`);
  assert.deepEqual(await trainBpe(marked, 360, silentLog), plain);
});

test('too few documents and too small vocabularies are refused', async () => {
  await assert.rejects(trainBpe(['ab'], 400, silentLog), (error: unknown) => {
    assert.ok(error instanceof UserError);
    assert.match(error.message, /too few[\s\S]*330 tokens/);
    return true;
  });
  await assert.rejects(trainBpe(['ab'], 328, silentLog), /at least 329/);
});

test('files load from a folder and from the file', () => {
  writeTokenizerFiles(dir, vocabulary);
  const expected = tokenizer.encode('Würde hello', { bos: true });
  assert.deepEqual(Tokenizer.load(dir).encode('Würde hello', { bos: true }), expected);
  assert.deepEqual(Tokenizer.load(join(dir, 'tokenizer.json')).encode('Würde hello', { bos: true }), expected);
  assert.throws(() => Tokenizer.load(join(dir, 'none')), UserError);
});

test('a tokenizer of another kind is refused', () => {
  const content = tokenizerJson(vocabulary) as { model: object };
  const refuse = (change: object, message: RegExp): void => {
    assert.throws(
      () => new Tokenizer({ ...content, ...change }, 'odd.json'),
      (error: unknown) => error instanceof UserError && message.test(error.message),
    );
  };
  refuse({ normalizer: { type: 'Nmt' } }, /normalizer/);
  refuse({ pre_tokenizer: { type: 'Metaspace' } }, /Metaspace/);
  refuse({ model: { ...content.model, type: 'Unigram' } }, /odd\.json[\s\S]*model/);
  refuse({ model: { ...content.model, merges: [['q', 'zz']] } }, /merge 0/);
});
