import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { normalise } from './exact-dedup.ts';
import type { Document } from '../../base/document.ts';
import { repairUnicode, settings } from './unicode.ts';

const document = (text: string, more: Partial<Document> = {}): Document => ({
  id: 'a',
  text,
  language: 'und',
  source: 'test',
  licence: 'unknown',
  ...more,
});

function repaired(text: string, set: object = {}): string {
  const verdict = repairUnicode(document(text), settings.parse({ maxReplacementShare: null, ...set }));
  assert.ok('keep' in verdict);
  return verdict.keep.text;
}

/** UTF-8 of a text read as windows-1252, its five holes as C1 controls. */
const garbled = (text: string): string => {
  const names =
    '\u20ac\x81\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\x8d\u017d\x8f\x90\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\x9d\u017e\u0178';
  return Array.from(Buffer.from(text, 'utf8'), (byte) =>
    byte >= 0x80 && byte < 0xa0 ? (names[byte - 0x80] as string) : String.fromCharCode(byte),
  ).join('');
};

test('mojibake becomes what it was', () => {
  for (const text of [
    'café',
    'Zürich – grüezi',
    'It’s “so”',
    'naïve £5',
    'Привет, мир',
    '日本語です',
    '😀 ok',
    'Ελληνικά',
    'à la carte, señor',
  ]) {
    assert.equal(repaired(garbled(text)), text, text);
    assert.equal(repaired(garbled(garbled(text))), text, `${text} twice`);
  }
});

test('right text is left alone', () => {
  const right = [
    'voilà\u00a0»',
    'IRMÃ”',
    'CAFÉ»',
    'groß“',
    'MENÜ–',
    'São Paulo',
    'Â»',
    'façade ® ©',
    'Ελληνικά',
    'ÀÈÌ',
    'café â€™',
  ];
  for (const text of right) assert.equal(repaired(text), text, text);
});

test('one bad line does not touch the good ones', () => {
  assert.equal(repaired(`café\n${garbled('café')}\ncafé`), 'café\ncafé\ncafé');
});

test('any text of printable Latin-1 letters and spaces that is no mojibake stays', () => {
  const unit = fc.constantFrom(...'abc ÀÉßüñçãœŠ’”–…'.normalize('NFC'));
  fc.assert(
    fc.property(fc.string({ unit }), (text) => {
      const bytes = Buffer.from(text, 'utf8');
      const after = repaired(text);
      if (after !== text)
        assert.ok(garbled(after) === text, `${bytes.toString('hex')} became ${JSON.stringify(after)}`);
    }),
  );
});

test('controls go, those of windows-1252 become its characters', () => {
  assert.equal(repaired('a\x00b\x07c\x7f\td\n'), 'abc\td\n');
  assert.equal(repaired('\x93quoted\x94 \x96 and so on\x85 \x81'), '“quoted” – and so on… ');
  assert.equal(repaired('a\x85b', { mojibake: false }), 'a\nb');
  assert.equal(repaired('a\u{1fffe}b\ufdd0\uffffc'), 'abc');
});

test('line ends become line feeds, and blank lines few', () => {
  assert.equal(repaired('a\r\nb\rc\u2028d\u2029e\x0cf'), 'a\nb\nc\nd\n\ne\nf');
  assert.equal(repaired('a\n\n\n \t\n\nb\n\nc\n d'), 'a\n\nb\n\nc\n d');
  assert.equal(repaired('a\n\n\nb', { maxBlankLines: 0 }), 'a\nb');
});

test('joiners stay where a script needs them', () => {
  const needed = [
    'می\u200cخواهم',
    'क्\u200dष',
    'ශ්\u200dරී',
    '👩\u200d👩\u200d👧',
    '❤\ufe0f\u200d🔥',
    'ភាសា\u200bខ្មែរ',
    'אב\u200f (1)',
    '🏴\u{e0067}\u{e0062}\u{e007f}',
  ];
  for (const text of needed) assert.equal(repaired(text), text, JSON.stringify(text));
  assert.equal(repaired('a\u200cb\u200dc\u200bd\u200ee\u202ef\u2066g\u2060\ufeff h\u{e0041}\u{e0042}'), 'abcdefg h');
  assert.equal(repaired('hy\u00adphen'), 'hyphen');
});

test('characters are composed', () => {
  assert.equal(repaired('cafe\u0301 e\u0323\u0302 \u1112\u1161\u11ab'), 'café ệ 한');
});

test('millions of marks out of order are composed like a few', () => {
  // Without care this takes the square of their number: many minutes.
  const marks = 3_000_000;
  const text = repaired(`e${'\u0301\u0323'.repeat(marks)}`, { mojibake: false });
  assert.ok(text === `\u1eb9${'\u0323'.repeat(marks - 1)}${'\u0301'.repeat(marks)}`);
  assert.ok(normalise(`e${'\u0301\u0323'.repeat(marks)}`) === text);
});

test('what it leaves is in NFC and stays as it is at a second pass', () => {
  const unit = fc.oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    fc.constantFrom('\n', '\r', ' ', 'e', '\u0301', '\u200d', '\u200b', '\u2029', '\ud800', 'Ã', '©', '\u1161', 'ب'),
  );
  fc.assert(
    fc.property(fc.string({ unit }), (text) => {
      const once = repaired(text, { mojibake: false });
      assert.equal(once.normalize('NFC'), once);
      assert.equal(repaired(once, { mojibake: false }), once);
      assert.equal(Buffer.from(once).toString(), once, 'no lone surrogates');
    }),
  );
});

test('sections move along', () => {
  const text = `\ufeffhead\r\n\r\n\r\n\r\n${garbled('café')} x\nlast`;
  const start = text.indexOf('last');
  const verdict = repairUnicode(
    document(text, { sections: [{ label: 'last', start, end: text.length }] }),
    settings.parse({}),
  );
  assert.ok('keep' in verdict);
  const [section] = verdict.keep.sections ?? [];
  assert.equal(verdict.keep.text, 'head\n\ncafé x\nlast');
  assert.equal(verdict.keep.text.slice(section?.start, section?.end), 'last');
  assert.deepEqual(verdict.keep.notes, { unicode: { mojibake: 1, invisible: 1, lineEnds: 4, blankLines: 2 } });
});

test('too many replacement characters drop a document', () => {
  const judge = (text: string) => repairUnicode(document(text), settings.parse({ maxReplacementShare: 0.1 }));
  assert.deepEqual(judge('abcdefg\ufffd\ufffd'), { drop: { reason: 'too-many-replacement-characters' } });
  assert.ok('keep' in judge('abcdefghi\ufffd'));
});

test('a text with nothing to repair stays the same object', () => {
  const given = document('Right as it is.\n\nÜber alles – “quoted”.\n');
  const verdict = repairUnicode(given, settings.parse({}));
  assert.ok('keep' in verdict && verdict.keep === given);
});
