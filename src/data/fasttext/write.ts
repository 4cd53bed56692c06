// Writes a classifier as a fastText model (.bin, format version 12), which the original reads.
//
// Does not: quantise.
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { endianness } from 'node:os';
import { dirname } from 'node:path';
import { commitFile } from '../../base/atomic.ts';
import { fileVersion, losses, magic, supervised, type Weights } from './model.ts';
import { labelPrefix } from './ngrams.ts';

/** A trained classifier: its weights, and what else its file tells. */
export interface Classifier extends Weights {
  readonly epoch: number;
  readonly minCount: number;
  readonly wordCounts: ArrayLike<number>;
  /** Tokens of the texts. */
  readonly numTokens: number;
}

/** Writes `path`, whole or not at all. */
export function writeFastTextModel(path: string, model: Classifier): void {
  const { ngrams, labels, dimension } = model;
  const { words, hashing, pruned } = ngrams;
  if (pruned || model.loss !== losses.softmax) throw new Error('only whole softmax models are written');
  mkdirSync(dirname(path), { recursive: true });
  const file = openSync(`${path}.partial`, 'w');
  try {
    const out = new Output(file);
    out.int32(magic, fileVersion);
    // dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate; those without a meaning
    // here are the original's defaults.
    out.int32(dimension, 5, model.epoch, model.minCount, 5, hashing.wordNgrams, model.loss, supervised);
    out.int32(hashing.bucket, hashing.minn, hashing.maxn, 100);
    out.double(1e-4);
    out.int32(words.size + labels.length, words.size, labels.length);
    out.int64(model.numTokens, -1);
    for (let i = 0; i < words.size; i++) out.entry(words.word(i), model.wordCounts[i] as number, 0);
    for (const [i, label] of labels.entries())
      out.entry(Buffer.from(labelPrefix + label), model.counts[i] as number, 1);
    out.matrix(model.input, dimension);
    out.matrix(model.output, dimension);
    out.flush();
  } finally {
    closeSync(file);
  }
  commitFile(`${path}.partial`, path);
}

/** Little-endian fields, a buffer at a time. */
class Output {
  private readonly file: number;
  private readonly buffer = Buffer.alloc(1 << 16);
  private at = 0;

  constructor(file: number) {
    this.file = file;
  }

  int32(...values: readonly number[]): void {
    for (const value of values) this.at = this.room(4).writeInt32LE(value, this.at);
  }

  int64(...values: readonly number[]): void {
    for (const value of values) this.at = this.room(8).writeBigInt64LE(BigInt(value), this.at);
  }

  double(value: number): void {
    this.at = this.room(8).writeDoubleLE(value, this.at);
  }

  /** A word or label: bytes up to a zero, how often, which of the two. */
  entry(word: Uint8Array, count: number, kind: number): void {
    this.bytes(word);
    this.at = this.room(1).writeUInt8(0, this.at);
    this.int64(count);
    this.at = this.room(1).writeUInt8(kind, this.at);
  }

  /** One that is not quantised. */
  matrix(values: Float32Array, columns: number): void {
    this.at = this.room(1).writeUInt8(0, this.at);
    this.int64(values.length / columns, columns);
    if (endianness() === 'LE') this.bytes(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    else for (const value of values) this.at = this.room(4).writeFloatLE(value, this.at);
  }

  flush(): void {
    for (let from = 0; from < this.at; ) from += writeSync(this.file, this.buffer, from, this.at - from);
    this.at = 0;
  }

  private bytes(bytes: Uint8Array): void {
    if (bytes.length <= this.buffer.length - this.at) {
      this.buffer.set(bytes, this.at);
      this.at += bytes.length;
      return;
    }
    this.flush();
    for (let at = 0; at < bytes.length; ) at += writeSync(this.file, bytes, at, Math.min(bytes.length - at, 1 << 30));
  }

  private room(count: number): Buffer {
    if (count > this.buffer.length - this.at) this.flush();
    return this.buffer;
  }
}
