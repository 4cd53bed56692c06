// `belay generate`: continues a prompt, given as text or as token ids.
//
// Does not: hold a conversation (chat.ts), or continue many prompts of a file.
import { buildCommand } from '@stricli/core';
import { UserError } from '../base/errors.ts';
import { type Finish, generate } from '../generate/generate.ts';
import { StreamDecoder } from '../tokenizer/bpe.ts';
import { type SampleFlags, sampleFlags, tokenIds, wholeNumber } from './flags.ts';
import { openModelFolder } from './model-folder.ts';

export interface GenerateTextOptions {
  /** Model folder. */
  readonly model: string;
  /** Text to continue (`<s>` is put before it), or `ids`, exactly one. */
  readonly prompt?: string | undefined;
  readonly ids?: readonly number[] | undefined;
  readonly maxTokens?: number | undefined;
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  readonly topK?: number | undefined;
  readonly seed?: number | undefined;
  readonly threads?: number | undefined;
  /** Receives the text as it is made. */
  readonly onText?: ((text: string) => void) | undefined;
}

export interface GeneratedText {
  /** The new tokens, without the one that ended the text. */
  readonly ids: readonly number[];
  /** Their text; null where the folder has no tokenizer and ids were given. */
  readonly text: string | null;
  readonly finish: Finish;
}

/** Continues one prompt. */
export function generateText(options: GenerateTextOptions): GeneratedText {
  if ((options.prompt === undefined) === (options.ids === undefined)) {
    throw new UserError('the prompt must be given once', {
      found: options.prompt === undefined ? 'neither --prompt nor --ids' : 'both --prompt and --ids',
      expected: '--prompt TEXT, or --ids 1,372,25',
    });
  }
  const folder = openModelFolder(options.model, { threads: options.threads });
  const tokenizer = options.ids === undefined ? folder.tokenizer() : tokenizerOrNull(folder.tokenizer);
  const prompt = options.ids ?? folder.tokenizer().encode(options.prompt ?? '', { bos: true });
  const decoder = tokenizer ? new StreamDecoder(tokenizer) : undefined;
  let text = '';
  const say = (piece: string): void => {
    text += piece;
    if (piece !== '') options.onText?.(piece);
  };
  const [result] = generate(folder.model, [prompt], {
    stopIds: folder.stopIds,
    ...given({
      maxTokens: options.maxTokens,
      temperature: options.temperature,
      topP: options.topP,
      topK: options.topK,
      seed: options.seed,
    }),
    onToken: (_, id) => {
      if (decoder) say(decoder.push(id));
    },
  });
  if (decoder) say(decoder.end());
  if (!result) throw new Error('generate: no result for the prompt');
  return { ids: result.ids, text: decoder ? text : null, finish: result.finish };
}

/** A folder without tokenizer can still continue ids. */
function tokenizerOrNull<T>(open: () => T): T | null {
  try {
    return open();
  } catch (error) {
    if (error instanceof UserError) return null;
    throw error;
  }
}

/** The fields that are not undefined. */
function given<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

interface Flags extends SampleFlags {
  readonly model: string;
  readonly prompt?: string;
  readonly ids?: number[];
  readonly maxTokens: number;
  readonly json: boolean;
}

export const command = buildCommand<Flags>({
  docs: {
    brief: 'Continue a prompt',
    fullDescription: `Continues a prompt with the model of a Hugging Face folder, greedily unless a temperature is given.

EXAMPLE
  belay generate --model out/demo/release --prompt "All human beings" --max-tokens 40
  belay generate --model DIR --ids 1,372,25 --json     {"ids":[...],"text":"...","finish":"stop"|"length"}`,
  },
  parameters: {
    flags: {
      model: { kind: 'parsed', parse: String, brief: 'model folder', placeholder: 'DIR' },
      prompt: { kind: 'parsed', parse: String, brief: 'text to continue', placeholder: 'TEXT', optional: true },
      ids: { kind: 'parsed', parse: tokenIds, brief: 'token ids to continue', placeholder: '1,2,3', optional: true },
      maxTokens: { kind: 'parsed', parse: wholeNumber(0), brief: 'new tokens at most', default: '128' },
      ...sampleFlags,
      json: { kind: 'boolean', brief: 'one JSON object instead of the text', default: false },
    },
  },
  func({ json, ...flags }) {
    const result = generateText({ ...flags, ...(json ? {} : { onText: (text) => void process.stdout.write(text) }) });
    if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
    else if (result.text === null) process.stdout.write(`${result.ids.join(',')}\n`);
    else process.stdout.write('\n');
  },
});
