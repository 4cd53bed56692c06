// Vectors from a fastText model: the mean of the rows of the words and n-grams of 512 tokens (words between white space).
//
// Does not: know labels; the model may be one that identifies languages.
import { UserError } from '../../base/errors.ts';
import { errorText } from '../../base/json.ts';
import { type FastTextModel, readFastTextModel } from '../fasttext/model.ts';
import type { Chunks } from './chunks.ts';

/** The chunks of a fastText model at a path (.bin, .ftz). */
export function fastTextChunks(path: string, tokens: number): Chunks<string> {
  let model: FastTextModel;
  try {
    model = readFastTextModel(path);
  } catch (cause) {
    throw new UserError(`${path} is no embedder`, {
      found: errorText(cause),
      expected: 'a folder with model.onnx and tokenizer.json, or a fastText model',
      cause,
    });
  }
  return {
    kind: 'fasttext',
    width: model.dimension,
    split: (text, most) => wordChunks(text, tokens, most),
    vector: (chunk) => model.vector(chunk),
  };
}

/** A text cut behind every `size` words; white space as fastText has it. */
export function wordChunks(text: string, size: number, most: number): string[] {
  const chunks: string[] = [];
  let start = 0;
  let words = 0;
  let inWord = false;
  for (let i = 0; i < text.length && chunks.length < most; i++) {
    const unit = text.charCodeAt(i);
    if (unit === 32 || (unit >= 9 && unit <= 13) || unit === 0) {
      inWord = false;
      continue;
    }
    if (inWord) continue;
    inWord = true;
    if (words === size) {
      chunks.push(text.slice(start, i));
      start = i;
      words = 0;
    }
    words++;
  }
  if (chunks.length < most && (words > 0 || chunks.length === 0)) chunks.push(text.slice(start));
  return chunks;
}
