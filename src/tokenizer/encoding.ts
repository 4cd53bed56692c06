// From a text to ids, as a tokenizer.json says: added tokens, normaliser, pre-tokenizers and merges, template.
//
// Threads share what is large: one of them reads the file and makes the tables, the others build the small parts from what
// the file says and use its tables, where the native library has them.
//
// Does not: decode, or check the file; bpe.ts does.
import { toUSVString } from 'node:util';
import { UserError } from '../base/errors.ts';
import type { NativeModule } from '../base/native.ts';
import { type AddedToken, AddedTokenMatcher, type AllowSpecial } from './added-tokens.ts';
import type { IdBuffer } from './id-buffer.ts';
import { NativeEncoder } from './native-encoder.ts';
import { type Normalizer, normalizerOf } from './normalizer.ts';
import { type PreTokenizerPart, preTokenizerParts } from './splitting.ts';
import { type Template, templateOf } from './template.ts';
import type { TextToIds } from './text-encoder.ts';

export interface EncodeOptions {
  /** Begin with `<s>`. */
  readonly bos?: boolean;
  /** Turn these control strings (true: all) in the text into control tokens. */
  readonly allowSpecial?: AllowSpecial;
  /** Put the control tokens around it that the file's post-processor says. */
  readonly template?: boolean;
}

/** What a file says but for its model, and its path; it can be sent to a thread. */
export interface EncodingParts {
  readonly where: string;
  readonly added: readonly AddedToken[];
  readonly normalizer: unknown;
  readonly preTokenizer: unknown;
  readonly postProcessor: unknown;
}

/** An encoding for other threads of the process, while the one that it is of is in use. */
export interface SharedEncoding {
  readonly parts: EncodingParts;
  readonly tables: number;
}

export class Encoding {
  /** `<s>`, or what the file's template begins a text with; undefined where it has neither. */
  readonly bosId: number | undefined;
  readonly template: Template;
  private readonly parts: EncodingParts;
  private readonly added: ReadonlySet<string>;
  /** Finds added tokens in the text as it is, and in what the normaliser made of it. */
  private readonly rawMatcher: AddedTokenMatcher;
  private readonly normalizedMatcher: AddedTokenMatcher;
  private readonly normalize: Normalizer | undefined;
  private readonly encoder: TextToIds;

  /** `encoderOf` makes what cuts and merges. */
  constructor(parts: EncodingParts, encoderOf: (preTokenizers: readonly PreTokenizerPart[]) => TextToIds) {
    const { where, added } = parts;
    this.parts = parts;
    const preTokenizers = preTokenizerParts(parts.preTokenizer, where);
    this.normalize = normalizerOf(parts.normalizer, where);
    this.template = templateOf(parts.postProcessor, where);
    this.added = new Set(added.map(({ content }) => content));
    this.bosId = added.find(({ content }) => content === '<s>')?.id ?? this.template.before[0];

    // As the reference does: special tokens first, and tokens are normalised unless the file or their kind says otherwise.
    const inOrder = [...added.filter(({ special }) => special), ...added.filter(({ special }) => !special)];
    const isNormalized = ({ normalized, special }: AddedToken): boolean => normalized ?? !special;
    this.rawMatcher = new AddedTokenMatcher(
      inOrder.filter((token) => !isNormalized(token)).map((token) => [token.content, token]),
    );
    this.normalizedMatcher = new AddedTokenMatcher(
      inOrder.filter(isNormalized).map((token) => [this.normalize?.(token.content) ?? token.content, token]),
    );
    this.encoder = encoderOf(preTokenizers);
  }

  /** One on the tables of another thread's; undefined where these are gone. */
  static on({ parts, tables }: SharedEncoding, kernels: NativeModule): Encoding | undefined {
    let isThere = true;
    const nothing: TextToIds = { encode: () => {} };
    const encoding = new Encoding(parts, (preTokenizers) => {
      const encoder = NativeEncoder.on(tables, kernels, preTokenizers);
      isThere = encoder !== undefined;
      return encoder ?? nothing;
    });
    return isThere ? encoding : undefined;
  }

  /** For other threads; undefined where there are no native tables. */
  shared(): SharedEncoding | undefined {
    const { parts, encoder } = this;
    return encoder instanceof NativeEncoder ? { parts, tables: encoder.tables } : undefined;
  }

  /** Appends the ids of a text. */
  encodeInto(buffer: IdBuffer, text: string, options: EncodeOptions = {}): void {
    const allow = options.allowSpecial ?? false;
    if (typeof allow !== 'boolean') {
      for (const content of allow) {
        if (!this.added.has(content)) throw new Error(`Tokenizer: ${content} is not an added token`);
      }
    }
    if (options.bos) buffer.push(this.requireBos());
    if (options.template) for (const id of this.template.before) buffer.push(id);
    // A surrogate without its partner is no character; bytes and expressions then see the same.
    this.append(buffer, toUSVString(text), allow);
    if (options.template) for (const id of this.template.behind) buffer.push(id);
  }

  private append(buffer: IdBuffer, text: string, allow: AllowSpecial): void {
    const token = (id: number): void => buffer.push(id);
    const plain = (part: string): void => this.encoder.encode(part, buffer);
    this.rawMatcher.cut(
      text,
      allow,
      (part) => this.normalizedMatcher.cut(this.normalize?.(part) ?? part, allow, plain, token),
      token,
    );
  }

  private requireBos(): number {
    if (this.bosId !== undefined) return this.bosId;
    throw new UserError(`${this.parts.where} has no token that begins a text`, {
      expected: 'an added token <s>, or a template that begins with one',
    });
  }
}
