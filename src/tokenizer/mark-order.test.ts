// Long runs of combining marks: the normal forms of String.normalize and the ids of the reference, in linear time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tokenizer as Reference } from 'tokenizers';
import { silentLog } from '../base/progress.ts';
import { Random } from '../base/rng.ts';
import { Tokenizer } from './bpe.ts';
import { inMarkOrder } from './mark-order.ts';
import { tokenizerJson } from './tokenizer-files.ts';
import { trainBpe } from './train.ts';
import { type NormalForm, normalForm } from './unicode.ts';

const forms: readonly NormalForm[] = ['NFC', 'NFD', 'NFKC', 'NFKD'];
const marks: string[] = [];
for (let code = 0x300; code < 0x1ffff; code++) {
  const one = String.fromCodePoint(code);
  if (/\p{M}/u.test(one)) marks.push(one);
}

/** Runs of marks behind letters of all kinds. */
function markedText(random: Random): string {
  const letters = [
    ...'aéǆ中가ﬁ\u1100\u1161\u11a8\u0344\u0f73\uff76\uff9e\uff9f\ufb2c\u{1d15e}\u09c7\u09be \ud834\udd65',
  ];
  let text = random.pick(['', 'x'.repeat(60)]);
  for (let runs = 1 + random.integer(4); runs > 0; runs--) {
    text += random.pick(letters);
    const some = random.pick([marks, marks.slice(0, 80), [...'\u0301\u0323\u0334\u0345\u3099\uff9e']]);
    for (let length = random.integer(300); length > 0; length--) text += random.pick(some);
  }
  return text + random.pick(letters);
}

test('normal forms are those of String.normalize', () => {
  const random = new Random(5);
  let sorted = 0;
  for (let i = 0; i < 400; i++) {
    const text = markedText(random);
    for (const form of forms) {
      const ordered = inMarkOrder(text, form.endsWith('C') ? (form === 'NFC' ? 'NFD' : 'NFKD') : (form as 'NFD'));
      if (ordered !== text) sorted++;
      assert.equal(ordered.normalize(form), text.normalize(form), JSON.stringify(text));
    }
  }
  assert.ok(sorted > 1000, `${sorted} texts of 1600 were sorted`);
});

test('all that decomposes to a mark that moves is taken for a mark', () => {
  const isMark = (one: string): boolean => /^[\p{M}\uff9e\uff9f]/u.test(one);
  for (let code = 0; code < 0x110000; code++) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const one = String.fromCodePoint(code);
    const first = String.fromCodePoint(one.normalize('NFKD').codePointAt(0) as number);
    const moves = [`\u0345${first}`, `${first}\u0334`].some((pair) => pair.normalize('NFD') !== pair);
    if (first !== one && /^\p{M}/u.test(first) && moves) assert.ok(isMark(one), code.toString(16));
  }
});

test('ids are those of the reference, and a megabyte is quick', async () => {
  const content = tokenizerJson(
    await trainBpe(['All human beings are born free and equal.'.repeat(3)], 340, silentLog),
  );
  for (const type of forms) {
    const file = JSON.stringify({ ...(content as object), normalizer: { type } });
    const reference = Reference.fromString(file);
    const ours = new Tokenizer(JSON.parse(file), 'ours');
    const random = new Random(6);
    for (let i = 0; i < 20; i++) {
      const text = markedText(random);
      const expected = (await reference.encode(text, null, { addSpecialTokens: false })).getIds();
      assert.deepEqual(ours.encode(text), expected, `${type} ${JSON.stringify(text)}`);
    }
  }
  // Unsorted, an eighth of these takes five seconds.
  const started = performance.now();
  for (const form of forms) {
    assert.equal(normalForm(`a${'\u0301\u0323'.repeat(2 ** 19)}`, form).length > 2 ** 20 - 3, true);
    normalForm(`a${'\u0323\u0301\uff9e'.repeat(2 ** 18)}`, form);
  }
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds < 10, `${seconds} s`);
});
