import assert from 'node:assert/strict';
import test from 'node:test';
import { cpuMilliseconds } from '../../../test/cpu-time.ts';
import fc from 'fast-check';
import { type Document, editText } from '../../base/document.ts';
import { goldenJson } from '../../../test/golden.ts';
import { type PersonalDataKind, personalDataStep, replacePersonalData } from './pii.ts';

interface Golden {
  readonly cases: readonly { readonly text: string; readonly output: string; readonly pii_count: number }[];
  readonly partial_switches: readonly {
    readonly text: string;
    readonly emails: boolean;
    readonly ips: boolean;
    readonly ibans: boolean;
    readonly output: string;
    readonly pii_count: number;
  }[];
}
const golden = goldenJson<Golden>('pii.json');

function documentOf(text: string): Document {
  return { id: 'x', text, language: 'eng', source: 'test', licence: 'unknown' };
}

function replaced(text: string, kinds?: readonly PersonalDataKind[]): { output: string; count: number } {
  const { document, counts } = replacePersonalData(documentOf(text), kinds);
  return { output: document.text, count: counts.email + counts.ip + counts.iban };
}

/** The original procedure, word for word: search, then replace each distinct match everywhere. */
function replaceOneByOne(text: string): string {
  const word = '[\\p{L}\\p{N}_]';
  const boundary = `(?:(?<=${word})(?!${word})|(?<!${word})(?=${word}))`;
  const atom = "[A-Za-z0-9!#$%&'*+\\/=?^_`\\{\\|\\}~\\-]+";
  const octet = '(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)';
  const label = '[A-Za-z0-9](?:[A-Za-z0-9\\-]*[A-Za-z0-9])?';
  const patterns: [RegExp, string][] = [
    [
      new RegExp(
        `${boundary}${atom}(?:\\.${atom})*@(?:(?:${label}\\.)+${label}|\\[(?:${octet}\\.){3}(?:${octet}|[A-Za-z0-9\\-]*[A-Za-z0-9]:)\\])`,
        'gu',
      ),
      '<email-pii>',
    ],
    [new RegExp(`(?:${octet}\\.){3}${octet}`, 'g'), '<ip-pii>'],
    [/[A-Z]{2}[0-9]{2}(?: [0-9]{4}){4} [A-Z0-9]{1,2}/g, '<iban-pii>'],
  ];
  let current = text;
  for (const [pattern, marker] of patterns) {
    for (const match of new Set(current.match(pattern) ?? [])) current = current.replaceAll(match, marker);
  }
  return current;
}

test('every golden case', () => {
  for (const { text, output, pii_count } of golden.cases) {
    assert.deepEqual(replaced(text), { output, count: pii_count }, text);
  }
  for (const { text, emails, ips, ibans, output, pii_count } of golden.partial_switches) {
    const kinds: PersonalDataKind[] = [];
    if (emails) kinds.push('email');
    if (ips) kinds.push('ip');
    if (ibans) kinds.push('iban');
    assert.deepEqual(replaced(text, kinds), { output, count: pii_count }, text);
  }
});

test('equals replacing one by one, on texts made to overlap', () => {
  const piece = fc.constantFrom(
    ...['a', 'b', 'é', '.', '@', '+', '-', ' ', 'co', 'a@b.co', 'b.co', '1', '25', '1.2.3.4', '[1.2.3.4]', '𝒳', '_'],
    ...['CH93 0076 2011 6238 5295 7', ' 1234', 'X', 'CH', '\n', '<email-pii>', '%', '..', '@b.co', '@a.b.co'],
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      const text = pieces.join('');
      assert.equal(replaced(text).output, replaceOneByOne(text), JSON.stringify(text));
    }),
    { numRuns: 20_000 },
  );
});

test('time grows with the text, not with its square', () => {
  const hostile: ((n: number) => string)[] = [
    (n) => 'a'.repeat(n),
    (n) => 'a.'.repeat(n / 2),
    (n) => `${'a-'.repeat(n / 2)}@`,
    (n) => `x@${'a-'.repeat(n / 2)}`,
    (n) => `x@${'a.'.repeat(n / 2)}`,
    (n) => '@'.repeat(n),
    (n) => 'a@b.'.repeat(n / 4),
    (n) => '1.'.repeat(n / 2),
    (n) => Array.from({ length: n / 16 }, (_, i) => `u${i}@b${i}.example`).join(' '),
    (n) => Array.from({ length: n / 12 }, (_, i) => `${i >> 16}.${(i >> 8) & 255}.${i & 255}.7`).join(' '),
  ];
  for (const make of hostile) {
    const text = make(400_000);
    const start = cpuMilliseconds();
    replaced(text);
    const took = cpuMilliseconds() - start;
    assert.ok(took < 4000, `${text.slice(0, 20)}... took ${took.toFixed(0)} ms`);
  }
});

test('sections keep their words and notes hold counts only', () => {
  const text = 'one a@b.example two\n\nthree 192.0.2.1 four';
  const document: Document = {
    ...documentOf(text),
    sections: [
      { label: 'first', start: 0, end: 19 },
      { label: 'second', start: 21, end: text.length },
    ],
  };
  const verdict = personalDataStep().run(document);
  assert.ok('keep' in verdict);
  const texts = verdict.keep.sections?.map(({ start, end }) => verdict.keep.text.slice(start, end));
  assert.deepEqual(texts, ['one <email-pii> two', 'three <ip-pii> four']);
  assert.deepEqual(verdict.keep.notes, { pii: { email: 1, ip: 1, iban: 0 } });
});

test('editText keeps sections on the text they name', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string({ minLength: 1, maxLength: 6 }), fc.boolean(), fc.string({ maxLength: 9 })), {
        minLength: 1,
        maxLength: 12,
      }),
      (parts) => {
        // Every part is a section; every second kind of part is replaced whole.
        let text = '';
        const sections: { label: string; start: number; end: number }[] = [];
        const edits: { start: number; end: number; text: string }[] = [];
        for (const [before, edit, after] of parts) {
          const start = text.length;
          text += before;
          sections.push({ label: String(sections.length), start, end: text.length });
          if (edit) edits.push({ start, end: text.length, text: after });
        }
        const edited = editText({ ...documentOf(text), sections }, edits);
        const want = parts.map(([before, edit, after]) => (edit ? after : before));
        assert.equal(edited.text, want.join(''));
        assert.deepEqual(
          edited.sections?.map(({ start, end }) => edited.text.slice(start, end)),
          want,
        );
      },
    ),
  );
});
