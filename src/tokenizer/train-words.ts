// How often words occur, in TypeScript: the oracle of native/tokenizer/train-words.cpp, which says what differs: this one
// holds the counts of all words in memory until it leaves some out.
//
// Does not: learn merges; train-merges.ts does.
import { apertusPattern, preTokenizerOf } from './pre-tokenizer.ts';

export interface CountedWords {
  /** Distinct words. */
  readonly met: number;
  /** Those that do not fit into memory. */
  readonly leftOut: number;
  /** The least count of those that do. */
  readonly least: number;
}

/** A word of a group (train.ts). */
export interface CountedWord {
  readonly bytes: Uint8Array;
  readonly group: number;
  readonly count: number;
}

/** What a word costs while merges are learnt. */
const bytesPerByte = 24;
const bytesPerWord = 48;

export class WordCounts {
  private readonly memoryBytes: number;
  private readonly groups = new Map<number, Map<string, number>>();
  private readonly preTokenize = preTokenizerOf(apertusPattern);
  private readonly cut: RegExp;
  private least = 1;
  private fits = true;

  constructor(memoryBytes: number, matchedWhole: readonly string[]) {
    this.memoryBytes = memoryBytes;
    this.cut = new RegExp(matchedWhole.map((content) => content.replace(/[\\{]/g, '\\$&')).join('|'));
  }

  add(text: string, group: number): void {
    let counts = this.groups.get(group);
    if (!counts) this.groups.set(group, (counts = new Map()));
    for (const part of text.split(this.cut)) {
      this.preTokenize(part, (start, end) => {
        const word = part.slice(start, end);
        const count = counts.get(word);
        if (count !== undefined) counts.set(word, count + 1);
        // A slice keeps the whole document alive; the map keeps a copy.
        else counts.set(Buffer.from(word, 'utf16le').toString('utf16le'), 1);
      });
    }
  }

  /** Ends counting and decides which words are kept. */
  counted(): CountedWords {
    const needs = new Map<number, { words: number; bytes: number }>();
    for (const counts of this.groups.values()) {
      for (const [word, count] of counts) {
        const need = needs.get(count) ?? { words: 0, bytes: 0 };
        need.words++;
        need.bytes += Buffer.byteLength(word, 'utf8');
        needs.set(count, need);
      }
    }
    let room = this.memoryBytes;
    let met = 0;
    let leftOut = 0;
    let fits = true;
    for (const [count, { words, bytes }] of [...needs].sort(([a], [b]) => b - a)) {
      const needed = bytesPerByte * bytes + bytesPerWord * words;
      met += words;
      fits = fits && needed <= room;
      if (!fits) {
        leftOut += words;
        continue;
      }
      room -= needed;
      this.least = count;
    }
    this.fits = leftOut < met;
    return { met, leftOut, least: this.least };
  }

  *words(): Generator<CountedWord> {
    if (!this.fits) return;
    for (const [group, counts] of this.groups) {
      for (const [word, count] of counts) {
        if (count >= this.least) yield { bytes: Buffer.from(word, 'utf8'), group, count };
      }
    }
  }
}
