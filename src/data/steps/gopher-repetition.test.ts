import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { gopherRepetition, settings } from './gopher-repetition.ts';

/** Share of characters in n-grams that were there before, as the rule says it: joined without spaces, none overlapping. */
function duplicateShare(words: readonly string[], n: number, length: number): number {
  const seen = new Set<string>();
  let characters = 0;
  for (let i = 0; i + n <= words.length; ) {
    const gram = words.slice(i, i + n).join('');
    if (seen.has(gram)) {
      characters += gram.length;
      i += n;
    } else {
      seen.add(gram);
      i++;
    }
  }
  return characters / length;
}

function topShare(words: readonly string[], n: number, length: number): number {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= words.length; i++) {
    const gram = words.slice(i, i + n).join(' ');
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  let top = ['', 0] as [string, number];
  for (const entry of counts) if (entry[1] > top[1]) top = entry;
  return (top[0].length * top[1]) / length;
}

const off = {
  maxDuplicateLines: null,
  maxDuplicateParagraphs: null,
  maxDuplicateLineCharacters: null,
  maxDuplicateParagraphCharacters: null,
  maxTopNgram: {},
  maxDuplicateNgrams: {},
};

// Few short words, so that n-grams repeat and are the same letters with other joints.
const word = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 4 });
const text = fc.array(word, { minLength: 1, maxLength: 120 });

test('n-grams that repeat are those of the plain rule', () => {
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 10 }), fc.boolean(), (words, n, hasMore) => {
      const all = hasMore ? [...words, ...Array.from({ length: 40 }, (_, i) => `only${i}`), ...words] : words;
      const joined = all.join(' ');
      const share = duplicateShare(all, n, joined.length);
      const judge = (limit: number): string | undefined =>
        gopherRepetition(joined, settings.parse({ ...off, maxDuplicateNgrams: { [n]: limit } }));
      assert.equal(judge(share), undefined);
      if (share > 0) assert.equal(judge(share - 1e-9), `duplicate-${n}-grams`);
    }),
    { numRuns: 500 },
  );
});

test('the most frequent n-gram is that of the plain rule, whatever is counted before it', () => {
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 6 }), (words, n) => {
      const joined = words.join(' ');
      const share = topShare(words, n, joined.length);
      const judge = (limit: number): string | undefined =>
        gopherRepetition(joined, settings.parse({ ...off, maxTopNgram: { 2: 1e9, [n]: limit, [n + 1]: 1e9 } }));
      assert.equal(judge(share), undefined);
      if (share > 0) assert.equal(judge(share - 1e-9), `top-${n}-gram`);
    }),
    { numRuns: 300 },
  );
});

test('many texts one after the other do not see each other', () => {
  const limits = settings.parse({});
  const long = Array.from({ length: 5000 }, (_, i) => `word${i}`).join(' ');
  assert.equal(gopherRepetition(long, limits), undefined);
  assert.equal(gopherRepetition(long.slice(0, 200), limits), undefined);
  assert.equal(gopherRepetition(long, limits), undefined);
  assert.equal(gopherRepetition('', limits), undefined);
});
