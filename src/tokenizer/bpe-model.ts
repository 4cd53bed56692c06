// The model of a byte-level BPE tokenizer.json: which bytes each token is, and which pairs join to which token.
//
// Does not: cut text, or know added tokens beyond their ids.
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import { alphabetToBytes } from './byte-level.ts';
import { expectedId, idLimit, isTokenId, shown } from './token-id.ts';
import { TokenTable } from './token-table.ts';

/** What is read of `model`; vocabulary and merges are checked by hand, as there are hundreds of thousands. */
const modelSchema = z.looseObject({
  type: z.literal('BPE').optional(),
  dropout: z.literal(0).nullish(),
  continuing_subword_prefix: z.literal('').nullish(),
  end_of_word_suffix: z.literal('').nullish(),
  ignore_merges: z.boolean().default(false),
  vocab: z.custom<Readonly<Record<string, number>>>(
    (vocab) => typeof vocab === 'object' && vocab !== null && !Array.isArray(vocab),
    'no vocabulary',
  ),
  merges: z.custom<readonly unknown[]>((merges) => Array.isArray(merges), 'no list of merges'),
});

export interface BpeModel {
  /** Token as the file spells it -> id. */
  readonly vocabulary: ReadonlyMap<string, number>;
  /** Bytes of all tokens, added ones too. */
  readonly tokens: TokenTable;
  /** Ids that merging can make: tokens that are spelled in the byte-level alphabet and not added. */
  readonly pieceIds: Int32Array;
  /** [256] */
  readonly byteIds: Int32Array;
  /** [merges][left, right, made], first merge first. */
  readonly merges: Int32Array;
  /** A piece that is a token stays one, whatever the merges say. */
  readonly ignoreMerges: boolean;
}

/** `added` are ids and texts of added tokens, which text does not become by merging: they are matched before. */
export function bpeModelOf(description: unknown, added: ReadonlyMap<number, string>, where: string): BpeModel {
  const parsed = modelSchema.safeParse(description);
  if (!parsed.success) {
    throw new UserError(`${where} has a model that belay does not run`, {
      found: schemaProblems(parsed.error),
      expected: 'BPE with a vocabulary and merges, no dropout, prefix or suffix of words',
    });
  }
  const { vocab, merges: pairs, ignore_merges: ignoreMerges } = parsed.data;
  const vocabulary = new Map<string, number>();
  const taken = new Uint8Array(idLimit);
  const byteIds = new Int32Array(256).fill(-1);
  let highest = -1;
  for (const [id, text] of added) {
    const other = Object.hasOwn(vocab, text) ? vocab[text] : undefined;
    if (other !== undefined && other !== id) throw twoIds(where, text, [id, other]);
  }
  for (const token in vocab) {
    const id = vocab[token] as number;
    if (!isTokenId(id)) {
      throw new UserError(`${where} has a token without an id`, {
        found: `model.vocab: ${shown(token)}: ${shown(id)}`,
        expected: expectedId,
      });
    }
    if (taken[id] !== 0) throw sharedId(where, id, [keyOf(vocabulary, id), token]);
    taken[id] = 1;
    const addedText = added.get(id);
    if (addedText !== undefined && addedText !== token) throw sharedId(where, id, [addedText, token]);
    vocabulary.set(token, id);
    if (id > highest) highest = id;
    if (token.length !== 1 || added.has(id)) continue;
    const spelled = alphabetToBytes(token);
    if (spelled) byteIds[spelled[0] as number] = id;
  }
  for (const id of added.keys()) if (id > highest) highest = id;
  const missing = byteIds.indexOf(-1);
  if (missing >= 0) {
    throw new UserError(`${where} cannot encode every text`, {
      found: `no token for the byte ${missing}`,
      expected: 'a token for each of the 256 bytes',
    });
  }
  const merges = new Int32Array(3 * pairs.length);
  pairs.forEach((merge, rank) => {
    const pair: readonly unknown[] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : [];
    const [left, right] = pair;
    if (pair.length !== 2 || typeof left !== 'string' || typeof right !== 'string') {
      throw new UserError(`merge ${rank} of ${where} is no pair of tokens`, {
        found: `model.merges: ${shown(merge)}`,
        expected: '"left right" or ["left", "right"]',
      });
    }
    const made = left + right;
    const ids = [vocabulary.get(left), vocabulary.get(right), vocabulary.get(made)];
    const unknown = ids.indexOf(undefined);
    if (unknown >= 0) {
      throw new UserError(`merge ${rank} of ${where} joins tokens that are not in its vocabulary`, {
        found: `model.merges: ${shown(merge)}`,
        expected: `${shown([left, right, made][unknown])} in model.vocab`,
      });
    }
    merges.set(ids as number[], 3 * rank);
  });
  return { vocabulary, ...TokenTable.of(vocabulary, added, highest + 1), byteIds, merges, ignoreMerges };
}

/** Refuses an id that two tokens have. */
export function sharedId(where: string, id: number, tokens: readonly (string | undefined)[]): UserError {
  return new UserError(`${where} gives two tokens one id`, {
    found: `${id}: ${tokens.map(shown).join(' and ')}`,
    expected: 'an id for each token',
  });
}

/** Refuses an added token that has two ids. */
export function twoIds(where: string, text: string, ids: readonly unknown[]): UserError {
  return new UserError(`${where} gives an added token two ids`, {
    found: `${shown(text)}: ${ids.map(shown).join(' and ')}`,
    expected: 'an id for each token',
  });
}

function keyOf(vocabulary: ReadonlyMap<string, number>, id: number): string | undefined {
  for (const [token, other] of vocabulary) if (other === id) return token;
  return undefined;
}
