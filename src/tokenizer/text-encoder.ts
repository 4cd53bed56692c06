// Text without added tokens to ids: cut into words, then merged, in TypeScript. The oracle of native/tokenizer/, and what
// runs where that is not built.
//
// Does not: match added tokens or normalise; bpe.ts does.
import type { BpeModel } from './bpe-model.ts';
import { alphabetToBytes } from './byte-level.ts';
import type { IdBuffer } from './id-buffer.ts';
import { mergePiece, type MergeRules } from './merge.ts';
import { PairTable } from './pair-table.ts';
import { preTokenizerOf } from './pre-tokenizer.ts';
import { gpt2Pattern, type PreTokenizerPart, spelledAsBytes, splittersOf } from './splitting.ts';

export interface TextToIds {
  /** Appends the ids of a text. */
  encode(text: string, into: IdBuffer): void;
}

/** Words up to this length are remembered; longer ones rarely come back. */
const cachedLength = 48;
/** The cache is emptied when it holds this many words. */
const cacheLimit = 1 << 17;

/** The one pattern by which these parts cut, and nothing else; undefined where they do more. */
export function onlyPattern(parts: readonly PreTokenizerPart[]): string | undefined {
  const last = parts.at(-1);
  if (last?.type !== 'ByteLevel' || last.add_prefix_space) return undefined;
  const [first] = parts;
  if (parts.length === 1) return last.use_regex ? gpt2Pattern : undefined;
  if (parts.length !== 2 || first?.type !== 'Split' || last.use_regex) return undefined;
  const { pattern, behavior, invert } = first;
  return behavior === 'Isolated' && !invert && 'Regex' in pattern ? pattern.Regex : undefined;
}

export class TypeScriptEncoder implements TextToIds {
  private readonly byteIds: Int32Array;
  private readonly rules: MergeRules;
  /** Bytes of a token, as a Latin-1 string, -> id; only where whole pieces are looked up. */
  private readonly wholePieces: ReadonlyMap<string, number> | undefined;
  private readonly cache = new Map<string, Int32Array>();
  private readonly cut: (text: string, word: (word: string) => void) => void;

  constructor(model: BpeModel, parts: readonly PreTokenizerPart[]) {
    this.byteIds = model.byteIds;
    this.rules = mergeRulesOf(model);
    this.wholePieces = model.ignoreMerges
      ? new Map(Array.from(model.pieceIds, (id) => [Buffer.from(model.tokens.bytes(id)).toString('latin1'), id]))
      : undefined;
    const pattern = onlyPattern(parts);
    if (pattern === undefined) {
      const { text: cutText, alphabet } = splittersOf(parts);
      this.isAlphabet = alphabet !== undefined;
      this.cut = (text, word) => {
        const pieces = cutText([text]);
        for (const piece of alphabet ? alphabet(pieces.map(spelledAsBytes)) : pieces) word(piece);
      };
    } else {
      this.isAlphabet = false;
      const preTokenize = preTokenizerOf(pattern);
      this.cut = (text, word) => preTokenize(text, (start, end) => word(text.slice(start, end)));
    }
  }

  /** Words come spelled in the byte-level alphabet. */
  private readonly isAlphabet: boolean;

  encode(text: string, into: IdBuffer): void {
    this.cut(text, (word) => {
      let found = this.cache.get(word);
      if (!found) {
        found = this.encodeWord(word);
        if (word.length <= cachedLength) {
          if (this.cache.size >= cacheLimit) this.cache.clear();
          // A slice keeps the whole text alive; the cache keeps a copy.
          this.cache.set(Buffer.from(word, 'utf16le').toString('utf16le'), found);
        }
      }
      for (let i = 0; i < found.length; i++) into.push(found[i] as number);
    });
  }

  private encodeWord(word: string): Int32Array {
    const bytes = this.isAlphabet ? (alphabetToBytes(word) as Uint8Array) : Buffer.from(word, 'utf8');
    const whole = this.wholePieces?.get(Buffer.from(bytes).toString('latin1'));
    if (whole !== undefined) return Int32Array.of(whole);
    const ids = new Int32Array(bytes.length);
    for (let i = 0; i < bytes.length; i++) ids[i] = this.byteIds[bytes[i] as number] as number;
    return mergePiece(ids, this.rules);
  }
}

/** Of merges of the same pair the last one counts. */
function mergeRulesOf({ merges }: BpeModel): MergeRules {
  const count = merges.length / 3;
  const ranks = new PairTable(count);
  const made = new Int32Array(count);
  for (let rank = 0; rank < count; rank++) {
    ranks.set(merges[3 * rank] as number, merges[3 * rank + 1] as number, rank);
    made[rank] = merges[3 * rank + 2] as number;
  }
  return { ranks, made };
}
