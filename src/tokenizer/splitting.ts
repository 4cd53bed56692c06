// The pre-tokenizers of tokenizer.json files: a text is cut, and the pieces are cut again, until the bytes of each go to
// the merges.
//
// The last one that changes spelling is ByteLevel, after which pieces are spelled in the byte-level alphabet; pre-tokenizers after
// it see that spelling, as in the reference. A file without it is not of this kind.
//
// Does not: scan well-known patterns by hand; pre-tokenizer.ts and native/tokenizer/ do.
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { bytesToAlphabet } from './byte-level.ts';
import { type Part, matchesOf } from './matches.ts';
import { expressionOf, notSupported, patternSchema } from './normalizer.ts';
import { punctuationClass, rustWordClass, whiteSpaceClass } from './unicode.ts';

const behaviors = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const;
type Behavior = (typeof behaviors)[number];

const partSchema = z.discriminatedUnion('type', [
  z.looseObject({
    type: z.literal('Split'),
    pattern: patternSchema,
    behavior: z.enum(behaviors),
    invert: z.boolean().default(false),
  }),
  z.looseObject({
    type: z.literal('ByteLevel'),
    add_prefix_space: z.boolean(),
    use_regex: z.boolean().default(true),
  }),
  z.looseObject({ type: z.literal('Digits'), individual_digits: z.boolean() }),
  z.looseObject({ type: z.literal('Punctuation'), behavior: z.enum(behaviors).default('Isolated') }),
  z.looseObject({ type: z.literal('Whitespace') }),
  z.looseObject({ type: z.literal('WhitespaceSplit') }),
  z.looseObject({
    type: z.literal('Metaspace'),
    replacement: z.string().length(1),
    /** `first` depends on where the text began before it was normalised. */
    prepend_scheme: z.enum(['always', 'never']).default('always'),
    split: z.boolean().default(true),
  }),
]);
export type PreTokenizerPart = z.infer<typeof partSchema>;
const sequenceSchema = z.looseObject({ type: z.literal('Sequence'), pretokenizers: z.array(z.unknown()) });
const known = ['Sequence', ...partSchema.options.flatMap(({ shape }) => [...shape.type.values])];

/** The words of ByteLevel, from GPT-2. */
export const gpt2Pattern = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** The pre-tokenizers of a file in their order, exactly one of them ByteLevel. */
export function preTokenizerParts(description: unknown, where: string): PreTokenizerPart[] {
  const parts = partsOf(description, where);
  const numByteLevel = parts.filter(({ type }) => type === 'ByteLevel').length;
  if (numByteLevel !== 1) {
    throw new UserError(`${where} is not a byte-level tokenizer`, {
      found: `${numByteLevel} pre-tokenizers ByteLevel among: ${parts.map(({ type }) => type).join(', ') || 'none'}`,
      expected: 'one ByteLevel, as Apertus, Mistral-Nemo, Llama 3, Qwen, GPT-2 and belay write it',
    });
  }
  return parts;
}

function partsOf(description: unknown, where: string): PreTokenizerPart[] {
  if (description === null || description === undefined) return [];
  const sequence = sequenceSchema.safeParse(description);
  if (sequence.success) return sequence.data.pretokenizers.flatMap((part) => partsOf(part, where));
  const parsed = partSchema.safeParse(description);
  if (!parsed.success) throw notSupported('pre-tokenizer', description, known, where);
  return [parsed.data];
}

/** Cuts a text; spelled in the byte-level alphabet from ByteLevel on. */
export type Splitter = (pieces: readonly string[]) => string[];

/** What the parts before ByteLevel and its own cuts do, and, where there are more after it, what these do. */
export function splittersOf(parts: readonly PreTokenizerPart[]): {
  readonly text: Splitter;
  readonly alphabet?: Splitter;
} {
  const at = parts.findIndex(({ type }) => type === 'ByteLevel');
  const text = inTurn(parts.slice(0, at + 1).map(splitterOf));
  const after = parts.slice(at + 1).map(splitterOf);
  return after.length === 0 ? { text } : { text, alphabet: inTurn(after) };
}

/** A piece as ByteLevel spells it. */
export function spelledAsBytes(piece: string): string {
  return bytesToAlphabet(Buffer.from(piece, 'utf8'));
}

function inTurn(splitters: readonly Splitter[]): Splitter {
  return (pieces) => splitters.reduce<string[]>((before, splitter) => splitter(before), [...pieces]);
}

function splitterOf(part: PreTokenizerPart): Splitter {
  switch (part.type) {
    case 'Split':
      return cutting(expressionOf(part.pattern), part.behavior, part.invert);
    case 'ByteLevel': {
      const cut = part.use_regex ? cutting(expressionOf({ Regex: gpt2Pattern }), 'Isolated') : undefined;
      return (pieces) => {
        const prefixed = part.add_prefix_space
          ? pieces.map((piece) => (piece.startsWith(' ') ? piece : ` ${piece}`))
          : [...pieces];
        return cut ? cut(prefixed) : prefixed;
      };
    }
    case 'Digits':
      return cutting(/\p{N}/gu, part.individual_digits ? 'Isolated' : 'Contiguous');
    case 'Punctuation':
      return cutting(new RegExp(punctuationClass, 'gv'), part.behavior);
    case 'Whitespace':
      return cutting(new RegExp(`${rustWordClass}+|[^${rustWordClass}${whiteSpaceClass}]+`, 'gv'), 'Removed', true);
    case 'WhitespaceSplit':
      return cutting(new RegExp(whiteSpaceClass, 'gv'), 'Removed');
    case 'Metaspace': {
      const { replacement, prepend_scheme: scheme, split } = part;
      const cut = split ? cutting(expressionOf({ String: replacement }), 'MergedWithNext') : undefined;
      return (pieces) => {
        const replaced = pieces.map((piece) => {
          const text = piece.replaceAll(' ', replacement);
          return scheme === 'always' && !text.startsWith(replacement) ? replacement + text : text;
        });
        return cut ? cut(replaced) : replaced;
      };
    }
  }
}

function cutting(expression: RegExp, behavior: Behavior, invert = false): Splitter {
  return (pieces) => {
    const out: string[] = [];
    for (const piece of pieces) {
      for (const [start, end] of cut(matchesOf(piece, expression), behavior, invert)) {
        if (end > start) out.push(piece.slice(start, end));
      }
    }
    return out;
  };
}

/** The ranges that are left of matches and what lies between; `invert` swaps the two. */
function cut(parts: readonly Part[], behavior: Behavior, invert: boolean): [number, number][] {
  const isMatch = (part: Part): boolean => part.isMatch !== invert;
  const ranges: [number, number][] = [];
  if (behavior === 'Isolated' || behavior === 'Removed') {
    for (const part of parts) if (behavior === 'Isolated' || !isMatch(part)) ranges.push([part.start, part.end]);
    return ranges;
  }
  const isBackwards = behavior === 'MergedWithNext';
  let wasMatch = false;
  for (const part of isBackwards ? [...parts].reverse() : parts) {
    const joins = behavior === 'Contiguous' ? isMatch(part) === wasMatch : isMatch(part) && !wasMatch;
    const last = ranges.at(-1);
    if (!joins || !last) ranges.push([part.start, part.end]);
    else if (isBackwards) last[0] = part.start;
    else last[1] = part.end;
    wasMatch = isMatch(part);
  }
  return isBackwards ? ranges.reverse() : ranges;
}
