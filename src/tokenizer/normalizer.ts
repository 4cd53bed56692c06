// The normalisers of tokenizer.json files: what becomes of text before it is cut.
//
// Does not: keep positions in the original text, or run SentencePiece's maps (precompiled.ts) or BERT's rules.
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { javascriptExpression, literalExpression } from './expression.ts';
import { matchesOf } from './matches.ts';
import { accentClass, lowerCase, type NormalForm, normalForm, whiteSpaceClass } from './unicode.ts';

export type Normalizer = (text: string) => string;

/** A pattern of a tokenizer.json: an expression, or a text that stands for itself. */
export const patternSchema = z.union([
  z.strictObject({ Regex: z.string() }),
  // A longer one makes an expression that cannot be compiled.
  z.strictObject({
    String: z
      .string()
      .min(1)
      .max(2 ** 16),
  }),
]);

const partSchema = z.discriminatedUnion('type', [
  z.looseObject({ type: z.enum(['NFC', 'NFD', 'NFKC', 'NFKD']) }),
  z.looseObject({ type: z.literal('Lowercase') }),
  z.looseObject({ type: z.literal('StripAccents') }),
  z.looseObject({ type: z.literal('Strip'), strip_left: z.boolean(), strip_right: z.boolean() }),
  z.looseObject({ type: z.literal('Replace'), pattern: patternSchema, content: z.string() }),
  z.looseObject({ type: z.literal('Prepend'), prepend: z.string() }),
]);
const sequenceSchema = z.looseObject({ type: z.literal('Sequence'), normalizers: z.array(z.unknown()) });
const known = ['Sequence', 'NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents', 'Strip', 'Replace', 'Prepend'];

/** The expression of a pattern. */
export function expressionOf(pattern: z.infer<typeof patternSchema>): RegExp {
  return 'Regex' in pattern ? javascriptExpression(pattern.Regex) : literalExpression(pattern.String);
}

/** The normaliser that a file describes; undefined where it changes nothing. */
export function normalizerOf(description: unknown, where: string): Normalizer | undefined {
  const parts = partsOf(description, where);
  if (parts.length === 0) return undefined;
  return (text) => {
    let out = text;
    for (const part of parts) out = part(out);
    return out;
  };
}

function partsOf(description: unknown, where: string): Normalizer[] {
  if (description === null || description === undefined) return [];
  const sequence = sequenceSchema.safeParse(description);
  if (sequence.success) return sequence.data.normalizers.flatMap((part) => partsOf(part, where));
  const parsed = partSchema.safeParse(description);
  if (!parsed.success) throw notSupported('normalizer', description, known, where);
  return [partOf(parsed.data)];
}

/** Refuses a part of a tokenizer.json by its name. */
export function notSupported(what: string, description: unknown, known: readonly string[], where: string): UserError {
  const { type } = (description ?? {}) as { readonly type?: unknown };
  const isKnown = typeof type === 'string' && known.includes(type);
  return new UserError(`${where} has a ${what} that belay does not run`, {
    found: isKnown
      ? JSON.stringify(description).slice(0, 400)
      : String(type ?? JSON.stringify(description)).slice(0, 400),
    expected: isKnown ? `a ${type} with its settings, as Hugging Face tokenizers writes it` : known.join(', '),
  });
}

const leading = new RegExp(`^${whiteSpaceClass}+`, 'v');
const accents = new RegExp(accentClass, 'gv');

function partOf(part: z.infer<typeof partSchema>): Normalizer {
  switch (part.type) {
    case 'Lowercase':
      return lowerCase;
    case 'StripAccents':
      return (text) => text.replace(accents, '');
    case 'Strip':
      return (text) => strip(text, part.strip_left, part.strip_right);
    case 'Replace': {
      const expression = expressionOf(part.pattern);
      // What the reference then does depends on what else it did to the text.
      if (new RegExp(expression.source, 'v').test('')) {
        throw new UserError('a normaliser of this tokenizer.json replaces nothing by something', {
          found: JSON.stringify(part),
          expected: 'a pattern that does not match the empty text',
        });
      }
      return (text) => replaceAll(text, expression, part.content);
    }
    case 'Prepend':
      return (text) => (text === '' ? text : part.prepend + text);
    default: {
      const form: NormalForm = part.type;
      return (text) => normalForm(text, form);
    }
  }
}

const isSpace = new RegExp(`^${whiteSpaceClass}$`, 'v');

function strip(text: string, left: boolean, right: boolean): string {
  let start = 0;
  if (left) start = leading.exec(text)?.[0].length ?? 0;
  let end = text.length;
  // All white space is in the first plane.
  if (right) while (end > start && isSpace.test(text[end - 1] as string)) end--;
  return text.slice(start, end);
}

function replaceAll(text: string, expression: RegExp, content: string): string {
  let out = '';
  for (const { start, end, isMatch } of matchesOf(text, expression)) out += isMatch ? content : text.slice(start, end);
  return out;
}
