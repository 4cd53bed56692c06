import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { Tokenizer as Reference } from 'tokenizers';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import { declarations } from '../../test/golden-scripts/encoder-texts.ts';
import { UnigramTokenizer } from './unigram.ts';

const json = gunzipSync(readFileSync(goldenPath('embedder', 'tokenizer.json.gz'))).toString('utf8');
type Content = {
  [key: string]: unknown;
  model: { vocab: [string, number][]; [key: string]: unknown };
  pre_tokenizer: object;
  normalizer: object | null;
};
const content = JSON.parse(json) as Content;
const ours = new UnigramTokenizer(content, 'golden');
const reference = Reference.fromString(json);

async function same(text: string, mine = ours, other = reference): Promise<void> {
  const { getIds } = await other.encode(text).then((encoding) => ({ getIds: encoding.getIds() }));
  assert.deepEqual([...mine.before, ...mine.encode(text), ...mine.behind], getIds, JSON.stringify(text));
}

test('texts in twenty languages are split as the reference splits them', async () => {
  for (const text of declarations()) await same(text);
});

const awkward = [
  'a',
  'm',
  ' ',
  '  ',
  '\n',
  '\r\n',
  '\t',
  '\u0085',
  '\u00a0',
  '\u2003',
  '\u3000',
  '\ufeff',
  '\u200b',
  '\u200d',
  '\u00ad',
  '▁',
  'e\u0301',
  '\u0301',
  'Ａ\u0301',
  'ﬁ',
  'ﷺ',
  '½',
  '①',
  'が',
  'か\u3099',
  'ｶﾞ',
  '한',
  '\u1112\u1161\u11ab',
  'नि',
  'क्षि',
  '\u0e33',
  '\u{1f600}',
  '\u{1f469}\u200d\u{1f469}\u200d\u{1f467}',
  '\u{1f1e8}\u{1f1ed}',
  '\u{1f1e8}',
  '𝒳',
  '人',
  'Menschen',
  'human',
  '<s>',
  '</s>',
  ' <mask>',
  '<mask> ',
  '<unk>',
  '\u0000',
  '\u0007',
  '\u007f',
];

test('any text of awkward characters is split as the reference splits it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...awkward), { maxLength: 12 }), (parts) => same(parts.join(''))),
    { numRuns: 3000 },
  );
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'grapheme', maxLength: 30 }), (text) => same(text)),
    { numRuns: 1000 },
  );
});

test('each character of the basic plane is normalised as the reference does, alone and with a mark', async () => {
  for (let from = 1; from < 0x10000; from += 64) {
    let text = '';
    for (let unit = from; unit < from + 64; unit++) {
      if (unit >= 0xd800 && unit < 0xe000) continue;
      const character = String.fromCharCode(unit);
      text += `x${character}y ${character}\u0301 `;
    }
    await same(text);
  }
});

test('ties, unknown characters and other layouts of the file are those of the reference', async () => {
  const tied: [string, number][] = [
    ['<unk>', 0],
    ['▁', -2],
    ['a', -1],
    ['b', -1],
    ['ab', -2],
    ['▁a', -3],
    ['ba', -2],
    ['aba', -3],
    ['ééé', -1],
    ['ab', -2.5],
    ['日本', -4],
    ['A', -3],
    ['B', -3],
  ];
  const pre = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true };
  // Ids of added tokens that the vocabulary has are those there.
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const added = (id: number, content: string, more: object = {}): object => ({ id, content, ...flags, ...more });
  const layouts: Partial<Content>[] = [
    { pre_tokenizer: pre },
    { pre_tokenizer: { ...pre, prepend_scheme: 'never' } },
    {
      pre_tokenizer: pre,
      normalizer: {
        type: 'Sequence',
        normalizers: [
          content.normalizer as object,
          { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' },
          { type: 'NFKC' },
        ],
      },
    },
    { normalizer: null },
    { normalizer: { type: 'Replace', pattern: { String: 'aa' }, content: '$&b' } },
    { normalizer: { type: 'Lowercase' } },
    {
      pre_tokenizer: pre,
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'Strip', strip_left: false, strip_right: true },
          { type: 'Replace', pattern: { Regex: ' {2,}' }, content: '▁' },
        ],
      },
    },
    { normalizer: { type: 'Strip', strip_left: true, strip_right: true } },
    {
      added_tokens: [
        added(9, 'ab'),
        added(7, 'aba'),
        added(11, 'A', { lstrip: true }),
        added(12, 'B', { rstrip: true }),
      ],
    },
    {
      normalizer: { type: 'Lowercase' },
      added_tokens: [
        added(13, 'AB', { normalized: true, lstrip: true, rstrip: true }),
        added(14, 'É', { normalized: true }),
        added(11, 'A', { lstrip: true }),
      ],
    },
  ];
  for (const layout of layouts) {
    const made = { ...content, added_tokens: [], ...layout, model: { ...content.model, vocab: tied, unk_id: 0 } };
    const mine = new UnigramTokenizer(made, 'made');
    const other = Reference.fromString(JSON.stringify(made));
    const unit = fc.constantFrom('a', 'b', 'é', '日', '本', ' ', '  ', '▁', 'A', 'B', '\n', '\u0085', 'ü', 'É');
    await fc.assert(
      fc.asyncProperty(fc.array(unit, { maxLength: 14 }), (parts) => same(parts.join(''), mine, other)),
      { numRuns: 300 },
    );
  }
});

test('long runs of white space before a special token cost no more than other text', () => {
  const started = performance.now();
  assert.deepEqual(ours.encode(`${' '.repeat(2e6)}x <mask>${' '.repeat(2e6)}</s>`).length, 4);
  assert.ok(performance.now() - started < 5000);
});

test('pieces hold as many ids as they may, and are those that sentencepiece made', () => {
  const { texts } = goldenJson<{
    readonly texts: readonly { text: string; chunks: readonly { length: number; ids: number[] | null }[] }[];
  }>('embedder', 'vectors.json');
  for (const { text, chunks } of texts) {
    const made = ours.chunks(text, 512);
    assert.deepEqual(
      made.map(({ length }) => length),
      chunks.map(({ length }) => length),
    );
    for (const [i, { ids }] of chunks.entries()) if (ids) assert.deepEqual([...(made[i] as Int32Array)], ids);
    assert.deepEqual(ours.chunks(text, 512, 1), made.slice(0, 1));
    assert.deepEqual(
      made.flatMap((chunk) => [...chunk.slice(1, -1)]),
      ours.encode(text),
    );
  }
  assert.deepEqual(ours.chunks('', 512), [Int32Array.of(0, 2)]);
});

test('a file of another kind is refused with what is wrong', () => {
  const refused = (changed: object, message: RegExp): void => {
    assert.throws(() => new UnigramTokenizer({ ...content, ...changed }, 'x.json'), message);
  };
  refused({ model: { ...content.model, type: 'BPE' } }, /x\.json is not a Unigram tokenizer/);
  refused({ model: { ...content.model, byte_fallback: true } }, /byte_fallback/);
  refused({ model: { ...content.model, unk_id: 5000 } }, /unk_id is not in the vocabulary/);
  refused({ normalizer: { type: 'Precompiled', precompiled_charsmap: '////' } }, /damaged precompiled_charsmap/);
  refused({ pre_tokenizer: { type: 'Whitespace' } }, /not a Unigram tokenizer/);
});
