import { cpuMilliseconds } from '../../../test/cpu-time.ts';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Document } from '../../base/document.ts';
import { cleanBook, settings } from './book.ts';

const document = (text: string, more: Partial<Document> = {}): Document => ({
  id: 'a',
  text,
  language: 'eng',
  source: 'test',
  licence: 'unknown',
  ...more,
});

function clean(text: string, set: object = {}): string {
  const verdict = cleanBook(document(text), settings.parse({ minCharacters: 0, ...set }));
  return 'keep' in verdict ? verdict.keep.text : verdict.drop.reason;
}

const around = (book: string): string => `The Project Gutenberg eBook of A Book

This eBook is for the use of anyone.

*** START OF THE PROJECT GUTENBERG EBOOK A BOOK ***

Produced by Somebody and
another proofreader

${book}

*** END OF THE PROJECT GUTENBERG EBOOK A BOOK ***

Updated editions will replace the previous one.
`;

test('what Project Gutenberg puts around a book goes', () => {
  assert.equal(clean(around('CHAPTER I\n\nIt began.')), 'CHAPTER I\n\nIt began.');
  const old =
    'Project Gutenberg Etext\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\nIt began, and went on for some time.\n\n';
  assert.equal(
    clean(`${old}End of the Project Gutenberg Etext of A Book\nmore`),
    'It began, and went on for some time.',
  );
  assert.equal(
    clean('A book about Project Gutenberg.\nIt has no marks.'),
    'A book about Project Gutenberg.\nIt has no marks.',
  );
});

test('page numbers and running heads go, and the paragraph that a page cut is whole', () => {
  const page = (i: number): string => `A BOOK OF PAGES\n\nThis is the text of the page and it runs\n\n${i}\n\n`;
  const text = `${page(11)}A BOOK OF PAGES\n\nover the end. A new one\n\n- 12 -\n\fA BOOK OF PAGES\nbegins here.\n\n13\n\nA BOOK OF PAGES\n\nThe end.`;
  assert.equal(
    clean(text.replace(/^A BOOK OF PAGES\n\n/, '')),
    'This is the text of the page and it runs\nover the end. A new one\nbegins here.\n\nThe end.',
  );
});

test('numbers that are no series stay, and so do chapters', () => {
  const text = 'I\n\nIt began.\n\n1789\n\nIt went on.\n\nII\n\n3\n\nIt ended.';
  assert.equal(clean(text), text);
  assert.equal(
    clean('a.\n\n1\n\nb.\n\n2\n\nc.\n\n3\n\nd.', { pageNumbers: false }),
    'a.\n\n1\n\nb.\n\n2\n\nc.\n\n3\n\nd.',
  );
});

test('marks of pages in brackets go', () => {
  assert.equal(clean('It went [Pg 12] on and[Pg 13] on {14}and on [1].'), 'It went on and on and on [1].');
});

test('words that a line end cuts are joined as the book writes them', () => {
  assert.equal(
    clean('A consti-\ntution and a well-\n  known case, well-known to all, a co-\nop.'),
    'A constitution and a well-known case, well-known to all, a coop.',
  );
  assert.equal(clean('It is well-\nWritten and -\nso on'), 'It is well-\nWritten and -\nso on');
  assert.equal(clean('over-\nsee', { hyphenation: false }), 'over-\nsee');
});

test('what is left of a book may be too little', () => {
  assert.equal(clean(around('Short.'), { minCharacters: 10 }), 'too-short');
});

test('sections move along', () => {
  const text = around('It began.\n\nThe last part.');
  const start = text.indexOf('The last part.');
  const verdict = cleanBook(
    document(text, { sections: [{ label: 'last', start, end: start + 14 }] }),
    settings.parse({ minCharacters: 0 }),
  );
  assert.ok('keep' in verdict);
  const [section] = verdict.keep.sections ?? [];
  assert.equal(verdict.keep.text.slice(section?.start, section?.end), 'The last part.');
});

test('any lines are cleaned, letters are only ever taken from page breaks, marks and joins', () => {
  const unit = fc.constantFrom(
    '1\n',
    '2\n',
    '3\n',
    'A HEAD\n',
    'text of it-\n',
    'goes on.\n',
    '\n',
    '\f',
    '[Pg 1]',
    'End of Project Gutenberg\n',
  );
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 60 }), (text) => {
      const after = clean(text);
      if (!text.includes('Gutenberg'))
        assert.equal(after.split('goes on.').length, text.split('goes on.').length, after);
    }),
  );
});

test('time grows with the text', () => {
  const start = cpuMilliseconds();
  clean(`${'a'.repeat(300_000)}\n${'ab-\n'.repeat(50_000)}${'7\n'.repeat(50_000)}`);
  assert.ok(cpuMilliseconds() - start < 10_000);
});
