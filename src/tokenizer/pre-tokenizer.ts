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

const pages: (Uint8Array | undefined)[] = Array.from({ length: 0x1100 });

/** The class of a code point; pages of 256 are worked out when first needed. */
function classOf(code: number): number {
  const page = pages[code >>> 8] ?? makePage(code >>> 8);
  return page[code & 255] as number;
}

const property = (name: string): RegExp => new RegExp(`^${propertyClass(name)}$`, 'v');
/** Tried in this order; what matches none is `other`. */
const classes: readonly (readonly [number, RegExp])[] = [
  [newline, /^[\r\n]$/],
  [space, property('space')],
  [digit, property('N')],
  [mark, property('M')],
  [lower, property('Ll')],
  [upper, property('Lu')],
  [upper, property('Lt')],
  [caseless, property('L')],
];

function makePage(number: number): Uint8Array {
  const page = new Uint8Array(256);
  for (let i = 0; i < 256; i++) {
    const char = String.fromCodePoint(number * 256 + i);
    page[i] = classes.find(([, expression]) => expression.test(char))?.[0] ?? other;
  }
  pages[number] = page;
  return page;
}

/** The Apertus pattern by hand. The comments name the alternative of the expression that each part stands for. */
const scanApertus: PreTokenizer = (text, piece) => {
  const length = text.length;
  let at = 0;
  while (at < length) {
    const end = pieceEnd(text, at, length);
    piece(at, end);
    at = end;
  }
};

function pieceEnd(text: string, at: number, length: number): number {
  const first = text.codePointAt(at) as number;
  const firstClass = classOf(first);
  const afterFirst = at + (first > 0xffff ? 2 : 1);

  // 1 and 2: a word, with one character before it that is no letter, digit or line end.
  if (firstClass === upper || firstClass === caseless || firstClass === lower) return wordEnd(text, at, length);
  if (firstClass === other || firstClass === space || firstClass === mark) {
    const end = wordEnd(text, afterFirst, length, true);
    if (end > afterFirst) return end;
    // A mark with no word after it is a word by itself, and the capitals after it (2) come second.
    if (firstClass === mark) return wordEnd(text, at, length);
    const capitals = wordEnd(text, afterFirst, length);
    if (capitals > afterFirst) return capitals;
  }
  // 3: one digit.
  if (firstClass === digit) return afterFirst;

  // 4: punctuation, with a leading space, then line ends and slashes.
  let i = first === 0x20 ? afterFirst : at;
  const start = i;
  while (i < length) {
    const code = text.codePointAt(i) as number;
    const kind = classOf(code);
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
    const kind = classOf(text.charCodeAt(i));
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
function wordEnd(text: string, at: number, length: number, small = false): number {
  let i = at;
  let afterCaseless = -1;
  let next = other;
  while (i < length) {
    const code = text.codePointAt(i) as number;
    next = classOf(code);
    if (next !== upper && next !== caseless && next !== mark) break;
    i += code > 0xffff ? 2 : 1;
    if (next !== upper) afterCaseless = i;
  }
  if (i < length && next === lower) {
    while (i < length) {
      const code = text.codePointAt(i) as number;
      const kind = classOf(code);
      if (kind !== lower && kind !== caseless && kind !== mark) break;
      i += code > 0xffff ? 2 : 1;
    }
    return i;
  }
  // No small letter follows: the word ends after its last caseless letter, or is all capitals.
  if (afterCaseless >= 0) return afterCaseless;
  return small ? at : i;
}
