// Learning of merges, in TypeScript: the oracle of native/tokenizer/train-merges.cpp.
//
// Counting is incremental: a merge touches only the words that hold its pair, found through a list of words per pair, and
// a heap per language gives the next pair. Without parity lines all words are of one language.
//
// Does not: count words; train-words.ts does.
import { PairTable } from './pair-table.ts';
import type { CountedWord, CountedWords } from './train-words.ts';

/** Learns up to `most` merges: left, right and made id of each; fewer where no pair is left. */
export type MergeLearner = (most: number) => Int32Array;

/** Counts words of groups, then learns merges from them. */
export interface Training {
  /** Group 2 l is what language l is learnt from, group 2 l + 1 its parity lines. */
  add(text: string, group: number): void;
  counted(): CountedWords;
  learner(idOfByte: Int32Array, firstFree: number, units: Float64Array): MergeLearner;
  close(): void;
}

/** Of a language that is compared, pairs that occur once are no pattern of it. */
const leastOfLanguage = 2;

/**
 * A learner. `units`: what each language's tokens are divided by, 0 where it is not compared; without languages that are,
 * pairs count over all words. Even groups are learnt from, odd ones say what a language pays.
 */
export function learnedMerges(
  words: Iterable<CountedWord>,
  idOfByte: Int32Array,
  firstFree: number,
  units: Float64Array,
): MergeLearner {
  const compared = units.some((value) => value > 0);
  const languages = compared ? units.length : 1;
  const tokensOf = new Float64Array(languages);
  const exhausted = new Uint8Array(languages);

  const texts: Int32Array[] = [];
  const lengths: number[] = [];
  const languageOf: number[] = [];
  const weights: number[] = [];
  const costs: number[] = [];

  // Pairs are numbered as they first occur, and so are their cells, one for each language that has the pair.
  const pairTable = new PairTable(1 << 16);
  const cellTable = new PairTable(1 << 10);
  const lefts: number[] = [];
  const rights: number[] = [];
  /** Words that hold the pair, or once held it. */
  const wordsOf: number[][] = [];
  const counts: number[] = [];
  const pairOfCell: number[] = [];
  const languageOfCell: number[] = [];
  const heaps = Array.from({ length: languages }, () => new PairHeap(lefts, rights, pairOfCell));
  const isTouched: boolean[] = [];
  const touched: number[] = [];

  const pairNumber = (left: number, right: number): number => {
    let pair = pairTable.get(left, right);
    if (pair < 0) {
      pair = lefts.length;
      pairTable.set(left, right, pair);
      lefts.push(left);
      rights.push(right);
      wordsOf.push([]);
    }
    return pair;
  };
  const cellNumber = (pair: number, language: number): number => {
    let cell = cellTable.get(pair, language);
    if (cell < 0) {
      cell = counts.length;
      cellTable.set(pair, language, cell);
      counts.push(0);
      pairOfCell.push(pair);
      languageOfCell.push(language);
    }
    return cell;
  };
  const add = (left: number, right: number, word: number): void => {
    const pair = pairNumber(left, right);
    const list = wordsOf[pair] as number[];
    if (list[list.length - 1] !== word) list.push(word);
    const weight = weights[word] as number;
    if (weight === 0) return;
    const cell = cellNumber(pair, languageOf[word] as number);
    counts[cell] = (counts[cell] as number) + weight;
    if (isTouched[cell]) return;
    isTouched[cell] = true;
    touched.push(cell);
  };
  const remove = (left: number, right: number, word: number): void => {
    const cell = cellNumber(pairNumber(left, right), languageOf[word] as number);
    counts[cell] = (counts[cell] as number) - (weights[word] as number);
  };
  const pushTouched = (): void => {
    for (const cell of touched) {
      isTouched[cell] = false;
      const count = counts[cell] as number;
      if (count > 0) heaps[languageOfCell[cell] as number]?.push(cell, count);
    }
    touched.length = 0;
  };

  for (const { bytes, group, count } of words) {
    const word = texts.length;
    const language = compared ? group >> 1 : 0;
    const measures = compared && (group & 1) === 1;
    const symbols = Int32Array.from(bytes, (byte) => idOfByte[byte] as number);
    texts.push(symbols);
    lengths.push(symbols.length);
    languageOf.push(language);
    weights.push(measures ? 0 : count);
    costs.push(measures ? count : 0);
    tokensOf[language] = (tokensOf[language] as number) + (measures ? count * symbols.length : 0);
    for (let i = 1; i < symbols.length; i++) add(symbols[i - 1] as number, symbols[i] as number, word);
  }
  pushTouched();

  // Two merges can make the same bytes; the second one reuses the id of the first.
  const bytesOf: string[] = [];
  const idOfBytes = new Map<string, number>();
  idOfByte.forEach((id, byte) => {
    bytesOf[id] = String.fromCharCode(byte);
    idOfBytes.set(String.fromCharCode(byte), id);
  });
  let next = firstFree;

  const best = (language: number): { cell: number; count: number } | undefined => {
    const heap = heaps[language] as PairHeap;
    for (let top = heap.top(); top !== undefined; top = heap.top()) {
      const count = counts[top.cell] as number;
      if (count === top.count) return top;
      heap.pop();
      if (count > 0) heap.push(top.cell, count);
    }
    return undefined;
  };
  const choose = (): number | undefined => {
    if (!compared) return best(0)?.cell;
    for (;;) {
      let worst = -1;
      let most = -1;
      for (let language = 0; language < languages; language++) {
        if (exhausted[language] || !((units[language] as number) > 0)) continue;
        const cost = (tokensOf[language] as number) / (units[language] as number);
        if (cost <= most) continue;
        most = cost;
        worst = language;
      }
      if (worst < 0) return undefined;
      const found = best(worst);
      if (found && found.count >= leastOfLanguage) return found.cell;
      exhausted[worst] = 1;
    }
  };
  const mergeIn = (word: number, left: number, right: number, made: number): void => {
    const symbols = texts[word] as Int32Array;
    const length = lengths[word] as number;
    let kept = 0;
    for (let i = 0; i < length; i++) {
      const symbol = symbols[i] as number;
      if (symbol !== left || i + 1 >= length || symbols[i + 1] !== right) {
        symbols[kept++] = symbol;
        continue;
      }
      if (kept > 0) {
        const before = symbols[kept - 1] as number;
        remove(before, left, word);
        add(before, made, word);
      }
      if (i + 2 < length) {
        const after = symbols[i + 2] as number;
        remove(right, after, word);
        add(made, after, word);
      }
      symbols[kept++] = made;
      i++;
    }
    const language = languageOf[word] as number;
    tokensOf[language] = (tokensOf[language] as number) - (costs[word] as number) * (length - kept);
    lengths[word] = kept;
  };

  return (most) => {
    const learnt: number[] = [];
    while (learnt.length < 3 * most) {
      const cell = choose();
      if (cell === undefined) break;
      const pair = pairOfCell[cell] as number;
      const left = lefts[pair] as number;
      const right = rights[pair] as number;
      const bytes = (bytesOf[left] as string) + (bytesOf[right] as string);
      let made = idOfBytes.get(bytes);
      if (made === undefined) {
        made = next++;
        bytesOf[made] = bytes;
        idOfBytes.set(bytes, made);
      }
      learnt.push(left, right, made);
      const holders = wordsOf[pair] as number[];
      wordsOf[pair] = [];
      const met = new Set<number>();
      for (const word of holders) {
        mergeIn(word, left, right, made);
        met.add(languageOf[word] as number);
      }
      // No word holds the pair any more.
      for (const language of met) counts[cellNumber(pair, language)] = 0;
      pushTouched();
    }
    return Int32Array.from(learnt);
  };
}

/** A heap of cells: highest count first, then lowest left id, then lowest right id. Entries may be out of date. */
class PairHeap {
  private readonly lefts: readonly number[];
  private readonly rights: readonly number[];
  private readonly pairOf: readonly number[];
  private readonly cells: number[] = [];
  private readonly counts: number[] = [];

  constructor(lefts: readonly number[], rights: readonly number[], pairOf: readonly number[]) {
    this.lefts = lefts;
    this.rights = rights;
    this.pairOf = pairOf;
  }

  top(): { cell: number; count: number } | undefined {
    return this.cells.length === 0 ? undefined : { cell: this.cells[0] as number, count: this.counts[0] as number };
  }

  push(cell: number, count: number): void {
    const { cells, counts } = this;
    let hole = cells.length;
    cells.push(cell);
    counts.push(count);
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (!this.before(cell, count, parent)) break;
      cells[hole] = cells[parent] as number;
      counts[hole] = counts[parent] as number;
      hole = parent;
    }
    cells[hole] = cell;
    counts[hole] = count;
  }

  pop(): void {
    const { cells, counts } = this;
    const cell = cells.pop() as number;
    const count = counts.pop() as number;
    const size = cells.length;
    if (size === 0) return;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= size) break;
      if (child + 1 < size && this.before(cells[child + 1] as number, counts[child + 1] as number, child)) child++;
      if (this.before(cell, count, child)) break;
      cells[hole] = cells[child] as number;
      counts[hole] = counts[child] as number;
      hole = child;
    }
    cells[hole] = cell;
    counts[hole] = count;
  }

  /** True when (cell, count) comes before the entry at `at`. */
  private before(cell: number, count: number, at: number): boolean {
    const otherCount = this.counts[at] as number;
    if (count !== otherCount) return count > otherCount;
    const pair = this.pairOf[cell] as number;
    const other = this.pairOf[this.cells[at] as number] as number;
    const left = this.lefts[pair] as number;
    const otherLeft = this.lefts[other] as number;
    if (left !== otherLeft) return left < otherLeft;
    return (this.rights[pair] as number) < (this.rights[other] as number);
  }
}
