// Whether two tokenizers mean the same by every id, as weights need it: files that differ in spelling may.
//
// Does not: ask whether they cut texts the same way; both sets of merges may lead to ids that a model knows.
import type { Tokenizer } from './bpe.ts';

export interface OtherId {
  readonly id: number;
  /** What each of the two has there, quoted; `nothing` where the id is of no token. */
  readonly texts: readonly [string, string];
}

/**
 * The first id of both that means another text, or is a control token in one of them only; undefined where there is none.
 * Ids that one of them has beyond the other's are new tokens, or ones that are not used any more.
 */
export function firstOther(a: Tokenizer, b: Tokenizer): OtherId | undefined {
  const most = Math.min(a.vocabularySize, b.vocabularySize);
  for (let id = 0; id < most; id++) {
    const [x, y] = [meaning(a, id), meaning(b, id)];
    if (x !== y) return { id, texts: [x, y] };
  }
  return undefined;
}

/** Tokens that are no text of their own (pieces of a character) are told by their bytes. */
function meaning(tokenizer: Tokenizer, id: number): string {
  const bytes = tokenizer.decodeBytes([id]);
  if (bytes.length === 0) return 'nothing';
  const text = Buffer.from(bytes).toString('utf8');
  const shown = text.includes('\ufffd') ? `the bytes ${Buffer.from(bytes).toString('hex')}` : JSON.stringify(text);
  return tokenizer.isSpecial(id) ? `the control token ${shown}` : shown;
}
