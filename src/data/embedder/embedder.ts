// An embedder: a text as vectors, one for each chunk of 512 tokens, which classifier heads judge (../heads).
//
// Two kinds. A folder with `model.onnx` and `tokenizer.json` is an encoder such as XLM-R, run by ONNX Runtime: the mean
// of its last hidden states, as Apertus' annotator makes it. A fastText model needs nothing else: the mean of the rows of
// its words and n-grams.
//
// Chunks are computed one by one, so a vector never depends on other documents. The last text is remembered: two steps that
// ask for the same document pay once.
//
// Does not: judge, or fetch models.
import { statSync } from 'node:fs';
import { UserError } from '../../base/errors.ts';
import { hashFile, sha256 } from '../../base/hashing.ts';
import type { Chunks } from './chunks.ts';
import { fastTextChunks } from './fasttext-chunks.ts';
import { encoderFiles, onnxChunks } from './onnx-encoder.ts';

/** Tokens of a chunk: what XLM-R reads at once, `<s>` and `</s>` included. */
export const chunkTokens = 512;

export interface Embedder {
  readonly kind: 'onnx' | 'fasttext';
  readonly width: number;
  /** Names the model: the SHA-256 of its files. */
  readonly sha256: string;
  /** A vector for each chunk; of the first `most` chunks only. */
  embed(text: string, most?: number): Promise<readonly Float32Array[]>;
}

/** The files of the embedder at a path. */
export function embedderFiles(path: string): string[] {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) {
    throw new UserError(`there is no embedder at ${path}`, {
      expected: 'a folder with model.onnx and tokenizer.json, or a fastText model',
      next: 'docs/data.md, "Classifiers", says how to get one',
    });
  }
  return found.isDirectory() ? encoderFiles(path) : [path];
}

const opened = new Map<string, Promise<Embedder>>();

/** Loads an embedder, once in a thread. `threads` of ONNX Runtime change no vector. */
export function openEmbedder(path: string, threads = 1): Promise<Embedder> {
  // The hash is part of the key, so that a file that was replaced is another model.
  const hash = hashOf(embedderFiles(path));
  const key = JSON.stringify([path, hash, threads]);
  let found = opened.get(key);
  if (!found) {
    found = open(path, hash, threads);
    opened.set(key, found);
    // A later try, after a runtime was installed, begins anew.
    found.catch(() => opened.delete(key));
  }
  return found;
}

function hashOf(files: readonly string[]): string {
  const hashes = files.map((file) => hashFile(file).sha256);
  return hashes.length === 1 ? (hashes[0] as string) : sha256(hashes.join('\n'));
}

async function open(path: string, hash: string, threads: number): Promise<Embedder> {
  if (!statSync(path).isDirectory()) return embedderOf(fastTextChunks(path, chunkTokens), hash);
  return embedderOf(await onnxChunks(path, chunkTokens, threads), hash);
}

function embedderOf<Chunk>(chunks: Chunks<Chunk>, hash: string): Embedder {
  let last: { readonly text: string; readonly vectors: Float32Array[]; whole: boolean } | undefined;
  const compute = async (text: string, most: number): Promise<readonly Float32Array[]> => {
    if (last?.text !== text) last = { text, vectors: [], whole: false };
    const now = last;
    if (!now.whole && now.vectors.length < most) {
      const split = chunks.split(text, most);
      for (let i = now.vectors.length; i < split.length; i++) {
        now.vectors.push(await chunks.vector(split[i] as Chunk));
      }
      now.whole = split.length < most;
    }
    return now.vectors.slice(0, most);
  };
  // One text after the other, whoever asks.
  let before: Promise<unknown> = Promise.resolve();
  const embed = (text: string, most = Number.POSITIVE_INFINITY): Promise<readonly Float32Array[]> => {
    const made = before.then(() => compute(text, most));
    before = made.catch(() => {});
    return made;
  };
  return { kind: chunks.kind, width: chunks.width, sha256: hash, embed };
}
