// Unicode repair: mojibake, composed characters, controls, invisible characters, line ends and runs of blank lines.
//
// Kept where a script needs them: ZWJ and ZWNJ after letters of scripts that join (Arabic, Indic and others), ZWJ in
// emoji, the zero-width space in scripts without spaces, directional marks in lines with right-to-left letters, tags
// after a flag. Everything that repairs is an edit, so sections move along.
//
// Sources: Unicode Standard, 23.2 (layout controls) and 3.4; UAX #9, #15, #31; WHATWG's character references for C1
// controls. How many replacement characters are too many is our own.
//
// Does not: fold compatibility characters (NFKC) or quotes; texts keep their typography.
import { z } from 'zod';
import { type Document, type Edit, editText, withNote } from '../../base/document.ts';
import { inMarkOrder } from '../../tokenizer/mark-order.ts';
import { defineStep, type Verdict } from '../step.ts';
import { isPair } from './characters.ts';
import { characterOfControl, mayBeMojibake, mojibakeEdits } from './mojibake.ts';
import { scanOf } from './text-scan.ts';

export const settings = z.strictObject({
  /** Lines of UTF-8 that were read as windows-1252, and C1 controls that are its characters. */
  mojibake: z.boolean().default(true),
  /** Canonical composition (UAX #15). */
  nfc: z.boolean().default(true),
  /** Control characters but tab and line feed; noncharacters. */
  controls: z.boolean().default(true),
  /** Zero-width characters, byte order marks, directional controls and tags that nothing needs. */
  invisible: z.boolean().default(true),
  softHyphens: z.boolean().default(true),
  /** CR, CRLF, form feed, vertical tab, NEL, line separator -> LF; paragraph separator -> two. */
  lineEnds: z.boolean().default(true),
  /** Blank lines in a row that stay; `null`: all. */
  maxBlankLines: z.number().int().min(0).nullable().default(1),
  /** Share of U+FFFD and lone surrogates among the characters; `null`: any. */
  maxReplacementShare: z.number().nullable().default(0.001),
});
export type UnicodeSettings = z.output<typeof settings>;

/** What was done, for the note; absent where it is nothing. */
type Counts = Record<string, number>;

/** The repaired document, or why it is dropped. */
export function repairUnicode(document: Document, set: UnicodeSettings): Verdict {
  const counts: Counts = {};
  let current = document;
  if (set.mojibake) {
    // Text that went wrong more often than three times is no text.
    for (let times = 0; times < 3; times++) {
      const scan = scanOf(current.text);
      const edits = mayBeMojibake(scan.codes, scan.length) ? mojibakeEdits(current.text) : [];
      if (edits.length === 0) break;
      counts['mojibake'] = (counts['mojibake'] ?? 0) + edits.length;
      current = editText(current, edits);
    }
  }
  const edits = characterEdits(current.text, set, counts);
  current = editText(current, edits);
  if (set.nfc) current = editText(current, composingEdits(current.text, counts));
  if (set.maxBlankLines !== null) current = editText(current, blankLineEdits(current.text, set.maxBlankLines, counts));
  const { replacement = 0 } = counts;
  if (set.maxReplacementShare !== null && replacement / scanOf(current.text).points > set.maxReplacementShare) {
    return { drop: { reason: 'too-many-replacement-characters' } };
  }
  return { keep: Object.keys(counts).length === 0 ? current : withNote(current, 'unicode', counts) };
}

const replacement = 0xfffd;

/** What a code unit may be to this step. */
const nothing = 0;
const lineEnd = 1;
const control = 2;
const softHyphen = 3;
const joiner = 4;
const zeroWidth = 5;
const direction = 6;
const directionMark = 7;
const replaced = 8;
const surrogate = 9;

const kinds = makeKinds();

function makeKinds(): Uint8Array {
  const table = new Uint8Array(0x10000);
  const set = (first: number, last: number, kind: number): void => void table.fill(kind, first, last + 1);
  set(0x00, 0x08, control);
  set(0x0b, 0x0d, lineEnd);
  set(0x0e, 0x1f, control);
  set(0x7f, 0x9f, control);
  set(0xad, 0xad, softHyphen);
  set(0x061c, 0x061c, directionMark);
  // The Mongolian vowel separator is needed where it stands; the hangul fillers and the grapheme joiner are letters.
  set(0x200b, 0x200b, zeroWidth);
  set(0x200c, 0x200d, joiner);
  set(0x200e, 0x200f, directionMark);
  set(0x2028, 0x2029, lineEnd);
  set(0x202a, 0x202e, direction);
  // Word joiner, invisible operators, directional isolates, deprecated format characters, byte order mark.
  set(0x2060, 0x2064, zeroWidth);
  set(0x2066, 0x2069, direction);
  set(0x206a, 0x206f, zeroWidth);
  set(0xfeff, 0xfeff, zeroWidth);
  set(0xd800, 0xdfff, surrogate);
  set(0xfdd0, 0xfdef, control);
  set(0xfff9, 0xfffb, zeroWidth);
  set(0xfffd, 0xfffd, replaced);
  set(0xfffe, 0xffff, control);
  return table;
}

/** Scripts whose letters join, or form clusters, as ZWJ and ZWNJ tell them to. */
const joining = new RegExp(
  `[${[
    'Arabic',
    'Syriac',
    'Mongolian',
    'Nko',
    'Mandaic',
    'Hanifi_Rohingya',
    'Devanagari',
    'Bengali',
    'Gurmukhi',
    'Gujarati',
  ]
    .concat(['Oriya', 'Tamil', 'Telugu', 'Kannada', 'Malayalam', 'Sinhala', 'Khmer', 'Myanmar', 'Tibetan', 'Javanese'])
    .concat(['Balinese', 'Adlam', 'Brahmi', 'Newa', 'Tirhuta', 'Meetei_Mayek', 'Thaana', 'Hebrew'])
    .map((script) => `\\p{scx=${script}}`)
    .join('')}]`,
  'u',
);
const emoji = /[\p{Extended_Pictographic}\p{Emoji_Modifier}]|\ufe0f|\u20e3/u;
const unspaced = /[\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}\p{sc=Tibetan}\p{sc=Javanese}\p{sc=Balinese}]/u;
const rightToLeft =
  /[\p{sc=Arabic}\p{sc=Hebrew}\p{sc=Syriac}\p{sc=Thaana}\p{sc=Nko}\p{sc=Adlam}\p{sc=Mandaic}\p{sc=Samaritan}]/u;

/** The character before `at`, whole. */
function charBefore(text: string, at: number): string {
  const low = text.charCodeAt(at - 1);
  return low >= 0xdc00 && low < 0xe000 && at >= 2 ? text.slice(at - 2, at) : text.slice(Math.max(0, at - 1), at);
}

function lineAround(text: string, at: number): string {
  const end = text.indexOf('\n', at);
  return text.slice(text.lastIndexOf('\n', at) + 1, end < 0 ? text.length : end);
}

/** Edits of single characters: controls, invisible ones, line ends. */
function characterEdits(text: string, set: UnicodeSettings, counts: Counts): Edit[] {
  const { codes, length } = scanOf(text);
  const edits: Edit[] = [];
  const count = (what: string): void => void (counts[what] = (counts[what] ?? 0) + 1);
  const edit = (start: number, end: number, by: string, what: string): void => {
    edits.push({ start, end, text: by });
    count(what);
  };
  for (let at = 0; at < length; at++) {
    const code = codes[at] as number;
    const kind = kinds[code] as number;
    if (kind === nothing) continue;
    if (kind === surrogate) {
      if (isPair(codes, at, length)) {
        at++;
        // Tags: a second alphabet that nobody sees. They belong after a flag, to which they give a region.
        if (set.invisible && code === 0xdb40 && (codes[at] as number) < 0xdc80 && !isFlagTag(text, at - 1)) {
          edit(at - 1, at + 1, '', 'invisible');
        } else if (set.controls && (code & 0x3f) === 0x3f && (codes[at] as number) >= 0xdffe) {
          edit(at - 1, at + 1, '', 'controls');
        }
        continue;
      }
      // UTF-8 cannot hold it; written as it is, it would become this anyway.
      edits.push({ start: at, end: at + 1, text: String.fromCharCode(replacement) });
      count('replacement');
    } else if (kind === replaced) {
      count('replacement');
    } else if (kind === lineEnd) {
      if (!set.lineEnds) continue;
      const isCrLf = code === 0x0d && codes[at + 1] === 0x0a && at + 1 < length;
      if (isCrLf) edit(at, at + 1, '', 'lineEnds');
      else edit(at, at + 1, code === 0x2029 ? '\n\n' : '\n', 'lineEnds');
    } else if (kind === control) {
      const char = set.mojibake && code >= 0x80 && code < 0xa0 ? characterOfControl(code) : undefined;
      if (char !== undefined) edit(at, at + 1, char, 'mojibake');
      else if (code === 0x85 && set.lineEnds) edit(at, at + 1, '\n', 'lineEnds');
      else if (set.controls) edit(at, at + 1, '', 'controls');
    } else if (kind === softHyphen) {
      if (set.softHyphens) edit(at, at + 1, '', 'softHyphens');
    } else if (set.invisible && !isNeeded(text, at, code, kind)) {
      edit(at, at + 1, '', 'invisible');
    }
  }
  return edits;
}

/** Whether the tag at `at` comes after a black flag and other tags alone. */
function isFlagTag(text: string, at: number): boolean {
  let from = at;
  while (from >= 2 && text.charCodeAt(from - 2) === 0xdb40) from -= 2;
  return text.slice(from - 2, from) === '\u{1f3f4}';
}

function isNeeded(text: string, at: number, code: number, kind: number): boolean {
  if (kind === joiner) {
    const before = charBefore(text, at);
    return joining.test(before) || (code === 0x200d && emoji.test(before));
  }
  if (code === 0x200b) return unspaced.test(charBefore(text, at)) || unspaced.test(text.slice(at + 1, at + 2));
  return kind === directionMark && rightToLeft.test(lineAround(text, at));
}

/** Edits to composed characters. Nothing below U+0300 composes with what is before it, so pieces that begin there are judged alone. */
function composingEdits(text: string, counts: Counts): Edit[] {
  const { codes, length } = scanOf(text);
  let at = 0;
  while (at < length && (codes[at] as number) < 0x300) at++;
  if (at === length || toNfc(text) === text) return [];
  const edits: Edit[] = [];
  for (let start = Math.max(0, at - 1); start < length; ) {
    let end = start + 1;
    let isPlain = (codes[start] as number) < 0x300;
    while (end < length && (codes[end] as number) >= 0x300) {
      end++;
      isPlain = false;
    }
    if (!isPlain) {
      const piece = text.slice(start, end);
      const composed = toNfc(piece);
      if (composed !== piece) edits.push({ start, end, text: composed });
    }
    start = end;
  }
  counts['composed'] = edits.length;
  return edits;
}

/** Long runs of marks are put in order first: String.normalize takes the square of their length. */
function toNfc(text: string): string {
  return inMarkOrder(text, 'NFD').normalize('NFC');
}

/** Edits that leave at most `most` blank lines in a row. White space in the blank lines goes with them. */
function blankLineEdits(text: string, most: number, counts: Counts): Edit[] {
  const { codes, length } = scanOf(text);
  const edits: Edit[] = [];
  for (let at = text.indexOf('\n'); at >= 0 && at < length; at = text.indexOf('\n', at)) {
    // [at, end) is a line feed, blank lines, and the feeds that end them.
    let feeds = 1;
    let end = at + 1;
    for (let i = end; i < length; i++) {
      const code = codes[i] as number;
      if (code === 0x0a) {
        feeds++;
        end = i + 1;
      } else if (code !== 0x20 && code !== 0x09 && code !== 0xa0 && code !== 0x3000) break;
    }
    if (feeds > most + 1) {
      edits.push({ start: at, end, text: '\n'.repeat(most + 1) });
      counts['blankLines'] = (counts['blankLines'] ?? 0) + feeds - most - 1;
    }
    at = end;
  }
  return edits;
}

export const definition = defineStep({
  name: 'unicode',
  brief: 'mojibake, controls, invisible characters, line ends',
  settings,
  make: (settings) => ({ name: 'unicode', run: (document) => repairUnicode(document, settings) }),
});
