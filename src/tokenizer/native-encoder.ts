// Text without added tokens to ids by the kernels of native/tokenizer/: they scan the well-known patterns by hand, and merge
// what TypeScript has cut by others.
//
// Does not: give other ids than text-encoder.ts; tests compare the two.
import type { NativeModule, NativeTokenizer } from '../base/native.ts';
import type { BpeModel } from './bpe-model.ts';
import type { IdBuffer } from './id-buffer.ts';
import { apertusPattern, characterClasses } from './pre-tokenizer.ts';
import { gpt2Pattern, type PreTokenizerPart, type Splitter, splittersOf } from './splitting.ts';
import { onlyPattern, type TextToIds } from './text-encoder.ts';

const contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const spaces = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const [ending, beginning] = apertusPattern.split('|');
const plain = (digits: string): string =>
  String.raw`${contraction}|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|${spaces}`;

/** The patterns that kernels scan by hand, in the order of their numbers (native/tokenizer/tokenizer.h). */
export const scannedPatterns: readonly string[] = [
  apertusPattern,
  // gpt-oss
  String.raw`${ending}${contraction}?|${beginning}${contraction}?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${spaces}`,
  // Llama 3
  plain(String.raw`\p{N}{1,3}`),
  // Qwen 2 and 3
  plain(String.raw`\p{N}`),
  gpt2Pattern,
];

export class NativeEncoder implements TextToIds {
  private readonly kernels: NativeModule;
  private readonly tokenizer: NativeTokenizer;
  /** Number of the pattern, or -1. */
  private readonly scanner: number;
  private readonly cut: Splitter;

  private constructor(kernels: NativeModule, tokenizer: NativeTokenizer, parts: readonly PreTokenizerPart[]) {
    this.kernels = kernels;
    this.tokenizer = tokenizer;
    this.scanner = scannedPatterns.indexOf(onlyPattern(parts) ?? '');
    this.cut = splittersOf(parts).text;
  }

  static of(kernels: NativeModule, model: BpeModel, parts: readonly PreTokenizerPart[]): NativeEncoder {
    const whole = model.ignoreMerges ? model.pieceIds : new Int32Array(0);
    const { bytes, ends } = model.tokens.joined(whole);
    const tokenizer = kernels.tokOpen(model.byteIds, model.merges, whole, ends, bytes, characterClasses());
    return new NativeEncoder(kernels, tokenizer, parts);
  }

  /** On the tables of another encoder, which may be of another thread; undefined where it is gone. */
  static on(tables: number, kernels: NativeModule, parts: readonly PreTokenizerPart[]): NativeEncoder | undefined {
    const tokenizer = kernels.tokOpenOn(tables);
    return tokenizer && new NativeEncoder(kernels, tokenizer, parts);
  }

  /** The number of its tables. */
  get tables(): number {
    return this.kernels.tokTables(this.tokenizer);
  }

  /** Whether kernels can merge what these parts cut: they must leave pieces of text. */
  static canRun(parts: readonly PreTokenizerPart[]): boolean {
    return parts.at(-1)?.type === 'ByteLevel';
  }

  encode(text: string, into: IdBuffer): void {
    const { kernels, tokenizer, scanner } = this;
    if (scanner >= 0) {
      this.take(kernels.tokEncode(tokenizer, scanner, text, into.ids, into.length), into);
      return;
    }
    const pieces = this.cut([text]);
    const ends = new Int32Array(pieces.length);
    let end = 0;
    for (let i = 0; i < pieces.length; i++) {
      end += (pieces[i] as string).length;
      ends[i] = end;
    }
    this.take(kernels.tokEncodePieces(tokenizer, pieces.join(''), ends, into.ids, into.length), into);
  }

  private take(count: number, into: IdBuffer): void {
    if (into.length + count > into.ids.length) {
      into.reserve(count);
      this.kernels.tokTake(this.tokenizer, count, into.ids, into.length);
    }
    into.length += count;
  }
}
