// The rules of C4: lines that are no sentences go, and documents with too few left, or with placeholder text or code.
//
// Rules: Raffel et al. 2020 (JMLR 21/140), section 2.2, and tensorflow_datasets' c4_utils.py; which line goes for what, and
// in which order, as in huggingface/datatrove (c4_filters.py), whose verdicts and texts test/golden/filters.json holds.
// FineWeb uses them without `terminalPunctuation`. Sentences of a line are counted by a rule of our own: terminal
// punctuation, closing quotes and brackets after it, then white space and more text; after a full-width stop the space
// may be missing. datatrove asks spaCy, the paper nltk: their counts differ at abbreviations.
//
// Words not wanted (the paper's list is LDNOOBW) are sought in the text as it came, as datatrove's separate filter
// would before this one; a list without words that stand alone (Chinese, Japanese, Thai) is sought anywhere.
//
// Does not: ship a list of bad words.
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type Document, type Edit, editText, withNote } from '../../base/document.ts';
import { UserError } from '../../base/errors.ts';
import { defineStep, type Verdict } from '../step.ts';
import { classes, classOfPair, isLineEnd, isPair, isSpace, isTerminal, isWordPart } from './characters.ts';
import { settingsFor } from './per-language.ts';
import { scanOf } from './text-scan.ts';

/** `null` turns a rule off. */
const number = z.number().int().nullable();
const flag = z.boolean();

export const settings = z.strictObject({
  // The values are those of the paper; the longest word and the phrases are those of its code.
  /** Removes marks of citations as in Wikipedia: `[1]`, `[edit]`, `[citation needed]`. */
  citations: flag.default(true),
  /** Removes lines that do not end in . ? ! " or ', or end in an ellipsis. */
  terminalPunctuation: flag.default(true),
  minSentences: number.default(5),
  minWordsPerLine: number.default(3),
  maxWordLength: number.default(1000),
  loremIpsum: flag.default(true),
  javascript: flag.default(true),
  curlyBracket: flag.default(true),
  /** Removes lines that speak of cookies, privacy policies or terms of use. */
  policy: flag.default(true),
  /** mC4 (Xue et al. 2021): 3 lines of at least 200 characters. */
  minParagraphs: number.default(null),
  minParagraphLength: z.number().int().default(200),
  /** Language (ISO 639-3) -> file of words that drop a document, one a line. */
  badWords: z.record(z.string(), z.string()).default({}),
  byLanguage: z
    .record(
      z.string(),
      z
        .strictObject({
          citations: flag,
          terminalPunctuation: flag,
          minSentences: number,
          minWordsPerLine: number,
          maxWordLength: number,
          loremIpsum: flag,
          javascript: flag,
          curlyBracket: flag,
          policy: flag,
          minParagraphs: number,
          minParagraphLength: z.number().int(),
        })
        .partial(),
    )
    .default({}),
});
export type C4Settings = z.output<typeof settings>;

/** Phrases of the paper's code. */
const policyPhrases = [
  'terms of use',
  'privacy policy',
  'cookie policy',
  'uses cookies',
  'use of cookies',
  'use cookies',
];
const citation = /\[\p{Nd}*\]|\[edit\]|\[citation needed\]/gu;
const closers = new Set(Array.from(`"'”’»)]}」』）】`, (char) => char.charCodeAt(0)));
/** Full stops that need no space after them. */
const wideStops = new Set(Array.from('。！？｡', (char) => char.charCodeAt(0)));

/** Why lines went, and how many. */
interface RemovedLines {
  'long-word': number;
  'no-terminal-punctuation': number;
  'few-words': number;
  javascript: number;
  policy: number;
}

/** What a code unit may be to the scan of lines. */
const ordinary = 0;
const space = 1;
const lineEnd = 2;
const terminal = 3;
const squareBracket = 4;
const curlyBracket = 5;
/** One letter of each phrase that is sought, the rarest. */
const hint = 6;
const surrogate = 7;

const kinds = makeKinds();

function makeKinds(): Uint8Array {
  const table = new Uint8Array(0x10000);
  for (let code = 0; code < 0x10000; code++) {
    const bits = classes[code] as number;
    if (bits & isLineEnd) table[code] = lineEnd;
    else if (bits & isSpace) table[code] = space;
    else if (bits & isTerminal) table[code] = terminal;
  }
  for (const char of 'fjkpvFJKPV\u212a') table[char.charCodeAt(0)] = hint;
  table[0x5b] = squareBracket;
  table[0x7b] = curlyBracket;
  table.fill(surrogate, 0xd800, 0xe000);
  return table;
}

/** Whether the letter at `at` has the neighbours that it has in a phrase: `jav`, `oki`, `ips`, `iva`, `of u`. */
function mayBePhrase(codes: Uint16Array, at: number): boolean {
  const near = (offset: number): number => (codes[at + offset] as number) | 0x20;
  const code = codes[at] as number;
  if (code === 0x212a || (code | 0x20) === 0x6b) return near(-1) === 0x6f && near(1) === 0x69;
  if ((code | 0x20) === 0x6a) return near(1) === 0x61 && near(2) === 0x76;
  if ((code | 0x20) === 0x70) return near(-1) === 0x69 && near(1) === 0x73;
  if ((code | 0x20) === 0x76) return near(-1) === 0x69 && near(1) === 0x61;
  return near(-1) === 0x6f && near(1) === 0x20 && near(2) === 0x75;
}

/** The document with only its good lines, or why it is dropped. */
export function c4(document: Document, limits: C4Settings): Verdict {
  const { text } = document;
  const scan = scanOf(text);
  const { codes, length } = scan;
  const longest = limits.maxWordLength ?? Number.POSITIVE_INFINITY;
  const removed: RemovedLines = {
    'long-word': 0,
    'no-terminal-punctuation': 0,
    'few-words': 0,
    javascript: 0,
    policy: 0,
  };
  const lines: KeptLine[] = [];
  let sentences = 0;
  let paragraphs = 0;
  for (let at = 0; at < length; ) {
    // One look at each unit of the line: its words, its trimmed ends, and what deserves a second look.
    let start = -1;
    let stop = at;
    let wordStart = -1;
    let words = 0;
    let hasLongWord = false;
    let firstTerminal = -1;
    let hasSquare = false;
    let hasCurly = false;
    let isSuspect = false;
    for (; ; at++) {
      const kind = at < length ? (kinds[codes[at] as number] as number) : lineEnd;
      if (kind === space || kind === lineEnd) {
        if (wordStart >= 0) {
          stop = at;
          if (at - wordStart > longest && scan.pointsOf(wordStart, at) > longest) hasLongWord = true;
          wordStart = -1;
        }
        if (kind === lineEnd) break;
        continue;
      }
      if (wordStart < 0) {
        wordStart = at;
        words++;
        if (start < 0) start = at;
      }
      if (kind === ordinary) continue;
      if (kind === hint) isSuspect ||= mayBePhrase(codes, at);
      else if (kind === terminal || kind === surrogate) {
        if (firstTerminal < 0) firstTerminal = at;
      } else if (kind === squareBracket) hasSquare = true;
      else hasCurly = true;
    }
    if (start < 0) start = stop;
    at += codes[at] === 0x0d && at + 1 < length && codes[at + 1] === 0x0a ? 2 : 1;

    if (hasLongWord) {
      removed['long-word']++;
      continue;
    }
    let line: string | undefined;
    if (limits.citations && hasSquare) {
      const before = text.slice(start, stop);
      const after = before.replace(citation, '');
      if (after !== before) line = after;
    }
    const isEnded = line === undefined ? endsLine(codes, start, stop) : endsText(line);
    if (limits.terminalPunctuation && !isEnded) {
      removed['no-terminal-punctuation']++;
      continue;
    }
    if (limits.minWordsPerLine !== null && words < limits.minWordsPerLine) {
      removed['few-words']++;
      continue;
    }
    // A citation may stand in a phrase, so that its hint is not beside its neighbours.
    isSuspect ||= line !== undefined;
    const lowerLine = isSuspect ? (line ?? text.slice(start, stop)).toLowerCase() : '';
    if (isSuspect && limits.loremIpsum && lowerLine.includes('lorem ipsum')) return { drop: { reason: 'lorem-ipsum' } };
    if (isSuspect && limits.javascript && lowerLine.includes('javascript')) {
      removed.javascript++;
      continue;
    }
    if (limits.curlyBracket && hasCurly) return { drop: { reason: 'curly-bracket' } };
    if (isSuspect && limits.policy && policyPhrases.some((phrase) => lowerLine.includes(phrase))) {
      removed.policy++;
      continue;
    }
    if (line !== undefined) sentences += sentencesOfText(line);
    else sentences += firstTerminal < 0 ? 1 : sentencesOf(codes, firstTerminal, stop);
    if (limits.minParagraphs !== null) {
      const points = line === undefined ? scan.pointsOf(start, stop) : Array.from(line).length;
      if (points >= limits.minParagraphLength) paragraphs++;
    }
    lines.push({ start, end: stop, text: line });
  }
  if (limits.minSentences !== null && sentences < limits.minSentences) return { drop: { reason: 'too-few-sentences' } };
  if (limits.minParagraphs !== null && paragraphs < limits.minParagraphs) {
    return { drop: { reason: 'too-few-paragraphs' } };
  }
  const kept = editText(document, editsFor(text, lines));
  const counts = Object.entries(removed).filter(([, count]) => count > 0);
  return { keep: counts.length === 0 ? kept : withNote(kept, 'c4', { removedLines: Object.fromEntries(counts) }) };
}

interface KeptLine {
  readonly start: number;
  readonly end: number;
  /** Where it was changed. */
  readonly text: string | undefined;
}

/** The edits that leave these lines alone, joined by line feeds and without white space around them all. */
function editsFor(text: string, kept: readonly KeptLine[]): Edit[] {
  const isBlank = ({ start, end, text: changed }: KeptLine): boolean => trim(changed ?? text.slice(start, end)) === '';
  let first = 0;
  let last = kept.length - 1;
  while (first <= last && isBlank(kept[first] as KeptLine)) first++;
  while (last >= first && isBlank(kept[last] as KeptLine)) last--;
  const edits: Edit[] = [];
  let at = 0;
  for (let i = first; i <= last; i++) {
    const line = kept[i] as KeptLine;
    const gap = i === first ? '' : '\n';
    if (line.start - at !== gap.length || text.slice(at, line.start) !== gap) {
      edits.push({ start: at, end: line.start, text: gap });
    }
    at = line.end;
    if (line.text === undefined) continue;
    const fromStart = i === first ? trimStart(line.text) : line.text;
    edits.push({ start: line.start, end: line.end, text: i === last ? trimEnd(fromStart) : fromStart });
  }
  if (at < text.length) edits.push({ start: at, end: text.length, text: '' });
  return edits;
}

function trimStart(text: string): string {
  let start = 0;
  while (start < text.length && (classes[text.charCodeAt(start)] as number) & isSpace) start++;
  return text.slice(start);
}

function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && (classes[text.charCodeAt(end - 1)] as number) & isSpace) end--;
  return text.slice(0, end);
}

const trim = (text: string): string => trimStart(trimEnd(text));

/** Whether a line ends in . ? ! " or ', and not in an ellipsis of dots. */
function endsLine(codes: Uint16Array, start: number, end: number): boolean {
  if (end === start) return false;
  const last = codes[end - 1];
  if (last === 0x2e) return !(end - start >= 3 && codes[end - 2] === 0x2e && codes[end - 3] === 0x2e);
  return last === 0x3f || last === 0x21 || last === 0x22 || last === 0x27;
}

const endsText = (line: string): boolean => /[.?!"']$/.test(line) && !line.endsWith('...');

/** Sentences of a line; one at least. */
function sentencesOf(codes: Uint16Array, start: number, end: number): number {
  let sentences = 1;
  for (let at = start; at < end; ) {
    let last = codes[at] as number;
    let units = terminalUnits(codes, at, end);
    if (units === 0) {
      at++;
      continue;
    }
    for (; units > 0; units = terminalUnits(codes, at, end)) {
      last = codes[at] as number;
      at += units;
    }
    while (at < end && closers.has(codes[at] as number)) at++;
    if (at === end) break;
    if ((classes[codes[at] as number] as number) & isSpace) {
      while (at < end && (classes[codes[at] as number] as number) & isSpace) at++;
      if (at < end) sentences++;
    } else if (wideStops.has(last)) sentences++;
  }
  return sentences;
}

/** Code units of the terminal punctuation at `at`; 0 where there is none. */
function terminalUnits(codes: Uint16Array, at: number, end: number): number {
  if (at >= end) return 0;
  const code = codes[at] as number;
  if ((classes[code] as number) & isTerminal) return 1;
  const isOne =
    (code & 0xfc00) === 0xd800 && isPair(codes, at, end) && classOfPair(code, codes[at + 1] as number) & isTerminal;
  return isOne ? 2 : 0;
}

function sentencesOfText(line: string): number {
  const codes = new Uint16Array(line.length);
  for (let i = 0; i < line.length; i++) codes[i] = line.charCodeAt(i);
  return sentencesOf(codes, 0, line.length);
}

interface TrieNode {
  isEnd: boolean;
  readonly next: Map<number, TrieNode>;
}

/** Words to be found in lower-cased text. */
interface BadWords {
  readonly root: TrieNode;
  /** Sought within words, too: of a language without spaces. */
  readonly anywhere: boolean;
}

/** Languages in which datatrove does not ask for something other than a word around. */
const unspacedLanguages = new Set(['jpn', 'tha', 'zho', 'cmn']);

function readBadWords(language: string, path: string): BadWords {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new UserError(`the bad words of ${language} cannot be read`, {
      found: path,
      next: 'set badWords to files',
      cause,
    });
  }
  const root: TrieNode = { isEnd: false, next: new Map() };
  for (const line of text.split('\n')) {
    const word = line.trim().toLowerCase();
    if (word === '') continue;
    let node = root;
    for (let i = 0; i < word.length; i++) {
      const code = word.charCodeAt(i);
      let next = node.next.get(code);
      if (!next) {
        next = { isEnd: false, next: new Map() };
        node.next.set(code, next);
      }
      node = next;
    }
    node.isEnd = true;
  }
  return { root, anywhere: unspacedLanguages.has(language) };
}

function hasBadWord(text: string, { root, anywhere }: BadWords): boolean {
  const lower = text.toLowerCase();
  const isWord = (at: number): boolean => {
    if (at < 0 || at >= lower.length) return false;
    const code = lower.charCodeAt(at);
    if (code >= 0xdc00 && code < 0xe000 && at > 0) {
      return (classOfPair(lower.charCodeAt(at - 1), code) & isWordPart) !== 0;
    }
    if (code >= 0xd800 && code < 0xdc00 && at + 1 < lower.length) {
      return (classOfPair(code, lower.charCodeAt(at + 1)) & isWordPart) !== 0;
    }
    return ((classes[code] as number) & isWordPart) !== 0;
  };
  for (let start = 0; start < lower.length; start++) {
    let node = root.next.get(lower.charCodeAt(start));
    if (!node || (!anywhere && isWord(start - 1))) continue;
    for (let at = start + 1; node; at++) {
      if (node.isEnd && (anywhere || !isWord(at))) return true;
      node = at < lower.length ? node.next.get(lower.charCodeAt(at)) : undefined;
    }
  }
  return false;
}

export const definition = defineStep({
  name: 'c4',
  brief: 'lines that are no sentences, placeholder text and code, as C4',
  settings,
  files: ({ badWords }) => Object.values(badWords),
  make(settings) {
    const limitsOf = settingsFor(settings);
    const lists = new Map(Object.entries(settings.badWords).map(([key, path]) => [key, readBadWords(key, path)]));
    return {
      name: 'c4',
      run(document) {
        const list = lists.get(document.language);
        if (list && hasBadWord(document.text, list)) return { drop: { reason: 'bad-word' } };
        return c4(document, limitsOf(document.language));
      },
    };
  },
});
