// Reads fastText models (.bin and quantised .ftz, format version 12) and classifies text with them.
//
// The layout and the arithmetic follow facebookresearch/fastText (MIT): byte n-grams by FNV-1a hash, the mean of
// their rows, product-quantised matrices, and softmax or the Huffman tree of hierarchical softmax. Quantised rows are
// unpacked once. Checked against the authors' own code, compiled to wasm (language-id.test.ts) and Debian's
// (train.test.ts).
//
// Does not: train (train.ts) or write (write.ts), and reads supervised models only.
import { readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { UserError } from '../../base/errors.ts';
import type { NativeModule } from '../../base/native.ts';
import { type Hashing, labelPrefix, Ngrams } from './ngrams.ts';
import { TextVectors } from './vectors.ts';
import { fnv, WordTable } from './words.ts';

/** FASTTEXT_FILEFORMAT_MAGIC_INT32 */
export const magic = 793712314;
export const fileVersion = 12;
/** loss_name of args.h */
export const losses = { hierarchicalSoftmax: 1, negativeSampling: 2, softmax: 3, oneAgainstAll: 4 } as const;
/** model_name of args.h */
export const supervised = 3;

export interface Prediction {
  /** Without the prefix `__label__`. */
  readonly label: string;
  readonly probability: number;
}

export interface FastTextModel {
  readonly labels: readonly string[];
  /** Numbers in a vector. */
  readonly dimension: number;
  /** The mean of the rows of one line of text: zeros where it has none. */
  vector(text: string): Float32Array;
  /** The `count` most probable labels of one line of text (line breaks count as spaces). */
  predict(text: string, count?: number): Prediction[];
  /** Probabilities of all labels, in their order; false where the text has no row. */
  probabilities(text: string, into: Float64Array): boolean;
}

/** What a model is made of. */
export interface Weights {
  readonly ngrams: Ngrams;
  readonly labels: readonly string[];
  /** How often each label occurred. */
  readonly counts: readonly number[];
  readonly dimension: number;
  readonly loss: number;
  /** Rows of words and n-grams. */
  readonly input: Float32Array;
  /** Rows of labels, or of the inner nodes of their tree. */
  readonly output: Float32Array;
}

/** Loads a model; throws when the file is none. */
export function readFastTextModel(path: string, kernels?: NativeModule | null): FastTextModel {
  return modelOf(readWeights(path), kernels);
}

function readWeights(path: string): Weights {
  const input = new Input(readFileSync(path));
  if (input.int32() !== magic) throw new UserError(`${path} is not a fastText model`);
  const version = input.int32();
  if (version !== fileVersion)
    throw new UserError(`${path}: version ${version} of the format, ${fileVersion} is known`);
  const dimension = input.int32();
  input.skip(4 * 4); // ws, epoch, minCount, neg
  const wordNgrams = input.int32();
  const loss = input.int32();
  const kind = input.int32();
  const bucket = input.int32();
  const minn = input.int32();
  const maxn = input.int32();
  input.skip(4 + 8); // lrUpdateRate, t
  if (kind !== supervised) throw new UserError(`${path} holds word vectors, not a classifier`);
  if (!Object.values<number>(losses).includes(loss) || loss === losses.negativeSampling)
    throw new UserError(`${path}: loss ${loss} cannot be predicted from`);
  if (dimension < 1 || bucket < 0 || (bucket === 0 && (maxn > 0 || wordNgrams > 1)))
    throw new UserError(`${path}: dimension ${dimension} and bucket ${bucket} make no classifier`);
  const { labels, counts, ngrams } = readDictionary(input, { wordNgrams, bucket, minn, maxn });
  const quantised = input.bool();
  const rows = quantised ? quantisedMatrix(input) : denseMatrix(input);
  const output = input.bool() && quantised ? quantisedMatrix(input) : denseMatrix(input);
  const { pruned, words } = ngrams;
  let needed = words.size + (pruned ? 0 : bucket);
  for (const row of pruned?.values() ?? []) needed = Math.max(needed, words.size + row + 1);
  if (rows.length < needed * dimension || output.length < labels.length * dimension)
    throw new UserError(`${path}: its matrices are smaller than its dictionary`);
  return { ngrams, labels, counts, dimension, loss, input: rows, output };
}

/** A model to predict with. */
export function modelOf(weights: Weights, kernels?: NativeModule | null): FastTextModel {
  const { labels, dimension, output, loss } = weights;
  const vectors = new TextVectors(weights.ngrams, weights.input, dimension, kernels);
  const tree = loss === losses.hierarchicalSoftmax ? buildTree(weights.counts) : undefined;
  const hidden = new Float32Array(dimension);
  const scores = new Float64Array(labels.length);
  const score = tree
    ? () => treeScores(tree, output, hidden, scores)
    : () => flatScores(output, hidden, scores, loss === losses.oneAgainstAll);
  return {
    labels,
    dimension,
    vector(text) {
      const into = new Float32Array(dimension);
      vectors.mean(text, into);
      return into;
    },
    predict(text, count = 1) {
      if (!vectors.mean(text, hidden)) return [];
      const prediction = (id: number): Prediction => ({
        label: labels[id] as string,
        probability: scores[id] as number,
      });
      if (count === 1) {
        if (tree) return [prediction(bestLeaf(tree, output, hidden, scores))];
        score();
        return [prediction(scores.indexOf(scores.reduce((a, b) => Math.max(a, b), -Infinity)))];
      }
      score();
      return [...scores.keys()]
        .sort((a, b) => (scores[b] as number) - (scores[a] as number))
        .slice(0, count)
        .map(prediction);
    },
    probabilities(text, into) {
      if (!vectors.mean(text, hidden)) return false;
      score();
      into.set(scores);
      return true;
    },
  };
}

/** Words and labels of a model file, and the numbers of the rows that the file left out. */
function readDictionary(
  input: Input,
  hashing: Hashing,
): { readonly labels: string[]; readonly counts: number[]; readonly ngrams: Ngrams } {
  const size = input.int32();
  input.skip(4 + 4 + 8); // numbers of words, labels and tokens
  const numPruned = input.int64();
  const words = new WordTable();
  const labels: string[] = [];
  const counts: number[] = [];
  for (let i = 0; i < size; i++) {
    const word = input.word();
    const count = input.int64();
    if (input.byte() === 0) {
      words.add(word, 0, word.length, fnv(word, 0, word.length));
      continue;
    }
    const label = word.toString('utf8');
    labels.push(label.startsWith(labelPrefix) ? label.slice(labelPrefix.length) : label);
    counts.push(count);
  }
  const pruned = numPruned >= 0 ? new Map<number, number>() : undefined;
  for (let i = 0; i < numPruned; i++) {
    const from = input.int32();
    pruned?.set(from, input.int32());
  }
  return { labels, counts, ngrams: new Ngrams(words, hashing, pruned) };
}

/** Little-endian fields one after the other. */
class Input {
  private readonly bytes: Buffer;
  private at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  int32(): number {
    this.at += 4;
    return this.bytes.readInt32LE(this.at - 4);
  }

  int64(): number {
    this.at += 8;
    return Number(this.bytes.readBigInt64LE(this.at - 8));
  }

  bool(): boolean {
    return this.bytes[this.at++] !== 0;
  }

  byte(): number {
    return this.bytes[this.at++] as number;
  }

  skip(count: number): void {
    this.at += count;
  }

  take(count: number): Buffer {
    if (count < 0 || this.at + count > this.bytes.length) throw new UserError('the fastText model is cut off');
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  floats(count: number): Float32Array {
    const bytes = this.take(4 * count);
    const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    if (!littleEndian) Buffer.from(copy).swap32();
    return new Float32Array(copy);
  }

  /** Bytes up to a zero. */
  word(): Buffer {
    const end = this.bytes.indexOf(0, this.at);
    if (end < 0) throw new UserError('the fastText model is cut off');
    const word = this.bytes.subarray(this.at, end);
    this.at = end + 1;
    return word;
  }
}

const littleEndian = endianness() === 'LE';

function denseMatrix(input: Input): Float32Array {
  const rows = input.int64();
  return input.floats(rows * input.int64());
}

/** Each row is cut into pieces, each piece is one of 256 centroids; the norm of a row may be quantised apart. */
function quantisedMatrix(input: Input): Float32Array {
  const hasNorms = input.bool();
  const rows = input.int64();
  const columns = input.int64();
  const codes = input.take(input.int32());
  const pieces = readQuantiser(input);
  if (pieces.dimension !== columns || codes.length < rows * pieces.numPieces)
    throw new UserError('the quantised matrix of the fastText model does not fit together');
  const normCodes = hasNorms ? input.take(rows) : undefined;
  const norms = hasNorms ? readQuantiser(input).centroids : undefined;
  const { numPieces, width, lastWidth, centroids } = pieces;
  const matrix = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const scale = norms && normCodes ? (norms[normCodes[row] as number] as number) : 1;
    for (let piece = 0; piece < numPieces; piece++) {
      const size = piece === numPieces - 1 ? lastWidth : width;
      const from = piece * 256 * width + (codes[numPieces * row + piece] as number) * size;
      const to = row * columns + piece * width;
      for (let i = 0; i < size; i++) matrix[to + i] = scale * (centroids[from + i] as number);
    }
  }
  return matrix;
}

interface Quantiser {
  readonly dimension: number;
  readonly numPieces: number;
  readonly width: number;
  readonly lastWidth: number;
  readonly centroids: Float32Array;
}

function readQuantiser(input: Input): Quantiser {
  const dimension = input.int32();
  const numPieces = input.int32();
  const width = input.int32();
  const lastWidth = input.int32();
  if ((numPieces - 1) * width + lastWidth !== dimension)
    throw new UserError('the quantised matrix of the fastText model does not fit together');
  return { dimension, numPieces, width, lastWidth, centroids: input.floats(dimension * 256) };
}

function dot(matrix: Float32Array, row: number, vector: Float32Array): number {
  let sum = 0;
  for (let i = 0, at = row * vector.length; i < vector.length; i++)
    sum += (matrix[at + i] as number) * (vector[i] as number);
  return sum;
}

/** The Huffman tree over label counts (descending): the first nodes are the labels, children come before their parents. */
interface Tree {
  /** By node; of labels, -1. */
  readonly left: Int32Array;
  readonly right: Int32Array;
  /** Probability of a node, in use by one text at a time. */
  readonly shares: Float64Array;
}

function buildTree(labelCounts: readonly number[]): Tree {
  const labels = labelCounts.length;
  const numNodes = 2 * labels - 1;
  const counts = Array.from({ length: numNodes }, (_, i) => labelCounts[i] ?? 1e15);
  const tree = {
    left: new Int32Array(numNodes).fill(-1),
    right: new Int32Array(numNodes).fill(-1),
    shares: new Float64Array(numNodes),
  };
  let leaf = labels - 1;
  let inner = labels;
  const least = (): number => {
    const takeLeaf = leaf >= 0 && (counts[leaf] as number) < (counts[inner] as number);
    return takeLeaf ? leaf-- : inner++;
  };
  for (let i = labels; i < numNodes; i++) {
    const [left, right] = [least(), least()];
    tree.left[i] = left;
    tree.right[i] = right;
    counts[i] = (counts[left] as number) + (counts[right] as number);
  }
  return tree;
}

/** fastText adds this to a probability before every logarithm; what it shows has it. */
const floor = 1e-5;

/** Each label's probability. */
function treeScores(
  { left, right, shares }: Tree,
  output: Float32Array,
  hidden: Float32Array,
  into: Float64Array,
): void {
  const labels = into.length;
  shares[shares.length - 1] = 1;
  for (let at = shares.length - 1; at >= labels; at--) {
    const own = shares[at] as number;
    const share = 1 / (1 + Math.exp(-dot(output, at - labels, hidden)));
    shares[left[at] as number] = own * (1 - share + floor);
    shares[right[at] as number] = own * (share + floor);
  }
  into.set(shares.subarray(0, labels));
}

/** The label that `treeScores` gives most, and its score; branches that cannot hold it are not walked. */
function bestLeaf(tree: Tree, output: Float32Array, hidden: Float32Array, scores: Float64Array): number {
  const best = walk(tree, output, hidden, scores.length, tree.left.length - 1, 1, -1);
  scores[best] = tree.shares[best] as number;
  return best;
}

/** The best label below a node, or `best` where none is better; its score is in `shares`. */
function walk(
  tree: Tree,
  output: Float32Array,
  hidden: Float32Array,
  labels: number,
  at: number,
  own: number,
  best: number,
): number {
  if (best >= 0 && own * maxGain < (tree.shares[best] as number)) return best;
  if (at < labels) {
    const before = best < 0 ? -1 : (tree.shares[best] as number);
    if (own < before || (own === before && best < at)) return best;
    tree.shares[at] = own;
    return at;
  }
  const [left, right] = [tree.left[at] as number, tree.right[at] as number];
  const share = 1 / (1 + Math.exp(-dot(output, at - labels, hidden)));
  const [ofLeft, ofRight] = [own * (1 - share + floor), own * (share + floor)];
  if (share > 0.5) {
    const found = walk(tree, output, hidden, labels, right, ofRight, best);
    return walk(tree, output, hidden, labels, left, ofLeft, found);
  }
  const found = walk(tree, output, hidden, labels, left, ofLeft, best);
  return walk(tree, output, hidden, labels, right, ofRight, found);
}

/** A child has at most 1 + `floor` of its parent; this is more than a path of 1000 nodes can gain. */
const maxGain = 1.011;

/** As the original's table has it: steps of 1/32, 0 below -8 and 1 above 8. */
function sigmoid(x: number): number {
  if (x < -8 || x > 8) return x < 0 ? 0 : 1;
  return 1 / (1 + Math.exp(8 - Math.floor((x + 8) * 32) / 32));
}

function flatScores(output: Float32Array, hidden: Float32Array, into: Float64Array, independent: boolean): void {
  let largest = -Infinity;
  for (let id = 0; id < into.length; id++) {
    const value = dot(output, id, hidden);
    into[id] = independent ? sigmoid(value) + floor : value;
    largest = Math.max(largest, value);
  }
  if (independent) return;
  let sum = 0;
  for (let id = 0; id < into.length; id++) {
    into[id] = Math.exp((into[id] as number) - largest);
    sum += into[id] as number;
  }
  for (let id = 0; id < into.length; id++) into[id] = (into[id] as number) / sum + floor;
}
