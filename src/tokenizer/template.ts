// The post-processors of tokenizer.json files: which control tokens stand before and behind a text.
//
// Does not: join pairs of texts, or trim offsets, which nothing here has.
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { notSupported } from './normalizer.ts';

export interface Template {
  readonly before: readonly number[];
  readonly behind: readonly number[];
}

const pieceSchema = z.union([
  z.strictObject({ SpecialToken: z.looseObject({ id: z.string() }) }),
  z.strictObject({ Sequence: z.looseObject({ id: z.literal('A') }) }),
]);
const namedSchema = z.tuple([z.string(), z.int().min(0)]);
const partSchema = z.discriminatedUnion('type', [
  z.looseObject({
    type: z.literal('TemplateProcessing'),
    single: z.array(pieceSchema),
    special_tokens: z.record(z.string(), z.looseObject({ ids: z.array(z.int().min(0)) })),
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
      const named = 'SpecialToken' in piece ? tokens[piece.SpecialToken.id] : undefined;
      if (!named)
        throw new UserError(`${where} has a template that belay does not run`, { found: JSON.stringify(piece) });
      return named.ids;
    });
  const at = single.findIndex((piece) => 'Sequence' in piece);
  if (at < 0) {
    throw new UserError(`${where} has a template without the text`, { found: JSON.stringify(single) });
  }
  return { before: idsOf(single.slice(0, at)), behind: idsOf(single.slice(at + 1)) };
}
