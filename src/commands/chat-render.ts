// `belay chat render`: a conversation as the text, the ids and the loss mask that a model is given.
//
// Does not: answer; chat.ts does.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildCommand } from '@stricli/core';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { encodeConversation, type Message, renderChat, trainingText } from '../tokenizer/chat-format.ts';
import { conversationFrom, toolsFrom } from '../tokenizer/chat-messages.ts';
import { parsePythonJson } from '../tokenizer/python-json.ts';
import { modelFolderAt, tokenizerOfModel } from './model-folder.ts';

export interface RenderChatOptions {
  readonly messages: readonly Message[];
  readonly tools?: readonly unknown[] | undefined;
  readonly thinking?: boolean | undefined;
  /** YYYY-MM-DD, for the default system text; default: today. */
  readonly date?: string | undefined;
  readonly generationPrompt?: boolean | undefined;
  /** The training format of fine-tuning instead of the inference format. */
  readonly sft?: boolean | undefined;
  /** A tokenizer.json or its folder, for ids and mask. */
  readonly tokenizer?: string | undefined;
  /** A model folder, for its chat template and its tokenizer. */
  readonly model?: string | undefined;
}

export interface RenderedChat {
  readonly text: string;
  /** Where there is a tokenizer. */
  readonly ids?: readonly number[];
  /** 1 where fine-tuning learns the token. */
  readonly lossMask?: readonly number[];
}

/** Renders a conversation. */
export function renderConversation(options: RenderChatOptions): RenderedChat {
  const { messages, tools, thinking = false, date, generationPrompt = false, sft = false } = options;
  if (sft && (tools !== undefined || thinking)) {
    throw new UserError('the training format takes tools and thinking from a message', {
      found: tools === undefined ? '--thinking with --sft' : 'tools with --sft',
      next: 'begin with {"role": "developer", "content": {"has_thinking": true, "formatted_tools": "..."}}',
    });
  }
  const template = options.model === undefined ? undefined : templateOf(modelFolderAt(options.model));
  const settings = {
    enableThinking: thinking,
    addGenerationPrompt: generationPrompt,
    ...(tools === undefined ? {} : { tools }),
    ...(date === undefined ? {} : { date }),
    ...(template === undefined ? {} : { template }),
  };
  const text = sft ? trainingText(messages, generationPrompt) : renderChat(messages, settings);
  const tokenizer =
    options.tokenizer !== undefined
      ? Tokenizer.load(options.tokenizer)
      : options.model === undefined
        ? undefined
        : tokenizerOfModel(options.model);
  if (!tokenizer) return { text };
  return { text, ...encodeConversation(tokenizer, messages, { ...settings, sft }) };
}

function templateOf(dir: string): string | undefined {
  const path = join(dir, 'chat_template.jinja');
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

interface Flags {
  readonly messages: string;
  readonly tools?: string;
  readonly thinking: boolean;
  readonly date?: string;
  readonly generationPrompt: boolean;
  readonly sft: boolean;
  readonly tokenizer?: string;
  readonly model?: string;
  readonly json: boolean;
}

const file = { kind: 'parsed', parse: String, placeholder: 'FILE', optional: true } as const;

export const command = buildCommand<Flags>({
  docs: {
    brief: 'a conversation as the text and the ids that a model is given',
    fullDescription: `Renders the messages of a JSON file in the chat format and prints the text, byte for byte, without a line end. With
--json an object {"text"}, and where --tokenizer or --model is given {"text", "ids", "lossMask"}: the mask is 1 where
fine-tuning learns. --model renders with that model's own chat_template.jinja. What the template refuses is an error
with exit code 2.

EXAMPLE
  belay chat render --messages conversation.json --generation-prompt
  belay chat render --messages conversation.json --sft --tokenizer out/demo/tokenizer --json`,
  },
  parameters: {
    flags: {
      messages: {
        kind: 'parsed',
        parse: String,
        brief: 'JSON: messages, or {"messages", "tools"}',
        placeholder: 'FILE',
      },
      tools: { ...file, brief: 'JSON: tool definitions' },
      thinking: { kind: 'boolean', brief: 'say that deliberation is enabled', default: false },
      date: {
        kind: 'parsed',
        parse: String,
        brief: 'of the default system text (default: today)',
        placeholder: 'YYYY-MM-DD',
        optional: true,
      },
      generationPrompt: { kind: 'boolean', brief: 'end where the assistant is to speak', default: false },
      sft: { kind: 'boolean', brief: 'the training format of fine-tuning', default: false },
      tokenizer: { ...file, brief: 'tokenizer.json or its folder' },
      model: { ...file, brief: 'model folder', placeholder: 'DIR' },
      json: { kind: 'boolean', brief: 'print {"text", "ids", "lossMask"}', default: false },
    },
  },
  func({ messages, tools, json, ...settings }) {
    const conversation = conversationFrom(readJson(messages, 'conversation', parsePythonJson), messages);
    if (tools !== undefined && conversation.tools) {
      throw new UserError(`${messages} has tools, and --tools names others`, { next: 'leave one of them out' });
    }
    const rendered = renderConversation({
      ...settings,
      ...conversation,
      ...(tools === undefined ? {} : { tools: toolsFrom(readJson(tools, 'tool definitions', parsePythonJson), tools) }),
    });
    process.stdout.write(json ? `${JSON.stringify(rendered)}\n` : rendered.text);
  },
});
