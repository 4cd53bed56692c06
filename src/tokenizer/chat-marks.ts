// Keeps what a conversation says apart from the control tokens that its template writes.
//
// A control token is told by its spelling, and a message may spell one too, or pieces that the template puts together. So
// one character of each spelling, its first sign such as < or [, gives way to a stand-in wherever it
// occurs in messages and tools while the template runs. (Another character, not one more: a template may ask how long a
// text is.)
//
// Does not: render; chat-format.ts does.
import { UserError } from '../base/errors.ts';
import type { Tokenizer } from './bpe.ts';
import { inOrder, PythonNumber } from './python-json.ts';
import { reservedTokens } from './special-tokens.ts';

/** The spellings of control tokens, and the character of each that text must not bring along. */
interface Controls {
  readonly pattern: RegExp;
  readonly signs: readonly string[];
  /** Spellings without any sign. */
  readonly words: readonly string[];
}

/** No letter or digit; nor what JSON escapes, for a stand-in is not escaped. */
const mark = /[^\p{L}\p{N}\p{Cc}\s_"\\]/u;

const known = new WeakMap<Tokenizer, Controls>();

/** Those of a tokenizer; the reserved ones, too, where it lacks them: a template that writes them is not for it. */
function controlsOf(tokenizer: Tokenizer): Controls {
  const kept = known.get(tokenizer);
  if (kept) return kept;
  const reserved = reservedTokens.filter(({ special }) => special).map(({ content }) => content);
  const all = [...new Set([...tokenizer.specials(), ...reserved])];
  const withSign = all.map((content) => ({ content, sign: mark.exec(content)?.[0] }));
  const found = withSign.filter(({ sign }) => sign !== undefined).map(({ content }) => content);
  const controls = {
    // The longest first: one may begin with another.
    pattern: new RegExp(
      found
        .sort((a, b) => b.length - a.length)
        .map((content) => content.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
        .join('|'),
      'gu',
    ),
    signs: [...new Set(withSign.flatMap(({ sign }) => (sign === undefined ? [] : [sign])))],
    words: withSign.filter(({ sign }) => sign === undefined).map(({ content }) => content),
  };
  known.set(tokenizer, controls);
  return controls;
}

/** Stand-ins for one conversation. */
export class ChatMarks {
  private readonly controls: Controls;
  private readonly standIns: readonly (readonly [sign: string, standIn: string])[];

  /** `template`: as it is run. Errors: a UserError where it writes a control token that is a mere word. */
  constructor(tokenizer: Tokenizer, values: readonly unknown[], template: string) {
    this.controls = controlsOf(tokenizer);
    const { signs, words } = this.controls;
    const word = words.find((each) => template.includes(each));
    if (word !== undefined) {
      throw new UserError('the chat template writes a control token that cannot be told from text', {
        found: word,
        expected: 'control tokens with a sign that is neither letter nor digit, such as <|name|>',
        next: `give ${word} another name in the tokenizer and in the template`,
      });
    }
    const free = unusedCharacters(JSON.stringify(values) + template, signs.length);
    this.standIns = signs.map((sign, i) => [sign, free[i] as string]);
  }

  /** A deep copy with stand-ins in every string and every key. */
  mark<T>(value: T): T {
    if (typeof value === 'string') {
      let text: string = value;
      for (const [sign, standIn] of this.standIns) text = text.replaceAll(sign, standIn);
      return text as T;
    }
    if (value instanceof PythonNumber) return value;
    if (Array.isArray(value)) return value.map((item: unknown) => this.mark(item)) as T;
    if (value !== null && typeof value === 'object') {
      return inOrder(Object.entries(value).map(([key, field]) => [this.mark(key), this.mark(field as unknown)])) as T;
    }
    return value;
  }

  /** A rendering cut into control tokens and texts, as they were before they were marked. */
  parts(rendered: string): ({ readonly control: string } | { readonly text: string })[] {
    const parts: ({ readonly control: string } | { readonly text: string })[] = [];
    let at = 0;
    for (const match of rendered.matchAll(this.controls.pattern)) {
      parts.push({ text: this.unmark(rendered.slice(at, match.index)) }, { control: match[0] });
      at = match.index + match[0].length;
    }
    parts.push({ text: this.unmark(rendered.slice(at)) });
    return parts;
  }

  private unmark(text: string): string {
    let plain = text;
    for (const [sign, standIn] of this.standIns) plain = plain.replaceAll(standIn, sign);
    return plain;
  }
}

/** Characters for private use that a text does not contain. */
export function unusedCharacters(text: string, count: number): string[] {
  const free: string[] = [];
  for (let code = 0xe000; code < 0xf900 && free.length < count; code++) {
    const char = String.fromCharCode(code);
    if (!text.includes(char)) free.push(char);
  }
  if (free.length === count) return free;
  throw new UserError('the conversation uses every character for private use');
}
