// Added tokens: texts that become one token before anything is cut, with the flags that Hugging Face gives them.
//
// A matcher finds the leftmost longest of its tokens. A control token that the caller did not allow is passed over, and so is
// a token with `single_word` inside of a word; either way the search goes on behind it. `lstrip` and `rstrip` take the white
// space around a token with it.
//
// Does not: decide which control tokens are allowed; callers do.
import { z } from 'zod';
import { tokenIdSchema } from './token-id.ts';
import { rustWordClass, whiteSpaceClass } from './unicode.ts';

export const addedTokenSchema = z.looseObject({
  id: tokenIdSchema,
  // A longer one makes an expression that cannot be compiled.
  content: z
    .string()
    .min(1)
    .max(2 ** 16),
  special: z.boolean().default(false),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().optional(),
});
export type AddedToken = z.infer<typeof addedTokenSchema>;

/** Which control tokens text may become: none, all, or those that are written so. */
export type AllowSpecial = boolean | readonly string[];

/** Texts with this many first letters or fewer are searched for these before an expression runs. */
const fewLetters = 8;

const wordBefore = new RegExp(`${rustWordClass}$`, 'v');
const wordAfter = new RegExp(`^${rustWordClass}`, 'v');
const isSpace = new RegExp(`^${whiteSpaceClass}$`, 'v');

export class AddedTokenMatcher {
  private readonly expression: RegExp | undefined;
  private readonly tokens = new Map<string, AddedToken>();
  private readonly firstLetters: readonly string[];

  /** Of tokens with the texts that stand for them, which a normaliser may have changed. The first of equal texts wins. */
  constructor(tokens: readonly (readonly [text: string, token: AddedToken])[]) {
    for (const [text, token] of tokens) if (text !== '' && !this.tokens.has(text)) this.tokens.set(text, token);
    const texts = [...this.tokens.keys()].sort((a, b) => b.length - a.length);
    const source = texts.map((text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('|');
    this.expression = source === '' ? undefined : new RegExp(source, 'g');
    this.firstLetters = [...new Set(texts.map((text) => text[0] as string))];
  }

  /** Calls `plain` for text between tokens and `token` for the id of each, in order. */
  cut(text: string, allow: AllowSpecial, plain: (text: string) => void, token: (id: number) => void): void {
    let at = 0;
    if (this.expression && this.mayMatch(text)) {
      this.expression.lastIndex = 0;
      for (let match = this.expression.exec(text); match; match = this.expression.exec(text)) {
        const found = this.tokens.get(match[0]) as AddedToken;
        if (found.special && !isAllowed(found.content, allow)) continue;
        let start = match.index;
        let end = start + match[0].length;
        if (found.single_word && (isWordBefore(text, start) || isWordAfter(text, end))) continue;
        if (found.lstrip) while (start > at && isSpace.test(text[start - 1] as string)) start--;
        if (found.rstrip) while (end < text.length && isSpace.test(text[end] as string)) end++;
        if (start > at) plain(text.slice(at, start));
        token(found.id);
        at = end;
      }
    }
    if (at < text.length) plain(at === 0 ? text : text.slice(at));
  }

  private mayMatch(text: string): boolean {
    return this.firstLetters.length > fewLetters || this.firstLetters.some((letter) => text.includes(letter));
  }
}

function isAllowed(content: string, allow: AllowSpecial): boolean {
  return typeof allow === 'boolean' ? allow : allow.includes(content);
}

function isWordBefore(text: string, at: number): boolean {
  // Two units hold the last character.
  return wordBefore.test(text.slice(Math.max(0, at - 2), at));
}

function isWordAfter(text: string, at: number): boolean {
  return wordAfter.test(text.slice(at, at + 2));
}
