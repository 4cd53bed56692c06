// Whether two tokenizers mean the same by every id, as weights need it: files that differ in spelling may.
//
// Does not: ask whether they cut texts the same way; both sets of merges may lead to ids that a model knows.
import type { Tokenizer } from './bpe.ts';
import { reservedContent, reservedTokens } from './special-tokens.ts';

export interface OtherId {
  readonly id: number;
  /** What each of the two has there, quoted. */
  readonly texts: readonly [string, string];
}

/**
 * The first id of both that means another text, or is a control token in one of them only; undefined where there is none.
 * Ids that one of them alone has, or that are a placeholder in one, are new tokens, or ones that are not used any more.
 */
export function firstOther(a: Tokenizer, b: Tokenizer): OtherId | undefined {
  const most = Math.min(a.vocabularySize, b.vocabularySize);
  for (let id = 0; id < most; id++) {
    const [x, y] = [meaning(a, id), meaning(b, id)];
    if (x !== y && !isUnused(x, id) && !isUnused(y, id)) return { id, texts: [x, y] };
  }
  return undefined;
}

const nothing = 'nothing';

/** Whether no text has this id: it is of no token, or of one that only keeps a place. */
function isUnused(what: string, id: number): boolean {
  if (what === nothing) return true;
  const content = id < reservedTokens.length ? reservedContent(id) : '';
  return content === `<SPECIAL_${id}>` && what === `the control token ${JSON.stringify(content)}`;
}

/** Tokens that are no text of their own (pieces of a character) are told by their bytes. */
function meaning(tokenizer: Tokenizer, id: number): string {
  const bytes = tokenizer.decodeBytes([id]);
  if (bytes.length === 0) return nothing;
  const text = Buffer.from(bytes).toString('utf8');
  const shown = text.includes('\ufffd') ? `the bytes ${Buffer.from(bytes).toString('hex')}` : JSON.stringify(text);
  return tokenizer.isSpecial(id) ? `the control token ${shown}` : shown;
}
