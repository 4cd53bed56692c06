// Unigram tokenizers of SentencePiece's kind (XLM-R and its relatives), from a Hugging Face tokenizer.json: text to ids by
// the most probable split (Viterbi).
//
// Scores are added as float64 from left to right and a later split wins only if it is strictly better, as in
// huggingface/tokenizers; what the vocabulary lacks costs the lowest score less 10, and neighbours of that kind are one
// `<unk>`. Special tokens that are written out in a text count as themselves there, and so here: encoders read what
// they were trained on, and nobody answers to what they say.
//
// Does not: decode, sample or train; the tokenizer of models that belay trains is bpe.ts.
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { tokenizerFile } from './bpe.ts';
import { PairTable } from './pair-table.ts';
import { PrecompiledMap } from './precompiled.ts';
import { tokenIdSchema } from './token-id.ts';
import { normalForm } from './unicode.ts';

/** What an unknown character costs below the lowest score (kUnkPenalty). */
const unknownPenalty = 10;
/** Words up to this length are remembered; the cache is emptied when it holds this many. */
const cachedLength = 48;
const cacheLimit = 1 << 17;

const normalizerSchema = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('Precompiled'), precompiled_charsmap: z.string().nullable() }),
  z.looseObject({ type: z.literal('Strip'), strip_left: z.boolean(), strip_right: z.boolean() }),
  z.looseObject({
    type: z.literal('Replace'),
    pattern: z.union([z.strictObject({ String: z.string().min(1) }), z.strictObject({ Regex: z.literal(' {2,}') })]),
    content: z.string(),
  }),
  z.looseObject({ type: z.enum(['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase']) }),
]);
const normalizersSchema = z.union([
  z.looseObject({ type: z.literal('Sequence'), normalizers: z.array(normalizerSchema) }),
  normalizerSchema,
]);
const metaspaceSchema = z.looseObject({
  type: z.literal('Metaspace'),
  replacement: z.string().length(1),
  /** Older files have `add_prefix_space` instead. */
  prepend_scheme: z.enum(['always', 'never']).optional(),
  add_prefix_space: z.boolean().optional(),
  split: z.literal(true).default(true),
});
const whitespaceSchema = z.looseObject({ type: z.literal('WhitespaceSplit') });
const preTokenizerSchema = z.union([
  metaspaceSchema,
  z.looseObject({
    type: z.literal('Sequence'),
    pretokenizers: z.union([z.tuple([whitespaceSchema, metaspaceSchema]), z.tuple([metaspaceSchema])]),
  }),
]);
const specialPieceSchema = z.strictObject({ SpecialToken: z.looseObject({ id: z.string() }) });
const sequencePieceSchema = z.strictObject({ Sequence: z.looseObject({ id: z.literal('A') }) });
const fileSchema = z.looseObject({
  added_tokens: z.array(
    z.looseObject({
      id: tokenIdSchema,
      content: z
        .string()
        .min(1)
        .max(2 ** 16),
      single_word: z.literal(false).default(false),
      lstrip: z.boolean().default(false),
      rstrip: z.boolean().default(false),
      normalized: z.boolean().default(false),
    }),
  ),
  normalizer: normalizersSchema.nullable(),
  pre_tokenizer: preTokenizerSchema,
  post_processor: z.looseObject({
    type: z.literal('TemplateProcessing'),
    single: z.array(z.union([specialPieceSchema, sequencePieceSchema])),
    special_tokens: z.record(z.string(), z.looseObject({ ids: z.array(tokenIdSchema) })),
  }),
  model: z.looseObject({
    type: z.literal('Unigram'),
    unk_id: z.int().min(0),
    byte_fallback: z.literal(false).default(false),
    vocab: z.array(z.tuple([z.string(), z.number()])).min(1),
  }),
});
type Normalizer = z.output<typeof normalizerSchema>;

export class UnigramTokenizer {
  readonly vocabularySize: number;
  /** Ids that stand before and behind every text. */
  readonly before: readonly number[];
  readonly behind: readonly number[];
  private readonly unknownId: number;
  private readonly unknownScore: number;
  private readonly scores: Float64Array;
  private readonly ids = new Map<string, number>();
  /** Trie over UTF-8: (node, byte) -> node; the root is 0. */
  private readonly trie: PairTable;
  /** Token that ends at a node, or -1. */
  private readonly ends: Int32Array;
  private readonly normalizers: readonly ((text: string) => string)[];
  private readonly splitsWhitespace: boolean;
  private readonly mark: string;
  private readonly prepends: boolean;
  /** Added tokens that are sought in the text as it is, and those sought in the normal text. */
  private readonly written: AddedTokens;
  private readonly normal: AddedTokens;
  private readonly cache = new Map<string, Int32Array>();
  private bytes = new Uint8Array(256);
  private best = new Float64Array(257);
  private from = new Int32Array(257);
  private token = new Int32Array(257);

  /** From the parsed content of a tokenizer.json; `where` names it in messages. */
  constructor(content: unknown, where: string) {
    const parsed = fileSchema.safeParse(content);
    if (!parsed.success) {
      throw new UserError(`${where} is not a Unigram tokenizer that belay can run`, {
        found: schemaProblems(parsed.error),
        expected: 'Unigram with Metaspace, as XLM-R has it',
      });
    }
    const { added_tokens: added, normalizer, pre_tokenizer: pre, post_processor: post, model } = parsed.data;
    const { vocab, unk_id: unknownId } = model;
    if (unknownId >= vocab.length) {
      throw new UserError(`${where}: unk_id is not in the vocabulary`, { found: `${unknownId} of ${vocab.length}` });
    }
    this.unknownId = unknownId;
    this.scores = Float64Array.from(vocab, ([, score]) => score);
    this.unknownScore = this.scores.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY) - unknownPenalty;
    this.vocabularySize = added.reduce((size, { id }) => Math.max(size, id + 1), vocab.length);

    const size = vocab.reduce((sum, [piece]) => sum + Buffer.byteLength(piece, 'utf8'), 1);
    this.trie = new PairTable(size);
    const ends = new Int32Array(size).fill(-1);
    let nodes = 1;
    for (const [id, [piece]] of vocab.entries()) {
      this.ids.set(piece, id);
      let node = 0;
      for (const byte of Buffer.from(piece, 'utf8')) {
        const next = this.trie.get(node, byte);
        if (next < 0) this.trie.set(node, byte, nodes);
        node = next < 0 ? nodes++ : next;
      }
      ends[node] = id;
    }
    this.ends = ends.slice(0, nodes);
    const all = normalizer === null ? [] : normalizer.type === 'Sequence' ? normalizer['normalizers'] : [normalizer];
    this.normalizers = (all as Normalizer[]).map((one) => normalizerOf(one, where));
    const chain = pre.type === 'Sequence' ? pre.pretokenizers : [pre];
    const metaspace = chain.at(-1) as z.output<typeof metaspaceSchema>;
    this.splitsWhitespace = chain.length === 2;
    this.mark = metaspace.replacement;
    this.prepends = metaspace.prepend_scheme
      ? metaspace.prepend_scheme === 'always'
      : (metaspace.add_prefix_space ?? true);

    const idsOf = (name: string): readonly number[] => {
      const found = Object.hasOwn(post.special_tokens, name) ? post.special_tokens[name] : undefined;
      if (!found) throw new UserError(`${where}: the template has a token that is not described`, { found: name });
      return found.ids;
    };
    const place = post.single.findIndex((piece) => 'Sequence' in piece);
    if (place < 0) throw new UserError(`${where}: the template has no place for the text`);
    const around = post.single.map((piece) => ('SpecialToken' in piece ? idsOf(piece.SpecialToken.id) : []));
    this.before = around.slice(0, place).flat();
    this.behind = around.slice(place + 1).flat();

    this.written = new AddedTokens(added.filter(({ normalized }) => !normalized));
    const normal = added.filter(({ normalized }) => normalized);
    this.normal = new AddedTokens(normal.map((token) => ({ ...token, content: this.normalise(token.content) })));
  }

  /** From a tokenizer.json, or a folder that holds one. */
  static load(path: string): UnigramTokenizer {
    const file = tokenizerFile(path);
    return new UnigramTokenizer(readJson(file, 'tokenizer'), file);
  }

  /** Ids of a text, without those around it. */
  encode(text: string): number[] {
    const ids: number[] = [];
    for (const word of this.words(text)) for (const id of word) ids.push(id);
    return ids;
  }

  /**
   * The text in pieces of `length` ids at most, those around each of them included; a text without tokens is one piece.
   * No more than `most` pieces, and no more of the text is split than they need.
   */
  chunks(text: string, length: number, most = Number.POSITIVE_INFINITY): Int32Array[] {
    const { before, behind } = this;
    const room = length - before.length - behind.length;
    if (room < 1) throw new Error(`unigram: pieces of ${length} ids have no room for a token`);
    const chunks: Int32Array[] = [];
    let ids: number[] = [];
    const end = (): void => {
      chunks.push(Int32Array.from([...before, ...ids, ...behind]));
      ids = [];
    };
    for (const word of this.words(text)) {
      for (const id of word) {
        if (ids.length === room) {
          end();
          if (chunks.length >= most) return chunks;
        }
        ids.push(id);
      }
    }
    if (ids.length > 0 || chunks.length === 0) end();
    return chunks;
  }

  /** Ids of one word after the other. */
  private *words(text: string): Generator<Int32Array> {
    for (const part of this.written.split(text)) {
      if (typeof part === 'string') yield* this.ordinary(this.normalise(part));
      else yield part;
    }
  }

  private normalise(text: string): string {
    let normal = text;
    for (const normaliser of this.normalizers) normal = normaliser(normal);
    return normal;
  }

  private *ordinary(normal: string): Generator<Int32Array> {
    for (const part of this.normal.split(normal)) {
      if (typeof part !== 'string') yield part;
      else if (this.splitsWhitespace) yield* this.spaced(part);
      else yield* this.marked(part);
    }
  }

  private *spaced(normal: string): Generator<Int32Array> {
    let start = 0;
    for (let i = 0; i <= normal.length; i++) {
      if (i < normal.length && !isWhitespace(normal.charCodeAt(i))) continue;
      if (i > start) yield* this.marked(normal.slice(start, i));
      start = i + 1;
    }
  }

  /** Spaces become marks, and a word begins at each of them. */
  private *marked(text: string): Generator<Int32Array> {
    const { mark } = this;
    if (text === '') return;
    let whole = text.includes(' ') ? text.replaceAll(' ', mark) : text;
    if (this.prepends && !whole.startsWith(mark)) whole = mark + whole;
    let start = 0;
    for (;;) {
      const next = whole.indexOf(mark, start + 1);
      if (next < 0) break;
      yield this.wordIds(whole.slice(start, next));
      start = next;
    }
    yield this.wordIds(start === 0 ? whole : whole.slice(start));
  }

  private wordIds(word: string): Int32Array {
    const known = this.cache.get(word);
    if (known) return known;
    const ids = this.viterbi(word);
    if (word.length <= cachedLength) {
      if (this.cache.size >= cacheLimit) this.cache.clear();
      this.cache.set(word, ids);
    }
    return ids;
  }

  /** Ids of the most probable split of a word. */
  private viterbi(word: string): Int32Array {
    if (word.length * 3 > this.bytes.length) {
      const room = word.length * 3;
      this.bytes = new Uint8Array(room);
      this.best = new Float64Array(room + 1);
      this.from = new Int32Array(room + 1);
      this.token = new Int32Array(room + 1);
    }
    const { bytes, best, from, token, trie, ends, scores } = this;
    const length = utf8.encodeInto(word, bytes).written;
    from.fill(-1, 0, length + 1);
    best[0] = 0;
    for (let start = 0; start < length; ) {
      const before = best[start] as number;
      const first = bytes[start] as number;
      const step = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
      let isKnown = false;
      for (let end = start, node = 0; end < length; ) {
        node = trie.get(node, bytes[end++] as number);
        if (node < 0) break;
        const id = ends[node] as number;
        if (id < 0) continue;
        const score = (scores[id] as number) + before;
        if ((from[end] as number) < 0 || score > (best[end] as number)) {
          best[end] = score;
          from[end] = start;
          token[end] = id;
        }
        if (end - start === step) isKnown = true;
      }
      const end = start + step;
      if (!isKnown) {
        const score = this.unknownScore + before;
        if ((from[end] as number) < 0 || score > (best[end] as number)) {
          best[end] = score;
          from[end] = start;
          token[end] = this.unknownId;
        }
      }
      start = end;
    }
    const ids: number[] = [];
    for (let end = length; end > 0; ) {
      let start = from[end] as number;
      let id = token[end] as number;
      if (id === this.unknownId) {
        while (start > 0 && token[start] === this.unknownId) start = from[start] as number;
        // Characters that are unknown one by one may be a token together.
        id = this.ids.get(Buffer.from(bytes.buffer, start, end - start).toString('utf8')) ?? id;
      }
      ids.push(id);
      end = start;
    }
    return Int32Array.from(ids.reverse());
  }
}

const utf8 = new TextEncoder();

interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Whether white space before and behind it is part of it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** Tokens that are found in a text whatever stands around them, the longest of those that begin at one place. */
class AddedTokens {
  private readonly tokens: ReadonlyMap<string, AddedToken>;
  private readonly pattern: RegExp;

  constructor(tokens: readonly AddedToken[]) {
    this.tokens = new Map(tokens.map((token) => [token.content, token]));
    const longestFirst = [...this.tokens.keys()].sort((a, b) => b.length - a.length);
    this.pattern = new RegExp(longestFirst.map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|'), 'g');
  }

  /** What lies between tokens, and their ids. */
  *split(text: string): Generator<string | Int32Array> {
    let at = 0;
    let isThere = false;
    for (const content of this.tokens.keys()) isThere ||= text.includes(content);
    for (const { 0: content, index } of isThere ? text.matchAll(this.pattern) : []) {
      const { id, lstrip, rstrip } = this.tokens.get(content) as AddedToken;
      let start = index;
      let end = index + content.length;
      if (lstrip) while (start > at && isWhitespace(text.charCodeAt(start - 1))) start--;
      if (rstrip) while (end < text.length && isWhitespace(text.charCodeAt(end))) end++;
      if (start > at) yield text.slice(at, start);
      yield Int32Array.of(id);
      at = end;
    }
    if (at === 0) yield text;
    else if (at < text.length) yield text.slice(at);
  }
}

function normalizerOf(given: Normalizer, where: string): (text: string) => string {
  switch (given.type) {
    case 'Precompiled': {
      const bytes = Buffer.from(given.precompiled_charsmap ?? '', 'base64');
      // Some files have no map or an empty one.
      if (bytes.length === 0) return (text) => text;
      let map: PrecompiledMap;
      try {
        map = new PrecompiledMap(bytes);
      } catch (cause) {
        throw new UserError(`${where} has a damaged precompiled_charsmap`, { next: 'fetch the file again', cause });
      }
      return (text) => map.apply(text);
    }
    case 'Replace': {
      const { pattern, content } = given;
      if ('String' in pattern) return (text) => text.replaceAll(pattern.String, () => content);
      return (text) => text.replace(/ {2,}/g, () => content);
    }
    case 'Strip': {
      const { strip_left: left, strip_right: right } = given;
      return (text) => {
        let start = 0;
        let end = text.length;
        if (left) while (start < end && isWhitespace(text.charCodeAt(start))) start++;
        if (right) while (end > start && isWhitespace(text.charCodeAt(end - 1))) end--;
        return text.slice(start, end);
      };
    }
    case 'Lowercase':
      return (text) => text.toLowerCase();
    default: {
      const form = given.type;
      return (text) => normalForm(text, form);
    }
  }
}

/** White_Space of Unicode. */
function isWhitespace(unit: number): boolean {
  if (unit <= 0x20) return unit === 0x20 || (unit >= 9 && unit <= 13);
  if (unit < 0x1680) return unit === 0x85 || unit === 0xa0;
  return (
    (unit >= 0x2000 && unit <= 0x200a) ||
    unit === 0x1680 ||
    unit === 0x2028 ||
    unit === 0x2029 ||
    unit === 0x202f ||
    unit === 0x205f ||
    unit === 0x3000
  );
}
