// `belay chat`: a conversation with a model, in a terminal, from a pipe, or one message at a time. `belay chat render`
// (chat-render.ts) shows what a model is given.
//
// Answers are streamed. Ctrl-C stops an answer; Ctrl-C while nothing is being said ends the program. From a pipe every
// line is a message of one conversation, and answers go to standard output.
//
// Does not: serve over the network (serve/), or use tools.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate } from 'node:timers/promises';
import { buildCommand, buildRouteMap } from '@stricli/core';
import { UserError } from '../base/errors.ts';
import { type Finish, generateEvents } from '../generate/generate.ts';
import type { SampleOptions } from '../generate/sample.ts';
import { StreamDecoder } from '../tokenizer/bpe.ts';
import { encodeChat, type Message } from '../tokenizer/chat-format.ts';
import { ASSISTANT_END } from '../tokenizer/special-tokens.ts';
import { command as render } from './chat-render.ts';
import { type SampleFlags, sampleFlags, wholeNumber } from './flags.ts';
import { type ModelFolder, openModelFolder } from './model-folder.ts';

export interface ChatSettings extends SampleOptions {
  readonly maxTokens?: number | undefined;
  readonly seed?: number | undefined;
  /** First message of the conversation, for the system role. */
  readonly system?: string | undefined;
}

export interface Answer {
  readonly text: string;
  readonly ids: readonly number[];
  /** `interrupted`: stopped by the caller. */
  readonly finish: Finish | 'interrupted';
}

/** A conversation: what was said so far, and a model that answers. */
export class Chat {
  readonly messages: Message[] = [];
  private readonly folder: ModelFolder;
  private readonly settings: ChatSettings;
  private readonly template: string | undefined;
  private turns = 0;

  constructor(folder: ModelFolder, settings: ChatSettings = {}) {
    this.folder = folder;
    this.settings = settings;
    const path = join(folder.dir, 'chat_template.jinja');
    this.template = existsSync(path) ? readFileSync(path, 'utf8') : undefined;
    this.reset();
  }

  /** Forgets the conversation (not the system message). */
  reset(): void {
    const { system } = this.settings;
    this.messages.splice(0, Infinity, ...(system === undefined ? [] : [{ role: 'system' as const, content: system }]));
    this.turns = 0;
  }

  /** Answers a message; the pieces of text go to `onText` as they are made, and `stop` is asked before each token. */
  async answer(text: string, onText?: (piece: string) => void, stop?: () => boolean): Promise<Answer> {
    const { model, stopIds } = this.folder;
    const tokenizer = this.folder.tokenizer();
    const asked: Message = { role: 'user', content: text };
    const prompt = encodeChat(tokenizer, [...this.messages, asked], {
      addGenerationPrompt: true,
      ...(this.template === undefined ? {} : { template: this.template }),
    });
    if (prompt.length >= model.config.maxPositions) {
      throw new UserError('the conversation is longer than the model reads', {
        found: `${prompt.length} tokens`,
        expected: `fewer than ${model.config.maxPositions}`,
        next: '/reset forgets the conversation',
      });
    }
    const { maxTokens = 512, seed = 28, temperature = 0, topP = 1, topK = 0 } = this.settings;
    const decoder = new StreamDecoder(tokenizer, { skipSpecial: true });
    const ids: number[] = [];
    let said = '';
    const say = (piece: string): void => {
      said += piece;
      if (piece !== '') onText?.(piece);
    };
    let finish: Answer['finish'] = 'interrupted';
    const events = generateEvents(model, [prompt], {
      maxTokens,
      temperature,
      topP,
      topK,
      // Every turn draws from a stream of its own.
      seed: seed + this.turns,
      stopIds: [...stopIds, ASSISTANT_END],
    });
    for (const event of events) {
      if (event.kind === 'end') finish = event.finish;
      else {
        ids.push(event.id);
        say(decoder.push(event.id));
      }
      await setImmediate();
      if (event.kind === 'token' && stop?.()) break;
    }
    say(decoder.end());
    this.turns++;
    this.messages.push(asked, { role: 'assistant', content: said });
    return { text: said, ids, finish };
  }
}

/** Opens a model folder for a conversation. */
export function openChat(model: string, settings: ChatSettings & { readonly threads?: number | undefined } = {}): Chat {
  return new Chat(openModelFolder(model, { threads: settings.threads }), settings);
}

interface Flags extends SampleFlags {
  readonly model: string;
  readonly message?: string;
  readonly system?: string;
  readonly maxTokens: number;
  readonly json: boolean;
}

/** Answers every message until there are no more; with a terminal, prompts for them. */
async function converse(chat: Chat, json: boolean): Promise<void> {
  const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true && !json;
  const lines = createInterface({
    input: process.stdin,
    ...(terminal ? { output: process.stdout } : {}),
    prompt: '> ',
  });
  let answering = false;
  let interrupted = false;
  const interrupt = (): void => {
    if (!answering) process.exit(130);
    interrupted = true;
  };
  process.on('SIGINT', interrupt);
  lines.on('SIGINT', interrupt);
  if (terminal) {
    process.stdout.write('/reset forgets the conversation, /exit ends it, Ctrl-C stops an answer\n');
    lines.prompt();
  }
  for await (const line of lines) {
    const text = line.trim();
    if (text === '/exit') break;
    if (text === '/reset') chat.reset();
    else if (text !== '') {
      answering = true;
      interrupted = false;
      try {
        await answerOnce(chat, text, json, () => interrupted);
      } catch (error) {
        // In a terminal a conversation that grew too long is no reason to lose it.
        if (!terminal || !(error instanceof UserError)) throw error;
        process.stdout.write(`${error.message}\n`);
      }
      answering = false;
    }
    if (terminal) lines.prompt();
  }
  lines.close();
  process.off('SIGINT', interrupt);
}

async function answerOnce(chat: Chat, text: string, json: boolean, stop?: () => boolean): Promise<void> {
  const say = json ? undefined : (piece: string): void => void process.stdout.write(piece);
  const answer = await chat.answer(text, say, stop);
  process.stdout.write(
    json ? `${JSON.stringify({ message: text, answer: answer.text, ids: answer.ids, finish: answer.finish })}\n` : '\n',
  );
}

const open = buildCommand<Flags>({
  docs: {
    brief: 'Talk to a model',
    fullDescription: `A conversation in the chat format of the model's folder. In a terminal: /reset forgets it, /exit ends, Ctrl-C stops an
answer and, at the prompt, the program. From a pipe: one message per line. With --json each answer is a line
{"message", "answer", "ids", "finish"}.

EXAMPLE
  belay chat --model out/demo/release
  belay chat --model out/demo/release --message "Which language is this? Tutti gli esseri umani"`,
  },
  parameters: {
    flags: {
      model: { kind: 'parsed', parse: String, brief: 'model folder', placeholder: 'DIR' },
      message: { kind: 'parsed', parse: String, brief: 'answer this and end', placeholder: 'TEXT', optional: true },
      system: { kind: 'parsed', parse: String, brief: 'system message', placeholder: 'TEXT', optional: true },
      maxTokens: { kind: 'parsed', parse: wholeNumber(1), brief: 'tokens of an answer at most', default: '512' },
      ...sampleFlags,
      json: { kind: 'boolean', brief: 'JSON lines instead of text', default: false },
    },
  },
  async func({ model, message, json, ...settings }) {
    const chat = openChat(model, settings);
    if (message !== undefined) await answerOnce(chat, message, json);
    else await converse(chat, json);
  },
});

export const command = buildRouteMap({
  routes: { open, render },
  defaultCommand: 'open',
  docs: {
    brief: 'Talk to a model, or see what it is given',
    fullDescription: `belay chat --model DIR opens a conversation; its flags: belay chat open --help.

EXAMPLE
  belay chat --model out/demo/release
  belay chat --model out/demo/release --message "Which language is this? Tutti gli esseri umani"
  belay chat render --messages conversation.json --generation-prompt`,
  },
});
