// Cutting text into the pieces that byte-pair merges never cross: the Apertus (Mistral "tekken") classes, and regular
// expressions of other tokenizer.json files.
//
// Words split at case transitions, digits stand alone, punctuation takes a leading space and trailing newlines, runs
// of newlines and of spaces stand alone. For the Apertus pattern a hand-written scanner gives the same pieces as the
// regular expression, several times faster and without its backtracking stack; other patterns run as expressions
// (expression.ts).
//
// Does not: change text; there is no normalisation.
import { javascriptExpression } from './expression.ts';
import { matchesOf } from './matches.ts';
import { propertyClass } from './unicode.ts';

/** Pre-tokenizer of Mistral-Nemo ("v3 tekken", 240718) and so of Apertus. */
export const apertusPattern = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/** Calls `piece(start, end)` for every piece of `text`, in order; together they cover it. */
export type PreTokenizer = (text: string, piece: (start: number, end: number) => void) => void;

/** The pre-tokenizer of a pattern (Rust or Oniguruma syntax). */
export function preTokenizerOf(pattern: string): PreTokenizer {
  return pattern === apertusPattern ? scanApertus : regexPreTokenizer(pattern);
}

/** A pre-tokenizer that runs an expression; text between matches is a piece too. */
export function regexPreTokenizer(pattern: string): PreTokenizer {
  const expression = javascriptExpression(pattern);
  return (text, piece) => {
    for (const { start, end } of matchesOf(text, expression)) if (end > start) piece(start, end);
  };
}

// Character classes of the Apertus pattern.
const other = 0;
/** Lu, Lt */
const upper = 1;
/** Lm, Lo: letters without case. */
const caseless = 2;
/** Ll */
const lower = 3;
/** M: acts as a caseless letter, and as anything that is not a letter. */
const mark = 4;
const digit = 5;
const space = 6;
/** CR, LF */
const newline = 7;

const numCodePoints = 0x110000;
/** Beyond these code points are only such that nobody has assigned, or that are private: `other`. */
const assigned: readonly (readonly [number, number])[] = [
  [0, 0xd800],
  [0xe000, 0x34000],
  [0xe0000, 0xe1000],
];
const classSets: readonly (readonly [number, string])[] = [
  [upper, `[${propertyClass('Lu')}${propertyClass('Lt')}]`],
  [caseless, `[${propertyClass('Lm')}${propertyClass('Lo')}]`],
  [lower, `${propertyClass('Ll')}`],
  [mark, `${propertyClass('M')}`],
  [digit, `${propertyClass('N')}`],
  [space, `${propertyClass('space')}`],
  [newline, String.raw`[\r\n]`],
];
let table: Uint8Array | undefined;

/** [0x110000] the class of each code point; made once. */
export function characterClasses(): Uint8Array {
  table ??= makeClasses();
  return table;
}

function makeClasses(): Uint8Array {
  const made = new Uint8Array(numCodePoints);
  for (const [from, to] of assigned) {
    // All the code points in one string: an expression finds its runs many times faster than it answers for each.
    const pages = Array.from({ length: (to - from) >> 8 }, (_, page) =>
      String.fromCodePoint(...Array.from({ length: 256 }, (_, i) => from + 256 * page + i)),
    );
    const text = pages.join('');
    for (const [kind, set] of classSets) {
      for (const match of text.matchAll(new RegExp(`${set}+`, 'gv'))) {
        const first = match[0].codePointAt(0) as number;
        let count = 0;
        for (const _ of match[0]) count++;
        made.fill(kind, first, first + count);
      }
    }
  }
  return made;
}

/** The Apertus pattern by hand. The comments name the alternative of the expression that each part stands for. */
const scanApertus: PreTokenizer = (text, piece) => {
  const length = text.length;
  const classes = characterClasses();
  let at = 0;
  while (at < length) {
    const end = pieceEnd(text, at, length, classes);
    piece(at, end);
    at = end;
  }
};

function pieceEnd(text: string, at: number, length: number, classes: Uint8Array): number {
  const first = text.codePointAt(at) as number;
  const firstClass = classes[first];
  const afterFirst = at + (first > 0xffff ? 2 : 1);

  // 1 and 2: a word, with one character before it that is no letter, digit or line end.
  if (firstClass === upper || firstClass === caseless || firstClass === lower)
    return wordEnd(text, at, length, classes);
  if (firstClass === other || firstClass === space || firstClass === mark) {
    const end = wordEnd(text, afterFirst, length, classes, true);
    if (end > afterFirst) return end;
    // A mark with no word after it is a word by itself, and the capitals after it (2) come second.
    if (firstClass === mark) return wordEnd(text, at, length, classes);
    const capitals = wordEnd(text, afterFirst, length, classes);
    if (capitals > afterFirst) return capitals;
  }
  // 3: one digit.
  if (firstClass === digit) return afterFirst;

  // 4: punctuation, with a leading space, then line ends and slashes.
  let i = first === 0x20 ? afterFirst : at;
  const start = i;
  while (i < length) {
    const code = text.codePointAt(i) as number;
    const kind = classes[code];
    if (kind !== other && kind !== mark) break;
    i += code > 0xffff ? 2 : 1;
  }
  if (i > start) {
    while (i < length) {
      const code = text.charCodeAt(i);
      if (code !== 0x0a && code !== 0x0d && code !== 0x2f) break;
      i++;
    }
    return i;
  }

  // 5: white space up to the last line end of the run; 6: up to the last space before a word; 7: all of it.
  let lastNewline = -1;
  i = at;
  for (; i < length; i++) {
    const kind = classes[text.charCodeAt(i)];
    if (kind === newline) lastNewline = i;
    else if (kind !== space) break;
  }
  if (lastNewline >= 0) return lastNewline + 1;
  return i < length && i - at > 1 ? i - 1 : i;
}

/**
 * End of the word that begins at `at`, or `at` when there is none: capitals, then small letters, where caseless
 * letters and marks count as both. With `small`, only words that end in a small or caseless letter (alternative 1).
 */
function wordEnd(text: string, at: number, length: number, classes: Uint8Array, small = false): number {
  let i = at;
  let afterCaseless = -1;
  let next = other;
  while (i < length) {
    const code = text.codePointAt(i) as number;
    next = classes[code] as number;
    if (next !== upper && next !== caseless && next !== mark) break;
    i += code > 0xffff ? 2 : 1;
    if (next !== upper) afterCaseless = i;
  }
  if (i < length && next === lower) {
    while (i < length) {
      const code = text.codePointAt(i) as number;
      const kind = classes[code];
      if (kind !== lower && kind !== caseless && kind !== mark) break;
      i += code > 0xffff ? 2 : 1;
    }
    return i;
  }
  // No small letter follows: the word ends after its last caseless letter, or is all capitals.
  if (afterCaseless >= 0) return afterCaseless;
  return small ? at : i;
}
