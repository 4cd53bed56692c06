// The post-processors of tokenizer.json files: which control tokens stand before and behind a text.
//
// Does not: join pairs of texts, or trim offsets, which nothing here has.
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import { notSupported } from './normalizer.ts';
import { shown, tokenIdSchema } from './token-id.ts';

export interface Template {
  readonly before: readonly number[];
  readonly behind: readonly number[];
}

const pieceSchema = z.union([
  z.strictObject({ SpecialToken: z.looseObject({ id: z.string() }) }),
  z.strictObject({ Sequence: z.looseObject({ id: z.literal('A') }) }),
]);
const namedSchema = z.tuple([z.string(), tokenIdSchema]);
const describedSchema = z.looseObject({ ids: z.array(tokenIdSchema) });
const partSchema = z.discriminatedUnion('type', [
  z.looseObject({
    type: z.literal('TemplateProcessing'),
    single: z.array(pieceSchema),
    // Each is read where it is named: a record of zod's lacks a token `__proto__`.
    special_tokens: z.custom<object>((tokens) => typeof tokens === 'object' && tokens !== null),
  }),
  z.looseObject({ type: z.enum(['RobertaProcessing', 'BertProcessing']), sep: namedSchema, cls: namedSchema }),
  z.looseObject({ type: z.literal('ByteLevel') }),
]);
const sequenceSchema = z.looseObject({ type: z.literal('Sequence'), processors: z.array(z.unknown()) });
const known = ['Sequence', 'TemplateProcessing', 'RobertaProcessing', 'BertProcessing', 'ByteLevel'];

/** What a file puts around a text; several processors wrap each other, the first innermost. */
export function templateOf(description: unknown, where: string): Template {
  if (description === null || description === undefined) return { before: [], behind: [] };
  const sequence = sequenceSchema.safeParse(description);
  if (sequence.success) {
    const parts = sequence.data.processors.map((part) => templateOf(part, where));
    return {
      before: [...parts].reverse().flatMap(({ before }) => before),
      behind: parts.flatMap(({ behind }) => behind),
    };
  }
  const parsed = partSchema.safeParse(description);
  if (!parsed.success) throw notSupported('post-processor', description, known, where);
  const part = parsed.data;
  switch (part.type) {
    case 'ByteLevel':
      return { before: [], behind: [] };
    case 'TemplateProcessing':
      return templateProcessing(part, where);
    default:
      return { before: [part.cls[1]], behind: [part.sep[1]] };
  }
}

function templateProcessing(
  { single, special_tokens: tokens }: Extract<z.infer<typeof partSchema>, { type: 'TemplateProcessing' }>,
  where: string,
): Template {
  const idsOf = (pieces: typeof single): number[] =>
    pieces.flatMap((piece) => {
      if (!('SpecialToken' in piece)) {
        throw new UserError(`${where} has a template that belay does not run`, { found: 'the text twice' });
      }
      const { id } = piece.SpecialToken;
      const named = describedSchema.safeParse(Object.getOwnPropertyDescriptor(tokens, id)?.value);
      if (named.success) return named.data.ids;
      throw new UserError(`${where} has a template with a token that is not described`, {
        found: `post_processor.special_tokens: ${shown(id)}: ${schemaProblems(named.error)}`,
        expected: 'its ids',
      });
    });
  const at = single.findIndex((piece) => 'Sequence' in piece);
  if (at < 0) {
    throw new UserError(`${where} has a template without the text`, { found: `${single.length} control tokens` });
  }
  return { before: idsOf(single.slice(0, at)), behind: idsOf(single.slice(at + 1)) };
}
