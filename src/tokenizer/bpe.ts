// The tokenizer: text to ids and back, by byte-level byte-pair encoding, from a Hugging Face tokenizer.json.
//
// Control tokens never come out of ordinary text: a document or a user who writes `<|assistant_end|>` gets the ids of
// those letters. Only callers that say so (`allowSpecial`) turn such strings into control tokens. Added tokens that
// are not special (LaTeX openers in Apertus) are matched everywhere, as the reference does.
//
// Added tokens are found first, those that are not normalised in the text as it is; then the rest is normalised, the
// other added tokens are found in it, and what lies between is cut and merged.
//
// Does not: cut pairs of texts, truncate or pad, or read SentencePiece models.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { type NativeModule, nativeLibrary } from '../base/native.ts';
import { type AddedToken, addedTokenSchema } from './added-tokens.ts';
import { bpeModelOf, sharedId, twoIds } from './bpe-model.ts';
import { type EncodeOptions, Encoding, type SharedEncoding } from './encoding.ts';
import { IdBuffer } from './id-buffer.ts';
import { NativeEncoder } from './native-encoder.ts';
import { TypeScriptEncoder } from './text-encoder.ts';
import { shown } from './token-id.ts';
import type { TokenTable } from './token-table.ts';

export const tokenizerFileName = 'tokenizer.json';

// `truncation` and `padding` of the file are for batches of its own model: texts are encoded whole, as transformers does too
// unless it is asked.
const fileSchema = z.looseObject({
  added_tokens: z.array(addedTokenSchema).default([]),
  decoder: z.looseObject({ type: z.literal('ByteLevel') }).nullish(),
});
interface Parts {
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: unknown;
  readonly post_processor?: unknown;
}
const notRun: Readonly<Record<string, string>> = {
  decoder: 'the decoder ByteLevel',
};

export interface DecodeOptions {
  /** Leave control tokens out. */
  readonly skipSpecial?: boolean;
}

/** The tokenizer.json at a path, which may be that of its folder. */
export function tokenizerFile(path: string): string {
  return existsSync(path) && statSync(path).isDirectory() ? join(path, tokenizerFileName) : path;
}

export interface TokenizerOptions {
  /** The native kernels; null encodes in TypeScript, with the same ids. Default: those of this machine. */
  readonly kernels?: NativeModule | null;
}

/** The kernels of this machine, where there are any. */
export function nativeKernels(): NativeModule | null {
  const library = nativeLibrary();
  // A library that was built from older sources has no tokenizer.
  return 'module' in library && typeof library.module.tokOpenOn === 'function' ? library.module : null;
}

/** Room for ids that is kept between calls; a long text's is given back. */
const keptIds = 1 << 22;

export class Tokenizer {
  /** One more than the highest id: the rows of the embedding. */
  readonly vocabularySize: number;
  /** `<s>`, or what the file's template begins a text with; undefined where it has neither. */
  readonly bosId: number | undefined;
  private readonly tokens: TokenTable;
  private readonly specialIds: ReadonlySet<number>;
  private readonly ids: ReadonlyMap<string, number>;
  private readonly added: ReadonlyMap<string, AddedToken>;
  private readonly encoding: Encoding;
  private buffer = new IdBuffer();

  /** From the parsed content of a tokenizer.json; `where` names it in messages. */
  constructor(content: unknown, where: string, { kernels = nativeKernels() }: TokenizerOptions = {}) {
    const parsed = fileSchema.safeParse(content);
    if (!parsed.success) {
      const [field] = parsed.error.issues[0]?.path ?? [];
      throw new UserError(`${where} is not a tokenizer that belay can run`, {
        found: schemaProblems(parsed.error),
        expected: notRun[String(field)] ?? 'a tokenizer.json as Hugging Face tokenizers writes it',
      });
    }
    const { added_tokens: added } = parsed.data;
    const specials = added.filter(({ special }) => special);
    refuseDeepParts(parsed.data, where);
    const texts = textsOfAdded(added, where);
    const model = bpeModelOf(parsed.data['model'], texts, where);
    const { normalizer, pre_tokenizer: preTokenizer, post_processor: postProcessor } = parsed.data as Parts;
    this.encoding = new Encoding({ where, added, normalizer, preTokenizer, postProcessor }, (parts) =>
      kernels && NativeEncoder.canRun(parts)
        ? NativeEncoder.of(kernels, model, parts)
        : new TypeScriptEncoder(model, parts),
    );

    this.tokens = model.tokens;
    this.vocabularySize = model.tokens.size;
    this.added = new Map(added.map((token) => [token.content, token]));
    this.specialIds = new Set(specials.map(({ id }) => id));
    this.bosId = this.encoding.bosId;
    this.ids = model.vocabulary;

    const { before, behind } = this.encoding.template;
    for (const id of [...before, ...behind]) {
      if (this.has(id)) continue;
      throw new UserError(`${where} has a template with a token that it has not`, {
        found: `post_processor: the id ${shown(id)}`,
        expected: `ids from 0 to ${this.vocabularySize - 1}`,
      });
    }
  }

  /** From a tokenizer.json, or a folder that holds one. */
  static load(path: string): Tokenizer {
    const file = tokenizerFile(path);
    return new Tokenizer(readJson(file, 'tokenizer'), file);
  }

  /** Ids of a text. Control strings in it stay ordinary text unless `allowSpecial` names them. */
  encode(text: string, options: EncodeOptions = {}): number[] {
    return this.write(text, options, (buffer) => buffer.toArray());
  }

  /** As `encode`, as an Int32Array. */
  encodeInt32(text: string, options: EncodeOptions = {}): Int32Array {
    return this.write(text, options, (buffer) => buffer.toInt32Array());
  }

  /** Appends the ids of a text, as `encode` gives them. */
  encodeInto(buffer: IdBuffer, text: string, options: EncodeOptions = {}): void {
    this.encoding.encodeInto(buffer, text, options);
  }

  /** How other threads encode without loading the file again, while this one is in use; undefined without native tables. */
  shared(): SharedEncoding | undefined {
    return this.encoding.shared();
  }

  /** Ids of text from outside: no id of it is a control token. */
  encodeOrdinary(text: string): number[] {
    return this.encode(text);
  }

  /** Text of ids; bytes that are not UTF-8 become U+FFFD. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const bytes = this.decodeBytes(ids, options);
    return Buffer.from(bytes.buffer, 0, bytes.length).toString('utf8');
  }

  /** Bytes of ids, which need not be whole characters. */
  decodeBytes(ids: Iterable<number>, options: DecodeOptions = {}): Uint8Array {
    const kept: number[] = [];
    let length = 0;
    for (const id of ids) {
      if (!this.has(id)) throw new Error(`Tokenizer.decode: id ${id} is not in [0, ${this.vocabularySize})`);
      if (options.skipSpecial && this.specialIds.has(id)) continue;
      kept.push(id);
      length += this.tokens.length(id);
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const id of kept) at = this.tokens.copy(id, bytes, at);
    return bytes;
  }

  /** The id of a token as tokenizer.json spells it (byte-level characters), or undefined. */
  idOf(token: string): number | undefined {
    return this.added.get(token)?.id ?? this.ids.get(token);
  }

  /** The spellings of all control tokens. */
  specials(): string[] {
    return [...this.added.values()].flatMap(({ content, special }) => (special ? [content] : []));
  }

  /** Whether a number is an id. */
  has(id: number): boolean {
    return Number.isInteger(id) && id >= 0 && id < this.vocabularySize;
  }

  /** True for control tokens. */
  isSpecial(id: number): boolean {
    return this.specialIds.has(id);
  }

  private write<T>(text: string, options: EncodeOptions, take: (buffer: IdBuffer) => T): T {
    const { buffer } = this;
    buffer.length = 0;
    this.encodeInto(buffer, text, options);
    const out = take(buffer);
    if (buffer.ids.length > keptIds) this.buffer = new IdBuffer();
    return out;
  }
}

/** The texts of added tokens by their ids; a token may be listed twice, but has one id, and an id one token. */
function textsOfAdded(added: readonly AddedToken[], where: string): ReadonlyMap<number, string> {
  const texts = new Map<number, string>();
  const ids = new Map<string, number>();
  for (const { id, content: text } of added) {
    const other = texts.get(id) ?? text;
    if (other !== text) throw sharedId(where, id, [other, text]);
    const otherId = ids.get(text) ?? id;
    if (otherId !== id) throw twoIds(where, text, [otherId, id]);
    texts.set(id, text);
    ids.set(text, id);
  }
  return texts;
}

/** Parts may hold parts; real files go down a few times. */
const deepest = 32;

function refuseDeepParts(content: Readonly<Record<string, unknown>>, where: string): void {
  for (const field of ['normalizer', 'pre_tokenizer', 'post_processor']) {
    let level = [content[field]];
    for (let depth = 0; level.length > 0; depth++) {
      if (depth > deepest) {
        throw new UserError(`${where} is nested too deeply`, {
          found: `${field}: more than ${deepest} levels`,
          expected: 'parts in a Sequence',
        });
      }
      level = level.flatMap((value) => (value !== null && typeof value === 'object' ? Object.values(value) : []));
    }
  }
}

/** Decodes ids as they come: `push` returns the text that is complete, and keeps the bytes of an unfinished character. */
export class StreamDecoder {
  private readonly tokenizer: Tokenizer;
  private readonly options: DecodeOptions;
  private readonly utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(tokenizer: Tokenizer, options: DecodeOptions = {}) {
    this.tokenizer = tokenizer;
    this.options = options;
  }

  push(id: number): string {
    return this.utf8.decode(this.tokenizer.decodeBytes([id], this.options), { stream: true });
  }

  /** What is left; an unfinished character becomes U+FFFD. */
  end(): string {
    return this.utf8.decode();
  }
}
