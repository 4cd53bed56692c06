// A trained vocabulary as the files that Hugging Face libraries, vLLM and llama.cpp read: tokenizer.json,
// tokenizer_config.json, special_tokens_map.json and chat_template.jinja.
//
// The reserved tokens stand in the model's vocabulary too: readers number added tokens that are not in it anew.
//
// Does not: train or encode.
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic.ts';
import { tokenizerFileName } from './bpe.ts';
import { bytesToAlphabet } from './byte-level.ts';
import { chatTemplate } from './chat-template.ts';
import { apertusPattern } from './pre-tokenizer.ts';
import { BOS, EOS, PAD, reservedContent, reservedTokens, UNK } from './special-tokens.ts';
import type { TrainedVocabulary } from './train.ts';

export type Vocabulary = Pick<TrainedVocabulary, 'tokens' | 'merges'>;

/** The content of tokenizer.json. */
export function tokenizerJson({ tokens, merges }: Vocabulary): unknown {
  const spelled = tokens.map((bytes, id) =>
    id < reservedTokens.length ? reservedContent(id) : bytesToAlphabet(bytes),
  );
  const bos = reservedContent(BOS);
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: reservedAsAdded,
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: apertusPattern }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: bos, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        { SpecialToken: { id: bos, type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: bos, type_id: 1 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: { [bos]: { id: bos, ids: [BOS], tokens: [bos] } },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: true,
      vocab: Object.fromEntries(spelled.map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => [spelled[left], spelled[right]]),
    },
  };
}

/** Files of a tokenizer by their names. */
export const tokenizerFilePattern = /^(tokenizer.*\.json|special_tokens_map\.json|chat_template\.jinja)$/;

/** Writes the four files into a folder. */
export function writeTokenizerFiles(dir: string, vocabulary: Vocabulary): void {
  writeFileAtomic(join(dir, tokenizerFileName), spelled(tokenizerJson(vocabulary)));
  for (const [name, content] of companionFiles()) writeFileAtomic(join(dir, name), content);
}

/** A token beside the vocabulary, as tokenizer.json and tokenizer_config.json describe it. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
const reservedAsAdded: readonly AddedToken[] = reservedTokens.map(({ id, content, special }) => ({
  ...{ id, content, ...plain, special },
}));

/**
 * The files beside tokenizer.json: name -> content. They are the same for every vocabulary with the reserved ids; of
 * another tokenizer they tell the tokens it has.
 */
export function companionFiles(
  tokens: readonly AddedToken[] = reservedAsAdded,
  template: string = chatTemplate,
): ReadonlyMap<string, string> {
  const roles = { bos_token: BOS, eos_token: EOS, unk_token: UNK, pad_token: PAD };
  const named = Object.fromEntries(
    Object.entries(roles)
      .map(([role, id]) => [role, reservedContent(id)] as const)
      .filter(([, content]) => tokens.some((token) => token.content === content)),
  );
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    add_bos_token: true,
    add_eos_token: false,
    added_tokens_decoder: Object.fromEntries(
      tokens.map(({ id, content, lstrip, normalized, rstrip, single_word, special }) => [
        id,
        { content, lstrip, normalized, rstrip, single_word, special },
      ]),
    ),
    ...named,
    clean_up_tokenization_spaces: false,
    chat_template: template,
  };
  return new Map([
    ['tokenizer_config.json', spelled(config)],
    ['special_tokens_map.json', spelled(named)],
    ['chat_template.jinja', template],
  ]);
}

function spelled(value: unknown): string {
  return `${JSON.stringify(value, null, 1)}\n`;
}
