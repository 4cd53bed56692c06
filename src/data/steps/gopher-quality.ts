// Gopher's quality rules: length, word lengths, symbols, bullets, ellipses, letters and stop words of a document.
//
// Rules and thresholds: Rae et al. 2021 (arXiv 2112.11446), table A1 and section A.1; their order, and what counts as a
// word that is none, as in huggingface/datatrove (gopher_quality_filter.py), whose verdicts test/golden/filters.json
// holds. The words are those of text-scan.ts. A document without words is `too-few-words` whatever the thresholds are
// (datatrove divides by zero where the minimum is off).
//
// Does not: change a document.
import { z } from 'zod';
import { defineStep } from '../step.ts';
import { classes, isLineEnd, isSpace } from './characters.ts';
import { settingsFor } from './per-language.ts';
import { scanOf, type TextScan, wordHash } from './text-scan.ts';

/** `null` turns a rule off. */
const number = z.number().nullable();
const words = z.array(z.string());
/** Rae et al. 2021, section A.1. */
const gopherStopWords = ['the', 'be', 'to', 'of', 'and', 'that', 'have', 'with'];

export const settings = z.strictObject({
  // The values are those of the paper.
  minWords: number.default(50),
  maxWords: number.default(100_000),
  minMeanWordLength: number.default(3),
  maxMeanWordLength: number.default(10),
  /** Of "#", and of ellipses. */
  maxSymbolsPerWord: number.default(0.1),
  maxBulletLines: number.default(0.9),
  maxEllipsisLines: number.default(0.3),
  minLetterWords: number.default(0.8),
  minStopWords: number.default(2),
  stopWords: words.default(gopherStopWords),
  byLanguage: z
    .record(
      z.string(),
      z
        .strictObject({
          minWords: number,
          maxWords: number,
          minMeanWordLength: number,
          maxMeanWordLength: number,
          maxSymbolsPerWord: number,
          maxBulletLines: number,
          maxEllipsisLines: number,
          minLetterWords: number,
          minStopWords: number,
          stopWords: words,
        })
        .partial(),
    )
    .default({}),
});
export type GopherQualitySettings = z.output<typeof settings>;

/** Why a text is dropped, or undefined. */
export function gopherQuality(text: string, limits: GopherQualitySettings): string | undefined {
  const scan = scanOf(text).findWords();
  const over = (value: number, limit: number | null): boolean => limit !== null && value > limit;
  const under = (value: number, limit: number | null): boolean => limit !== null && value < limit;
  if (scan.properWords === 0 || under(scan.properWords, limits.minWords)) return 'too-few-words';
  if (over(scan.properWords, limits.maxWords)) return 'too-many-words';
  const meanLength = scan.properPoints / scan.properWords;
  if (under(meanLength, limits.minMeanWordLength)) return 'words-too-short';
  if (over(meanLength, limits.maxMeanWordLength)) return 'words-too-long';
  const found = countSymbols(scan);
  if (over(found.hashes / scan.words, limits.maxSymbolsPerWord)) return 'too-many-hashes';
  if (over(found.ellipses / scan.words, limits.maxSymbolsPerWord)) return 'too-many-ellipses';
  const lines = countLines(scan);
  if (over(lines.bullets / lines.all, limits.maxBulletLines)) return 'too-many-bullet-lines';
  if (over(lines.ellipses / lines.all, limits.maxEllipsisLines)) return 'too-many-ellipsis-lines';
  if (under(scan.letterWords / scan.words, limits.minLetterWords)) return 'too-few-words-with-letters';
  if (limits.minStopWords !== null && !hasStopWords(scan, limits.stopWords, limits.minStopWords)) {
    return 'too-few-stop-words';
  }
  return undefined;
}

const dot = 0x2e;
const ellipsis = 0x2026;

/** "#"; "..." without overlap, and "…". */
function countSymbols({ codes, length }: TextScan): { readonly hashes: number; readonly ellipses: number } {
  let hashes = 0;
  let ellipses = 0;
  let dots = 0;
  for (let i = 0; i < length; i++) {
    const code = codes[i] as number;
    if (code === dot) {
      if (++dots === 3) {
        ellipses++;
        dots = 0;
      }
      continue;
    }
    dots = 0;
    if (code === 0x23) hashes++;
    else if (code === ellipsis) ellipses++;
  }
  return { hashes, ellipses };
}

interface LineCounts {
  readonly all: number;
  /** That begin with "•" or "-", white space aside. */
  readonly bullets: number;
  /** That end in an ellipsis, white space aside. */
  readonly ellipses: number;
}

function countLines({ codes, length }: TextScan): LineCounts {
  let all = 0;
  let bullets = 0;
  let ellipses = 0;
  for (let start = 0; start < length; ) {
    let end = start;
    while (end < length && !((classes[codes[end] as number] as number) & isLineEnd)) end++;
    all++;
    let first = start;
    while (first < end && (classes[codes[first] as number] as number) & isSpace) first++;
    let last = end - 1;
    while (last > first && (classes[codes[last] as number] as number) & isSpace) last--;
    if (first < end) {
      if (codes[first] === 0x2022 || codes[first] === 0x2d) bullets++;
      const isDotted = last - first >= 2 && codes[last] === dot && codes[last - 1] === dot && codes[last - 2] === dot;
      if (isDotted || codes[last] === ellipsis) ellipses++;
    }
    start = end + (codes[end] === 0x0d && end + 1 < length && codes[end + 1] === 0x0a ? 2 : 1);
  }
  return { all, bullets, ellipses };
}

/** Stop words by hash; a bit per low byte of a hash says quickly that a word is none. */
interface StopWords {
  readonly byHash: ReadonlyMap<number, readonly string[]>;
  readonly lowBytes: Uint8Array;
}
const stopWordTables = new WeakMap<readonly string[], StopWords>();

function stopWordsOf(list: readonly string[]): StopWords {
  let table = stopWordTables.get(list);
  if (!table) {
    const byHash = new Map<number, string[]>();
    const lowBytes = new Uint8Array(256);
    for (const word of new Set(list)) {
      const hash = wordHash(word);
      byHash.set(hash, [...(byHash.get(hash) ?? []), word]);
      lowBytes[hash & 255] = 1;
    }
    table = { byHash, lowBytes };
    stopWordTables.set(list, table);
  }
  return table;
}

/** Whether at least `needed` different stop words occur, as they are written. */
function hasStopWords(scan: TextScan, list: readonly string[], needed: number): boolean {
  if (needed <= 0) return true;
  const { byHash, lowBytes } = stopWordsOf(list);
  const seen = new Set<string>();
  for (let i = 0; i < scan.words; i++) {
    const hash = scan.hashes[i] as number;
    if (lowBytes[hash & 255] === 0) continue;
    const candidates = byHash.get(hash);
    if (!candidates) continue;
    const word = scan.word(i);
    if (candidates.includes(word) && seen.add(word).size >= needed) return true;
  }
  return false;
}

export const definition = defineStep({
  name: 'gopher-quality',
  brief: 'length, words, symbols, bullets and stop words, as Gopher',
  settings,
  make(settings) {
    const limitsOf = settingsFor(settings);
    return {
      name: 'gopher-quality',
      run(document) {
        const reason = gopherQuality(document.text, limitsOf(document.language));
        return reason === undefined ? { keep: document } : { drop: { reason } };
      },
    };
  },
});
