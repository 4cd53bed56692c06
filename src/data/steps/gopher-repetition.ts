// Gopher's repetition rules: lines, paragraphs and n-grams of words that come again.
//
// Rules and thresholds: Rae et al. 2021 (arXiv 2112.11446), table A1. What is counted, and in which order, as in
// huggingface/datatrove (gopher_repetition_filter.py), whose verdicts test/golden/filters.json holds: the characters of
// the most frequent n-gram (its words joined by spaces, the first of those equally frequent), and the characters of
// n-grams seen before, read from left to right without overlap and without regard to where words end. Shares are of all
// characters of the text. The words are those of text-scan.ts.
//
// n-grams become numbers, an n-gram from the number of its first n - 1 words and that of its last; the longer ones are
// found by a rolling hash and compared. Both are exact.
//
// Does not: change a document.
import { z } from 'zod';
import { defineStep } from '../step.ts';
import { classes, isSpace } from './characters.ts';
import { settingsFor } from './per-language.ts';
import { mixed, slotsFor, SpanSet } from './spans.ts';
import { scanOf, type TextScan } from './text-scan.ts';

/** `null` turns a rule off. */
const share = z.number().nullable();
/** Words of an n-gram -> the share that is allowed. */
const shares = z.record(z.string().regex(/^[1-9]\d*$/), z.number());

export const settings = z.strictObject({
  // The values are those of the paper's table A1.
  maxDuplicateLines: share.default(0.3),
  maxDuplicateParagraphs: share.default(0.3),
  maxDuplicateLineCharacters: share.default(0.2),
  maxDuplicateParagraphCharacters: share.default(0.2),
  maxTopNgram: shares.default({ 2: 0.2, 3: 0.18, 4: 0.16 }),
  maxDuplicateNgrams: shares.default({ 5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1 }),
  byLanguage: z
    .record(
      z.string(),
      z
        .strictObject({
          maxDuplicateLines: share,
          maxDuplicateParagraphs: share,
          maxDuplicateLineCharacters: share,
          maxDuplicateParagraphCharacters: share,
          maxTopNgram: shares,
          maxDuplicateNgrams: shares,
        })
        .partial(),
    )
    .default({}),
});
export type GopherRepetitionSettings = z.output<typeof settings>;

/** Why a text is dropped, or undefined. */
export function gopherRepetition(text: string, limits: GopherRepetitionSettings): string | undefined {
  if (text === '') return undefined;
  const scan = scanOf(text);
  const over = (value: number, limit: number | null): boolean => limit !== null && value > limit;
  const paragraphs = countRepeated(scan, 2);
  if (over(paragraphs.repeated / paragraphs.all, limits.maxDuplicateParagraphs)) return 'duplicate-paragraphs';
  if (over(paragraphs.points / scan.points, limits.maxDuplicateParagraphCharacters)) {
    return 'duplicate-paragraph-characters';
  }
  const lines = countRepeated(scan, 1);
  if (over(lines.repeated / lines.all, limits.maxDuplicateLines)) return 'duplicate-lines';
  if (over(lines.points / scan.points, limits.maxDuplicateLineCharacters)) return 'duplicate-line-characters';
  scan.findWords();
  let grams: Grams | undefined;
  // Object keys that are numbers come in ascending order.
  for (const [key, limit] of Object.entries(limits.maxTopNgram)) {
    const n = Number(key);
    if (scan.words < n) continue;
    grams ??= new Grams(scan);
    if (grams.topPoints(n) / scan.points > limit) return `top-${n}-gram`;
  }
  const mayRepeat = markRepeats(scan);
  for (const [key, limit] of Object.entries(limits.maxDuplicateNgrams)) {
    if (duplicatePoints(scan, Number(key), mayRepeat) / scan.points > limit) return `duplicate-${key}-grams`;
  }
  return undefined;
}

interface Repeated {
  readonly all: number;
  /** Those that equal one before them, and their characters. */
  readonly repeated: number;
  readonly points: number;
}

const seen = new SpanSet();

/** Pieces between runs of at least `breaks` line feeds; paragraphs (two) of the text without white space around it. */
function countRepeated(scan: TextScan, breaks: 1 | 2): Repeated {
  const { codes } = scan;
  let start = 0;
  let length = scan.length;
  if (breaks === 2) {
    while (start < length && (classes[codes[start] as number] as number) & isSpace) start++;
    while (length > start && (classes[codes[length - 1] as number] as number) & isSpace) length--;
  }
  seen.clear();
  let all = 0;
  let repeated = 0;
  let points = 0;
  for (;;) {
    let end = start;
    let next: number;
    for (;;) {
      while (end < length && codes[end] !== 0x0a) end++;
      next = end;
      while (next < length && codes[next] === 0x0a) next++;
      if (next - end >= breaks || end === length) break;
      end = next;
    }
    all++;
    if (seen.has(codes, start, end)) {
      repeated++;
      points += scan.pointsOf(start, end);
    }
    if (next === end) return { all, repeated, points };
    start = next;
  }
}

let slots = new Int32Array(1 << 12);

/** A table of empty slots for `count` entries. */
function emptySlots(count: number): { readonly table: Int32Array; readonly mask: number } {
  const size = slotsFor(count);
  if (slots.length < size) slots = new Int32Array(size);
  else slots.fill(0, 0, size);
  return { table: slots, mask: size - 1 };
}

/** Room that outlives a text: making it for each would cost more than the counting. */
const room = {
  words: new Int32Array(1 << 12),
  grams: new Int32Array(1 << 12),
  longer: new Int32Array(1 << 12),
  counts: new Int32Array(1 << 12),
};

function roomFor(name: keyof typeof room, length: number): Int32Array {
  if (room[name].length < length) room[name] = new Int32Array(length * 2);
  return room[name];
}

/** The n-grams of a text as numbers: that of an n-gram is the position where it is first. */
class Grams {
  private readonly scan: TextScan;
  private readonly words: Int32Array;
  private grams: Int32Array;
  private longer: Int32Array;
  private readonly counts: Int32Array;
  private n = 1;

  constructor(scan: TextScan) {
    this.scan = scan;
    this.words = roomFor('words', scan.words);
    this.grams = roomFor('grams', scan.words);
    this.longer = roomFor('longer', scan.words);
    this.counts = roomFor('counts', scan.words);
    this.nameWords();
    this.count();
  }

  /** Characters of the most frequent n-gram, its words joined by spaces, times how often it is there. */
  topPoints(n: number): number {
    if (n < this.n) {
      this.grams.set(this.words.subarray(0, this.scan.words));
      this.n = 1;
      this.count();
    }
    while (this.n < n) this.lengthen();
    const number = this.scan.words - n + 1;
    const { counts } = this;
    let top = 0;
    for (let i = 1; i < number; i++) if ((counts[i] as number) > (counts[top] as number)) top = i;
    const { pointsBefore } = this.scan;
    return ((pointsBefore[top + n] as number) - (pointsBefore[top] as number) + n - 1) * (counts[top] as number);
  }

  /** How often each n-gram is there. */
  private count(): void {
    const { grams, counts } = this;
    const number = this.scan.words - this.n + 1;
    counts.fill(0, 0, number);
    for (let i = 0; i < number; i++) counts[grams[i] as number] = (counts[grams[i] as number] as number) + 1;
  }

  private nameWords(): void {
    const { words, grams, scan } = this;
    const { joined, joinedAt, hashes } = scan;
    const { table, mask } = emptySlots(scan.words);
    for (let i = 0; i < scan.words; i++) {
      const hash = hashes[i] as number;
      const start = joinedAt[i] as number;
      const length = (joinedAt[i + 1] as number) - start;
      let slot = mixed(hash) & mask;
      let name = i;
      for (;;) {
        const other = (table[slot] as number) - 1;
        if (other < 0) {
          table[slot] = i + 1;
          break;
        }
        if (hashes[other] === hash) {
          const from = joinedAt[other] as number;
          let k = (joinedAt[other + 1] as number) - from === length ? 0 : length + 1;
          while (k < length && joined[start + k] === joined[from + k]) k++;
          if (k === length) {
            name = other;
            break;
          }
        }
        slot = (slot + 1) & mask;
      }
      words[i] = name;
      grams[i] = name;
    }
  }

  /** From n-grams to (n + 1)-grams. */
  private lengthen(): void {
    const { words, grams, longer, counts, n } = this;
    const count = this.scan.words - n;
    const { table, mask } = emptySlots(count);
    for (let i = 0; i < count; i++) {
      const gram = grams[i] as number;
      // What begins with an n-gram that is there once is there once.
      if (counts[gram] === 1) {
        longer[i] = i;
        continue;
      }
      const word = words[i + n] as number;
      let slot = mixed((Math.imul(gram, 0x9e3779b1) + word) | 0) & mask;
      let name = i;
      for (;;) {
        const other = (table[slot] as number) - 1;
        if (other < 0) {
          table[slot] = i + 1;
          break;
        }
        if (grams[other] === gram && words[other + n] === word) {
          name = other;
          break;
        }
        slot = (slot + 1) & mask;
      }
      longer[i] = name;
    }
    this.grams = longer;
    this.longer = grams;
    this.n++;
    this.count();
  }
}

/** Joined units by whose hash pieces are told apart at first. */
const prefixUnits = 16;
let prefixCounts = new Uint8Array(1 << 12);

/**
 * Marks words at which an n-gram may begin that is there more than once: where no other word begins with the same units,
 * no n-gram of so many units can. Returns the marks; they may be too many, never too few.
 */
function markRepeats(scan: TextScan): Uint8Array {
  const { joinedAt, words } = scan;
  const size = slotsFor(words * 4);
  if (prefixCounts.length < size) prefixCounts = new Uint8Array(size);
  else prefixCounts.fill(0, 0, size);
  const marks = marksFor(words);
  const last = (joinedAt[words] as number) - prefixUnits;
  const hashes = roomFor('longer', words);
  for (let i = 0; i < words; i++) {
    const start = joinedAt[i] as number;
    if (start > last) break;
    const slot = mixed(scan.windowHash(start, start + prefixUnits)) & (size - 1);
    hashes[i] = slot;
    if ((prefixCounts[slot] as number) < 2) prefixCounts[slot] = (prefixCounts[slot] as number) + 1;
  }
  for (let i = 0; i < words; i++) {
    marks[i] = (joinedAt[i] as number) > last || (prefixCounts[hashes[i] as number] as number) > 1 ? 1 : 0;
  }
  return marks;
}

let marksRoom = new Uint8Array(1 << 12);

function marksFor(length: number): Uint8Array {
  if (marksRoom.length < length) marksRoom = new Uint8Array(length * 2);
  return marksRoom;
}

/** Characters of the n-grams that were there before, from left to right, none overlapping one that was counted. */
function duplicatePoints(scan: TextScan, n: number, mayRepeat: Uint8Array): number {
  const { joined, joinedAt, pointsBefore } = scan;
  const last = scan.words - n;
  seen.clear();
  let points = 0;
  for (let i = 0; i <= last; ) {
    const start = joinedAt[i] as number;
    const end = joinedAt[i + n] as number;
    if (mayRepeat[i] === 0 && end - start >= prefixUnits) {
      i++;
    } else if (seen.hasHashed(joined, start, end, mixed(scan.windowHash(start, end)))) {
      points += (pointsBefore[i + n] as number) - (pointsBefore[i] as number);
      i += n;
    } else i++;
  }
  return points;
}

export const definition = defineStep({
  name: 'gopher-repetition',
  brief: 'repeated lines, paragraphs and n-grams, as Gopher',
  settings,
  make(settings) {
    const limitsOf = settingsFor(settings);
    return {
      name: 'gopher-repetition',
      run(document) {
        const reason = gopherRepetition(document.text, limitsOf(document.language));
        return reason === undefined ? { keep: document } : { drop: { reason } };
      },
    };
  },
});
