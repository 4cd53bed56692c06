// Data of supervised fine-tuning: conversations encoded with the loss on what the assistant says, packed into rows.
//
// Does not: train; commands hand this to train/loop.ts.
import { join } from 'node:path';
import { UserError } from '../base/errors.ts';
import { readJsonl } from '../base/jsonl.ts';
import type { Tokenizer } from '../tokenizer/bpe.ts';
import { encodeConversation } from '../tokenizer/chat-format.ts';
import type { Conversation } from './conversations.ts';
import { conversationsName } from './conversations-stage.ts';
import { type MaskedSequence, type PackedRows, packedRows } from './packed-rows.ts';

export interface SftDataOptions {
  /** Folder of the stage `conversations`. */
  readonly dir: string;
  readonly tokenizer: Tokenizer;
  readonly sequenceLength: number;
  readonly seed: number;
}

export interface SftData extends PackedRows {
  /** Conversations in the rows, and those that are too long for one even with their answer cut. */
  readonly conversations: number;
  readonly leftOut: number;
  /** Ids of the conversations in the rows, by the index that `whereIs` takes. */
  readonly ids: readonly string[];
}

/** Reads and encodes the conversations of a folder. */
export async function sftData(options: SftDataOptions): Promise<SftData> {
  const { dir, tokenizer, sequenceLength, seed } = options;
  const sequences: MaskedSequence[] = [];
  const ids: string[] = [];
  let leftOut = 0;
  for await (const conversation of readJsonl<Conversation>(join(dir, conversationsName))) {
    const encoded = encodeToFit(tokenizer, conversation, sequenceLength + 1);
    if (!encoded) {
      leftOut++;
      continue;
    }
    sequences.push({ ids: Int32Array.from(encoded.ids), lossMask: Uint8Array.from(encoded.lossMask) });
    ids.push(conversation.id);
  }
  if (sequences.length === 0) {
    throw new UserError(`no conversation of ${dir} fits into a row`, {
      found: `sft.sequenceLength ${sequenceLength}, ${leftOut} conversations`,
      next: 'raise sft.sequenceLength',
    });
  }
  const data = packedRows({ sequences, sequenceLength, seed });
  return { ...data, conversations: sequences.length, leftOut, ids };
}

/** Answers are not cut below this: a stump would teach to stop anywhere. */
const minAnswerTokens = 16;

/**
 * The ids and mask of a conversation in at most `maxIds` ids; a last answer that is too long is cut and
 * left open, so that no end is taught where there is none. Undefined where even that does not fit.
 */
export function encodeToFit(
  tokenizer: Tokenizer,
  { messages }: Pick<Conversation, 'messages'>,
  maxIds: number,
): { readonly ids: number[]; readonly lossMask: number[] } | undefined {
  const encoded = encodeConversation(tokenizer, messages, { sft: true });
  if (encoded.ids.length <= maxIds) return encoded;
  const ids = encoded.ids.slice(0, maxIds);
  const lossMask = encoded.lossMask.slice(0, maxIds);
  return lossMask.reduce((sum, weight) => sum + weight, 0) >= minAnswerTokens ? { ids, lossMask } : undefined;
}
