// Trains a text classifier as fastText does (Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification"):
// softmax regression on the mean of the rows of words, character n-grams and word n-grams.
//
// The defaults are those of the original's `supervised`. Lines are shuffled in every epoch, where the original takes them
// as they come. One thread trains one model, so the same lines in the same order, settings and seed give the same bytes;
// several models at once are several processes. Texts are held as numbers of their tokens, 4 bytes each.
//
// Does not: read files, or judge the model (evaluate.ts).
import { z } from 'zod';
import { UserError } from '../../base/errors.ts';
import type { NativeModule } from '../../base/native.ts';
import type { Log } from '../../base/progress.ts';
import { Random } from '../../base/rng.ts';
import { losses } from './model.ts';
import { eachToken, type Hashing, Ngrams } from './ngrams.ts';
import { type Lines, trainLoop } from './train-loop.ts';
import { WordTable } from './words.ts';
import type { Classifier } from './write.ts';

const count = (least: number, most = 2 ** 31 - 1) => z.number().int().min(least).max(most);

export const trainSettings = z
  .strictObject({
    /** Numbers in a vector. */
    dim: count(1, 4096).default(100),
    /** Times that every text is seen. */
    epoch: count(1).default(5),
    /** Learning rate at the start; it falls to 0. */
    lr: z.number().positive().default(0.1),
    /** Longest run of words that has a row. */
    wordNgrams: count(1, 16).default(1),
    /** Characters of the shortest and the longest n-gram within a word; 0: none. */
    minn: count(0, 64).default(0),
    maxn: count(0, 64).default(0),
    /** Rows that n-grams share. */
    bucket: count(1).default(2_000_000),
    /** Rarer words have no row of their own. */
    minCount: count(1).default(1),
    seed: count(0).default(28),
  })
  .refine(({ minn, maxn }) => maxn === 0 || (minn >= 1 && minn <= maxn), 'minn must be from 1 to maxn');

export type TrainSettings = z.output<typeof trainSettings>;

const encoder = new TextEncoder();

/** Collects labelled lines, then trains on them. */
export class ClassifierTrainer {
  private readonly settings: TrainSettings;
  private readonly types = new WordTable();
  private readonly none = new WordTable();
  private readonly counts = new Numbers();
  private readonly tokens = new Numbers();
  private readonly lineStarts = new Numbers();
  private readonly lineLabels = new Numbers();
  private readonly labels = new Map<string, number>();
  private readonly labelCounts: number[] = [];
  private bytes = new Uint8Array(1 << 14);

  constructor(settings: TrainSettings) {
    this.settings = settings;
    this.lineStarts.push(0);
  }

  get numLines(): number {
    return this.lineLabels.length;
  }

  /** One line; its breaks count as spaces. */
  add(text: string, label: string): void {
    if (/\s/.test(label)) throw new Error('a label has no white space');
    if (this.bytes.length < 3 * text.length) this.bytes = new Uint8Array(6 * text.length);
    const { written } = encoder.encodeInto(text, this.bytes);
    const { types, counts, tokens } = this;
    eachToken(this.bytes, written, this.none, (bytes, start, end, hash) => {
      const type = types.add(bytes, start, end, hash);
      if (type === counts.length) counts.push(0);
      counts.values[type] = (counts.values[type] as number) + 1;
      tokens.push(type);
    });
    this.lineStarts.push(tokens.length);
    const known = this.labels.get(label);
    const id = known ?? this.labels.size;
    if (known === undefined) this.labels.set(label, id);
    this.labelCounts[id] = (this.labelCounts[id] ?? 0) + 1;
    this.lineLabels.push(id);
  }

  /** Trains; the collected lines are read, not changed. */
  train(log: Log, kernels?: NativeModule | null): Classifier {
    const { dim, epoch, lr, minn, maxn, wordNgrams, minCount, seed } = this.settings;
    const bucket = maxn > 0 || wordNgrams > 1 ? this.settings.bucket : 0;
    const { ngrams, wordCounts, rowOfType } = this.vocabulary({ wordNgrams, bucket, minn, maxn });
    const { order: labelOrder, place } = descending(this.labelCounts, 1);
    const names = [...this.labels.keys()];
    const lines = this.lines(ngrams, rowOfType, place);

    const stride = 8 * Math.ceil(dim / 8);
    const numRows = ngrams.words.size + bucket;
    const fit = {
      input: new Float32Array(numRows * stride),
      output: new Float32Array(names.length * stride),
      numLabels: names.length,
      numbers: Float64Array.of(lr, 0, epoch * this.tokens.length, 0),
    };
    const random = new Random(seed, 'classifier', 'rows');
    for (let row = 0; row < numRows; row++) {
      for (let i = 0; i < dim; i++) fit.input[row * stride + i] = (random.bits() / 2 ** 31 - 1) / dim;
    }
    const run = trainLoop(kernels);
    const order = Int32Array.from({ length: this.numLines }, (_, i) => i);
    const progress = log.progress('training', epoch * this.numLines, 'lines');
    for (let e = 0; e < epoch; e++) {
      shuffle(order, new Random(seed, 'classifier', 'epoch', e));
      fit.numbers[3] = 0;
      for (let at = 0; at < order.length; at += linesAtOnce) {
        const to = Math.min(order.length, at + linesAtOnce);
        run(lines, order, at, to, fit);
        const sure = (fit.numbers[3] as number) / to;
        if (Number.isNaN(sure)) {
          throw new UserError('training left the range of numbers', { found: `lr ${lr}`, next: 'a lower lr' });
        }
        progress.update(e * order.length + to, `probability of the right label ${sure.toFixed(3)}`);
      }
    }
    progress.finish();
    return {
      ngrams,
      labels: labelOrder.map((id) => names[id] as string),
      counts: labelOrder.map((id) => this.labelCounts[id] as number),
      dimension: dim,
      loss: losses.softmax,
      input: withoutPadding(fit.input, stride, dim),
      output: withoutPadding(fit.output, stride, dim),
      epoch,
      minCount,
      wordCounts,
      numTokens: this.tokens.length,
    };
  }

  /** The words with a row, the most frequent first, and the row of every type (-1: none). */
  private vocabulary(hashing: Hashing): {
    readonly ngrams: Ngrams;
    readonly wordCounts: readonly number[];
    readonly rowOfType: Int32Array;
  } {
    const { types, counts } = this;
    const { order, place } = descending(counts.array(), this.settings.minCount);
    const words = new WordTable();
    for (const type of order) {
      const word = types.word(type);
      words.add(word, 0, word.length, types.hashes[type] as number);
    }
    const wordCounts = order.map((type) => counts.values[type] as number);
    return { ngrams: new Ngrams(words, hashing), wordCounts, rowOfType: place };
  }

  private lines(ngrams: Ngrams, rowOfType: Int32Array, labelPlace: Int32Array): Lines {
    const { types } = this;
    const rowStarts = new Int32Array(types.size + 1);
    const tokenRows = new Numbers();
    const rows: number[] = [];
    for (let type = 0; type < types.size; type++) {
      const word = types.word(type);
      rows.length = 0;
      ngrams.addToken(rows, word, 0, word.length, rowOfType[type] as number);
      for (const row of rows) tokenRows.push(row);
      rowStarts[type + 1] = tokenRows.length;
    }
    return {
      lineStarts: this.lineStarts.array(),
      tokens: this.tokens.array(),
      labels: this.lineLabels.array().map((label) => labelPlace[label] as number),
      rowStarts,
      tokenRows: tokenRows.array(),
      hashes: types.hashes.subarray(0, types.size),
      shape: Int32Array.of(ngrams.words.size, ngrams.hashing.bucket, ngrams.hashing.wordNgrams),
    };
  }
}

/** Between two looks at the progress. */
const linesAtOnce = 1024;

/** Things that occur at least `least` times, the most frequent first and equal ones as they came; and their places (-1: none). */
function descending(
  counts: ArrayLike<number>,
  least: number,
): { readonly order: number[]; readonly place: Int32Array } {
  const order: number[] = [];
  for (let i = 0; i < counts.length; i++) if ((counts[i] as number) >= least) order.push(i);
  order.sort((a, b) => (counts[b] as number) - (counts[a] as number) || a - b);
  const place = new Int32Array(counts.length).fill(-1);
  for (const [at, i] of order.entries()) place[i] = at;
  return { order, place };
}

function shuffle(items: Int32Array, random: Random): void {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    const swapped = items[i] as number;
    items[i] = items[j] as number;
    items[j] = swapped;
  }
}

/** Rows moved together, in place. */
function withoutPadding(rows: Float32Array, stride: number, dim: number): Float32Array {
  const numRows = rows.length / stride;
  if (stride !== dim)
    for (let row = 1; row < numRows; row++) rows.copyWithin(row * dim, row * stride, row * stride + dim);
  return rows.subarray(0, numRows * dim);
}

/** Whole numbers of 32 bits, as many as come. */
class Numbers {
  length = 0;
  values = new Int32Array(1024);

  push(value: number): void {
    if (this.length === this.values.length) {
      const wider = new Int32Array(2 * this.values.length);
      wider.set(this.values);
      this.values = wider;
    }
    this.values[this.length++] = value;
  }

  array(): Int32Array {
    return this.values.subarray(0, this.length);
  }
}
