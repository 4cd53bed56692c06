// What an embedder is made of: a way to cut texts, and the vector of a piece.
//
// Does not: remember anything; embedder.ts does.

/** How a kind of embedder cuts a text and what it makes of a piece. */
export interface Chunks<Chunk> {
  readonly kind: 'onnx' | 'fasttext';
  /** Numbers in a vector. */
  readonly width: number;
  /** The first chunks of a text, one at least and `most` at most. */
  split(text: string, most: number): readonly Chunk[];
  vector(chunk: Chunk): Float32Array | Promise<Float32Array>;
}
