import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { cutIntoShards, runCorpusStep, textDocument } from '../../../test/corpus-step.ts';
import { definition, joinedPlaces, substringDedup } from './substring-dedup.ts';
import { Sampler } from './substrings.ts';
import { dataKernels } from './xxhash.ts';

const defaults = definition.settings.parse({}) as Parameters<typeof substringDedup>[0];

/** Marks every unit of a window that stands earlier, by looking at all windows. */
function repeatedUnits(texts: readonly string[], length: number): boolean[][] {
  const first = new Map<string, { readonly text: number; readonly at: number }>();
  return texts.map((value, text) => {
    const marks = Array<boolean>(value.length).fill(false);
    for (let at = 0; at + length <= value.length; at++) {
      const window = value.slice(at, at + length);
      const earlier = first.get(window);
      if (!earlier) first.set(window, { text, at });
      else if (earlier.text !== text || at - earlier.at >= length) marks.fill(true, at, at + length);
    }
    return marks;
  });
}

/** What is left of a text when marked units go, except halves of characters. */
function withoutMarks(text: string, marks: readonly boolean[]): string {
  let out = '';
  for (let at = 0; at < text.length; ) {
    const size = String.fromCodePoint(text.codePointAt(at) as number).length;
    if (!marks.slice(at, at + size).every(Boolean)) out += text.slice(at, at + size);
    at += size;
  }
  return out;
}

const piece = fc.oneof(
  fc.constantFrom('a', 'b', 'ab', 'aaaaaaaaaaaaaaaaaaaa', 'abcabcabcabcabcabc', '😀', '😀😁', '\ud83d', ' '),
  fc.constantFrom('the quick brown fox jumps', ' over the lazy dog and then', 'ünïcödé tèxt'),
  fc.string({ minLength: 1, maxLength: 6 }),
);
const text = fc.array(piece, { maxLength: 12, size: 'max' }).map((pieces) => pieces.join(''));

test('cuts what a comparison of all windows finds, however the documents lie in shards and parts', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(text, { maxLength: 8 }),
      fc.array(fc.nat(), { maxLength: 4 }),
      fc.integer({ min: 1, max: 3 }),
      fc.oneof(fc.integer({ min: 2, max: 20 }), fc.integer({ min: 100, max: 160 })),
      async (texts, cuts, parts, characters) => {
        const marks = repeatedUnits(texts, characters);
        const left = texts.map((value, i) => withoutMarks(value, marks[i] as boolean[]));
        const documents = texts.map((value, i) => textDocument(value, `d${i}`));
        const step = substringDedup({ ...defaults, characters, parts, memory: 1 / 1024 });
        const { verdicts } = await runCorpusStep(step, cutIntoShards(documents, cuts));
        const answers = verdicts.map((verdict) => ('keep' in verdict ? verdict.keep.text : verdict.drop.reason));
        assert.deepEqual(
          answers,
          left.map((value, i) => (value === texts[i] || value.trim() !== '' ? value : 'nothing-left')),
        );
      },
    ),
    { numRuns: 300 },
  );
});

test('the default length: a paragraph of another document goes, sections move along, the count is noted', async () => {
  const words = (seed: number, count: number): string =>
    Array.from({ length: count }, (_, i) => ((i * 7919 + seed) % 6151).toString(36)).join(' ');
  const shared = words(5, 120);
  const own = words(9999, 100);
  const first = textDocument(`${words(1234, 50)}\n${shared}`, 'first');
  const text = `${own}\n${shared}\nend`;
  const sections = [
    { label: 'own', start: 0, end: own.length },
    { label: 'end', start: text.length - 3, end: text.length },
  ];
  const second = { ...textDocument(text, 'second'), sections };
  const { verdicts, judgements } = await runCorpusStep(substringDedup({ ...defaults, parts: 2 }), [[first], [second]]);
  const [kept, cut] = verdicts;
  assert.deepEqual(kept, { keep: first });
  // The line feed before the paragraph stands in both.
  assert.ok(cut && 'keep' in cut);
  assert.equal(cut.keep.text, `${own}\nend`);
  assert.deepEqual(
    cut.keep.sections?.map(({ start, end }) => cut.keep.text.slice(start, end)),
    [own, 'end'],
  );
  assert.deepEqual(cut.keep.notes, { 'substring-dedup': { characters: shared.length + 1, places: 1 } });
  assert.equal(judgements[0], '');

  const dropping = (share: number) => substringDedup({ ...defaults, mode: 'drop', share });
  const [, stays] = (await runCorpusStep(dropping(0.6), [[first, second]])).verdicts;
  assert.deepEqual(stays, { keep: second });
  const [, goes] = (await runCorpusStep(dropping(0.4), [[first, second]])).verdicts;
  assert.deepEqual(goes, { drop: { reason: 'repeated-substrings', detail: '0.54 of it' } });
});

test('a long text of one character is cut to its first window, in time', async () => {
  const step = substringDedup({ ...defaults, parts: 1 });
  const { verdicts } = await runCorpusStep(step, [[textDocument('a'.repeat(300_000), 'a')]]);
  assert.ok(verdicts[0] && 'keep' in verdicts[0]);
  assert.equal(verdicts[0].keep.text.length, 200);
});

test('the native kernel takes the samples of its TypeScript twin', () => {
  const kernels = dataKernels();
  assert.ok(kernels, 'the native library is part of the tests');
  fc.assert(
    fc.property(text, fc.integer({ min: 2, max: 40 }), (value, length) => {
      assert.deepEqual(new Sampler(length, kernels).sign(value), new Sampler(length, null).sign(value));
    }),
    { numRuns: 300 },
  );
  // More samples than its buffer has at first.
  const long = 'a'.repeat(10_000);
  assert.deepEqual(new Sampler(20, kernels).sign(long), new Sampler(20, null).sign(long));
  assert.throws(() => kernels.dataSamples(long, 0, 1, new Uint32Array(6)), /dataSamples: k/);
  assert.throws(() => kernels.dataSamples(long, 1, 0, new Uint32Array(6)), /dataSamples: neighbours/);
});

test('a text of one character is one place to look at, however many samples it has', () => {
  const length = 200;
  const open = Array.from({ length: 1000 }, (_, at) => Uint32Array.of(0, 0, 1, at, at + 299));
  const apart = Uint32Array.of(0, 0, 1, 1299, 1600);
  const other = Uint32Array.of(0, 1, 1, 0, 300);
  const rows: number[][] = [];
  for (const row of joinedPlaces([...open, apart, other], length)) rows.push([...row]);
  assert.deepEqual(rows, [[0, 0, 1, 0, 1298], [...apart], [...other]]);
});
