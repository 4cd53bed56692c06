// Training of byte-level BPE: which pairs to join, most frequent first.
//
// The result depends on the documents alone. Ties go to the lower left id, then to the lower right id, which is the
// rule of Hugging Face tokenizers, so both train the same merges. Counting is incremental: a merge touches only the
// words that hold its pair, found through a list of words per pair, and a heap gives the next pair.
//
// Does not: write files; tokenizer-files.ts does.
import { UserError } from '../base/errors.ts';
import { amount, type Log } from '../base/progress.ts';
import { bytesInAlphabetOrder } from './byte-level.ts';
import { PairTable } from './pair-table.ts';
import { apertusPattern, preTokenizerOf } from './pre-tokenizer.ts';
import { personalDataMarkers, reservedTokens } from './special-tokens.ts';

/** A trained vocabulary. Ids: 0-72 reserved, 73-328 the bytes, then the merges in order. */
export interface TrainedVocabulary {
  /** [vocabularySize] bytes of each token; the reserved ones as UTF-8. */
  readonly tokens: readonly Uint8Array[];
  /** [merges][left, right] ids, first merge first. */
  readonly merges: readonly (readonly [number, number])[];
}

/** Trains on an iterable of texts up to `vocabularySize` entries. */
export async function trainBpe(
  texts: AsyncIterable<string> | Iterable<string>,
  vocabularySize: number,
  log: Log,
): Promise<TrainedVocabulary> {
  const smallest = reservedTokens.length + 256;
  if (vocabularySize < smallest) {
    throw new UserError('the vocabulary is too small', {
      found: `vocabularySize ${vocabularySize}`,
      expected: `at least ${smallest}: ${reservedTokens.length} reserved ids and 256 bytes`,
    });
  }
  const counts = await countWords(texts, log);
  return learnMerges(counts, vocabularySize, log);
}

/** How often each piece occurs. Tokens that text always matches whole are left out: no merge inside them is used. */
async function countWords(texts: AsyncIterable<string> | Iterable<string>, log: Log): Promise<Map<string, number>> {
  const preTokenize = preTokenizerOf(apertusPattern);
  const counts = new Map<string, number>();
  const matchedWhole = [...personalDataMarkers, ...reservedTokens.filter((t) => !t.special).map((t) => t.content)];
  const cut = new RegExp(matchedWhole.map((content) => content.replace(/[\\{]/g, '\\$&')).join('|'));
  const progress = log.progress('counting words', 0, 'B');
  let read = 0;
  for await (const text of texts) {
    for (const part of text.split(cut)) {
      preTokenize(part, (start, end) => {
        const word = part.slice(start, end);
        const count = counts.get(word);
        if (count !== undefined) counts.set(word, count + 1);
        // A slice keeps the whole document alive; the map keeps a copy.
        else counts.set(Buffer.from(word, 'utf16le').toString('utf16le'), 1);
      });
    }
    read += text.length;
    progress.update(read);
  }
  progress.finish(`${amount(counts.size)} distinct words in ${amount(read)} characters`);
  return counts;
}

function learnMerges(wordCounts: ReadonlyMap<string, number>, vocabularySize: number, log: Log): TrainedVocabulary {
  const firstByte = reservedTokens.length;
  const idOfByte = new Int32Array(256);
  const tokens: Uint8Array[] = reservedTokens.map(({ content }) => Buffer.from(content, 'utf8'));
  bytesInAlphabetOrder.forEach((byte, i) => {
    idOfByte[byte] = firstByte + i;
    tokens.push(Uint8Array.of(byte));
  });
  // Two merges can make the same bytes; the second one reuses the id of the first.
  const idOfBytes = new Map<string, number>();
  for (let id = firstByte; id < tokens.length; id++) idOfBytes.set(latin1(tokens[id] as Uint8Array), id);

  // All words in one array; merging shortens a word in place.
  let total = 0;
  for (const word of wordCounts.keys()) total += Buffer.byteLength(word, 'utf8');
  const symbols = new Int32Array(total);
  const starts = new Int32Array(wordCounts.size);
  const lengths = new Int32Array(wordCounts.size);
  const weights = new Float64Array(wordCounts.size);

  // Pairs are numbered as they first occur.
  const pairOf = new PairTable(1 << 16);
  const lefts: number[] = [];
  const rights: number[] = [];
  const counts: number[] = [];
  /** Words that hold the pair, or once held it. */
  const wordsOf: number[][] = [];
  const pairNumber = (left: number, right: number): number => {
    let pair = pairOf.get(left, right);
    if (pair < 0) {
      pair = lefts.length;
      pairOf.set(left, right, pair);
      lefts.push(left);
      rights.push(right);
      counts.push(0);
      wordsOf.push([]);
    }
    return pair;
  };

  let at = 0;
  let w = 0;
  for (const [word, count] of wordCounts) {
    const bytes = Buffer.from(word, 'utf8');
    starts[w] = at;
    lengths[w] = bytes.length;
    weights[w] = count;
    for (let i = 0; i < bytes.length; i++) {
      symbols[at + i] = idOfByte[bytes[i] as number] as number;
      if (i === 0) continue;
      const pair = pairNumber(symbols[at + i - 1] as number, symbols[at + i] as number);
      counts[pair] = (counts[pair] as number) + count;
      const words = wordsOf[pair] as number[];
      if (words[words.length - 1] !== w) words.push(w);
    }
    at += bytes.length;
    w++;
  }

  const heap = new PairHeap(lefts, rights);
  for (let pair = 0; pair < lefts.length; pair++) heap.push(pair, counts[pair] as number);

  const merges: [number, number][] = [];
  const touched: number[] = [];
  const isTouched: boolean[] = [];
  const progress = log.progress('learning merges', vocabularySize, 'tokens');
  while (tokens.length < vocabularySize) {
    const entry = heap.pop();
    if (!entry || entry.count < 1) {
      throw new UserError('the documents are too few for this vocabulary', {
        found: `${tokens.length} tokens until no pair was left`,
        expected: `tokenizer.vocabularySize ${vocabularySize}`,
        next: `use more documents or set tokenizer.vocabularySize to ${tokens.length} or less`,
      });
    }
    const { pair } = entry;
    if (counts[pair] !== entry.count) {
      if ((counts[pair] as number) > 0) heap.push(pair, counts[pair] as number);
      continue;
    }
    const left = lefts[pair] as number;
    const right = rights[pair] as number;
    const bytes = Buffer.concat([tokens[left] as Uint8Array, tokens[right] as Uint8Array]);
    let made = idOfBytes.get(latin1(bytes));
    if (made === undefined) {
      made = tokens.length;
      tokens.push(bytes);
      idOfBytes.set(latin1(bytes), made);
    }
    merges.push([left, right]);

    touched.length = 0;
    const change = (pairLeft: number, pairRight: number, by: number, word: number): void => {
      const changed = pairNumber(pairLeft, pairRight);
      counts[changed] = (counts[changed] as number) + by;
      if (by <= 0) return;
      const words = wordsOf[changed] as number[];
      if (words[words.length - 1] !== word) words.push(word);
      if (!isTouched[changed]) {
        isTouched[changed] = true;
        touched.push(changed);
      }
    };
    const words = wordsOf[pair] as number[];
    wordsOf[pair] = [];
    for (const word of words) {
      const start = starts[word] as number;
      const length = lengths[word] as number;
      const weight = weights[word] as number;
      let kept = 0;
      for (let i = 0; i < length; i++) {
        const symbol = symbols[start + i] as number;
        if (symbol !== left || i + 1 >= length || symbols[start + i + 1] !== right) {
          symbols[start + kept++] = symbol;
          continue;
        }
        if (kept > 0) {
          const before = symbols[start + kept - 1] as number;
          change(before, left, -weight, word);
          change(before, made, weight, word);
        }
        if (i + 2 < length) {
          const after = symbols[start + i + 2] as number;
          change(right, after, -weight, word);
          change(made, after, weight, word);
        }
        symbols[start + kept++] = made;
        i++;
      }
      lengths[word] = kept;
    }
    counts[pair] = 0;
    for (const changed of touched) {
      isTouched[changed] = false;
      if ((counts[changed] as number) > 0) heap.push(changed, counts[changed] as number);
    }
    progress.update(tokens.length);
  }
  progress.finish(`${tokens.length} tokens`);
  return { tokens, merges };
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

/** A heap of pairs: highest count first, then lowest left id, then lowest right id. Entries may be out of date. */
class PairHeap {
  private readonly lefts: readonly number[];
  private readonly rights: readonly number[];
  private readonly pairs: number[] = [];
  private readonly counts: number[] = [];

  constructor(lefts: readonly number[], rights: readonly number[]) {
    this.lefts = lefts;
    this.rights = rights;
  }

  push(pair: number, count: number): void {
    const { pairs, counts } = this;
    let hole = pairs.length;
    pairs.push(pair);
    counts.push(count);
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (!this.before(pair, count, parent)) break;
      pairs[hole] = pairs[parent] as number;
      counts[hole] = counts[parent] as number;
      hole = parent;
    }
    pairs[hole] = pair;
    counts[hole] = count;
  }

  pop(): { readonly pair: number; readonly count: number } | undefined {
    const { pairs, counts } = this;
    if (pairs.length === 0) return undefined;
    const top = { pair: pairs[0] as number, count: counts[0] as number };
    const pair = pairs.pop() as number;
    const count = counts.pop() as number;
    const size = pairs.length;
    if (size === 0) return top;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= size) break;
      if (child + 1 < size && this.before(pairs[child + 1] as number, counts[child + 1] as number, child)) child++;
      if (this.before(pair, count, child)) break;
      pairs[hole] = pairs[child] as number;
      counts[hole] = counts[child] as number;
      hole = child;
    }
    pairs[hole] = pair;
    counts[hole] = count;
    return top;
  }

  /** True when (pair, count) comes before the entry at `at`. */
  private before(pair: number, count: number, at: number): boolean {
    const otherCount = this.counts[at] as number;
    if (count !== otherCount) return count > otherCount;
    const other = this.pairs[at] as number;
    const left = this.lefts[pair] as number;
    const otherLeft = this.lefts[other] as number;
    if (left !== otherLeft) return left < otherLeft;
    return (this.rights[pair] as number) < (this.rights[other] as number);
  }
}
