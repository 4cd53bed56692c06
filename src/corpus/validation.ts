// Validation documents one by one, in the order of the file: nothing is shuffled, mixed or left out.
//
// A document longer than T inputs is cut into windows that overlap by one token, so every token but the first of the
// document is predicted exactly once (with the context of its window).
//
// Does not: score.
import { MegatronReader } from './megatron.ts';

/** Tokens of one document to score; arrays are [n], n <= T. */
export interface ValidationWindow {
  readonly document: number;
  /** Position of the first input in the document. */
  readonly start: number;
  readonly tokens: Int32Array;
  readonly labels: Int32Array;
}

/** The tokens of a document of a packed file, with `<s>` and `</s>`. */
export function documentTokens(path: string, document: number): Int32Array {
  const reader = new MegatronReader(path);
  try {
    return reader.documentTokens(document);
  } finally {
    reader.close();
  }
}

/** All documents of a packed file as windows of at most T inputs. */
export function* validationWindows(options: {
  readonly path: string;
  readonly sequenceLength: number;
}): Generator<ValidationWindow> {
  const { path, sequenceLength: T } = options;
  const reader = new MegatronReader(path);
  try {
    for (let document = 0; document < reader.documents; document++) {
      const ids = reader.documentTokens(document);
      for (let start = 0; start + 1 < ids.length; start += T) {
        const end = Math.min(start + T, ids.length - 1);
        yield { document, start, tokens: ids.slice(start, end), labels: ids.slice(start + 1, end + 1) };
      }
    }
  } finally {
    reader.close();
  }
}
