// Conversations as text and as ids: the inference format of Apertus, and its training format for fine-tuning.
//
// Ids are made from the rendering so that only what the template itself wrote becomes control tokens (chat-marks.ts): nobody
// can forge the end of a turn, not even in two parts that are joined. Fine-tuning learns from what the assistant says, up to
// and including the token that ends the turn.
//
// Does not: generate, or judge what is said.
import { Template } from '@huggingface/jinja';
import { UserError } from '../base/errors.ts';
import { errorText } from '../base/json.ts';
import type { Tokenizer } from './bpe.ts';
import { ChatMarks, unusedCharacters } from './chat-marks.ts';
import { chatTemplate } from './chat-template.ts';
import { inOrder, PythonNumber } from './python-json.ts';
import { ASSISTANT_END, ASSISTANT_START, BOS, reservedContent, reservedTokens } from './special-tokens.ts';

/** A step of a structured assistant turn. */
export type Block =
  | { readonly type: 'thoughts'; readonly text: string }
  | { readonly type: 'response'; readonly text: string }
  | { readonly type: 'tool_calls'; readonly calls: readonly { readonly name: string; readonly arguments: string }[] }
  | { readonly type: 'tool_outputs'; readonly outputs: readonly { readonly output: string }[] };

export interface OpenAiToolCall {
  readonly type?: 'function';
  readonly id?: string;
  readonly function: { readonly name: string; readonly arguments: string };
}

/** A message in the forms that Apertus reads: plain strings as in the OpenAI API, or structured contents. */
export type Message =
  | { readonly role: 'system'; readonly content: string | { readonly text: string } }
  | {
      readonly role: 'developer';
      readonly content: { readonly has_thinking?: boolean; readonly formatted_tools?: string };
    }
  | {
      readonly role: 'user';
      readonly content: string | { readonly parts: readonly { readonly type: 'text'; readonly text: string }[] };
    }
  | {
      readonly role: 'assistant';
      readonly content: string | null | { readonly blocks: readonly Block[] };
      readonly tool_calls?: readonly OpenAiToolCall[];
    }
  | { readonly role: 'tool'; readonly content: string; readonly tool_call_id?: string };

export interface ChatOptions {
  /**
   * Tool definitions (JSON schema), bare or as `{type: 'function', function}`. Numbers are written as JavaScript writes
   * them, unless they are of `parsePythonJson`.
   */
  readonly tools?: readonly unknown[];
  readonly enableThinking?: boolean;
  /** End with `<|assistant_start|>`, for the model to go on. */
  readonly addGenerationPrompt?: boolean;
  /** Date of the default system text, YYYY-MM-DD; default: today. */
  readonly date?: string;
  /** Another template, e.g. that of a released model; default: the one we ship. */
  readonly template?: string;
}

const templates = new Map<string, Template>();

/** The text of a conversation. Not for encoding: messages may contain the spelling of control tokens. */
export function renderChat(messages: readonly Message[], options: ChatOptions = {}): string {
  const source = options.template ?? chatTemplate;
  let template = templates.get(source);
  if (!template) {
    // The engine's own strftime_now cannot be replaced, and a rendering must not depend on the day it is tested.
    template = new Template(source.replaceAll('strftime_now(', 'format_date('));
    templates.set(source, template);
  }
  const date = options.date ?? new Date().toISOString().slice(0, 10);
  if (!isDate(date)) throw new UserError('the date of a conversation is none', { found: date, expected: 'YYYY-MM-DD' });
  const [mark = ''] = unusedCharacters(JSON.stringify([messages, options.tools]) + source, 1);
  const rendered = (some: readonly Message[]): string =>
    template.render({
      messages: asMarkedTexts(some, mark),
      bos_token: '<s>',
      ...(options.tools ? { tools: asMarkedTexts(options.tools, mark) } : {}),
      enable_thinking: options.enableThinking ?? false,
      add_generation_prompt: options.addGenerationPrompt ?? false,
      format_date: (format: string) => formatDate(date, format),
      length_of: (part: string) => [...withoutMarks(part, mark)].length,
    });
  try {
    return withoutMarks(rendered(messages), mark);
  } catch (cause) {
    const at = messages.findIndex((_, i) => fails(() => rendered(messages.slice(0, i + 1))));
    throw new UserError(`the conversation cannot be rendered: ${errorText(cause)}`, {
      ...(at < 0 ? {} : { found: toldMessage(messages[at] as Message, at) }),
      expected:
        'an optional system message, then user, assistant and tool messages; assistant contents all strings or all blocks',
      cause,
    });
  }
}

function fails(run: () => unknown): boolean {
  try {
    run();
    return false;
  } catch {
    return true;
  }
}

/** Where a message stands and what it is, for an error. */
function toldMessage({ role, content }: Message, at: number): string {
  const form = role !== 'assistant' || content === null ? '' : typeof content === 'string' ? ' in text' : ' in blocks';
  return `messages.${at}: a message of the role ${JSON.stringify(role)}${form}`;
}

/**
 * A deep copy with texts for numbers of Python, which the template engine does not know. The line end tells which of them
 * were written as JSON, with quotes that are not theirs.
 */
function asMarkedTexts(value: unknown, mark: string): unknown {
  if (value instanceof PythonNumber) return `${mark}\n${value.text}${mark}`;
  if (Array.isArray(value)) return value.map((item: unknown) => asMarkedTexts(item, mark));
  if (value === null || typeof value !== 'object') return value;
  return inOrder(Object.entries(value).map(([key, field]) => [key, asMarkedTexts(field, mark)]));
}

function withoutMarks(text: string, mark: string): string {
  const written = new RegExp(`"${mark}\\\\n([^${mark}]*)${mark}"|${mark}\n([^${mark}]*)${mark}`, 'g');
  return text.replace(written, (_, json: string | undefined, bare: string | undefined) => json ?? bare ?? '');
}

function isDate(text: string): boolean {
  const time = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(text) : Number.NaN;
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
}

/** %Y, %m and %d of an ISO date, as templates ask for them. */
function formatDate(date: string, format: string): string {
  const [year = '', month = '', day = ''] = date.split('-');
  return format.replaceAll('%Y', year).replaceAll('%m', month).replaceAll('%d', day);
}

/**
 * The ids of a conversation in the inference format. Errors: a UserError where a template of its own looks for signs of control
 * tokens in messages, for it does not find them there.
 */
export function encodeChat(tokenizer: Tokenizer, messages: readonly Message[], options: ChatOptions = {}): number[] {
  const marks = new ChatMarks(tokenizer, [messages, options.tools ?? []], options.template ?? chatTemplate);
  const rendered = renderChat(marks.mark(messages), {
    ...options,
    ...(options.tools ? { tools: marks.mark(options.tools) } : {}),
  });
  const parts = marks.parts(rendered);
  if (options.template !== undefined) {
    const text = parts.map((part) => ('text' in part ? part.text : part.control)).join('');
    if (text !== renderChat(messages, options)) {
      throw new UserError('the chat template changes what looks like a control token in messages or tools', {
        expected: 'a template that writes them as they are, without escaping, cutting or replacing < and the like',
        next: 'render without ids, or take those signs out of the messages',
      });
    }
  }
  return encodeParts(tokenizer, parts);
}

export interface ConversationOptions extends ChatOptions {
  /** The training format: an empty system block unless one is given, and every assistant message closed. */
  readonly sft?: boolean;
  /** Begin with `<s>` in the training format too (default), as the inference format does. */
  readonly bos?: boolean;
}

export interface EncodedConversation {
  /** [n] */
  readonly ids: number[];
  /** [n] 1 where the token is to be learnt: after `<|assistant_start|>` up to and including `<|assistant_end|>`. */
  readonly lossMask: number[];
}

/** The ids of a conversation with the mask for fine-tuning. */
export function encodeConversation(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  options: ConversationOptions = {},
): EncodedConversation {
  const ids = options.sft
    ? encodeParts(tokenizer, [
        ...(options.bos === false ? [] : [{ control: '<s>' }]),
        ...trainingParts(messages, options.addGenerationPrompt ?? false),
      ])
    : encodeChat(tokenizer, messages, options);
  const start = idOf(tokenizer, reservedContent(ASSISTANT_START));
  const end = idOf(tokenizer, reservedContent(ASSISTANT_END));
  let learning = false;
  const lossMask = ids.map((id) => {
    const learn = learning && id !== start;
    if (id === start) learning = true;
    else if (id === end) learning = false;
    return learn ? 1 : 0;
  });
  return { ids, lossMask };
}

/** A control token or ordinary text. */
export type Part = { readonly control: string } | { readonly text: string };

/**
 * A conversation in the training format of Apertus (posttraining, template `apertus`). It differs from the inference
 * format: no default system text, a developer message instead of tools, one turn per assistant message, a space after
 * tool outputs that are not last.
 */
export function trainingParts(messages: readonly Message[], addGenerationPrompt = false): Part[] {
  const parts: Part[] = [];
  const put = (...more: readonly Part[]): void => void parts.push(...more);
  const control = (name: string): Part => ({ control: `<|${name}|>` });
  const refuse = (what: string, found: string, expected?: string): never => {
    const details = { found, ...(expected === undefined ? {} : { expected }) };
    throw new UserError(`the conversation cannot be rendered for training: ${what}`, details);
  };
  let rest = messages;
  const [first] = rest;
  put(control('system_start'));
  if (first?.role === 'system') {
    put({ text: typeof first.content === 'string' ? first.content : first.content.text });
    rest = rest.slice(1);
  }
  put(control('system_end'));

  const developer = rest[0]?.role === 'developer' ? rest[0].content : {};
  if (typeof developer !== 'object') {
    refuse('a developer message is {"has_thinking", "formatted_tools"}', JSON.stringify(developer).slice(0, 200));
  }
  if (rest[0]?.role === 'developer') rest = rest.slice(1);
  const tools = developer.formatted_tools ? `\n${developer.formatted_tools}` : ' disabled';
  put(
    control('developer_start'),
    { text: `Deliberation: ${developer.has_thinking ? 'enabled' : 'disabled'}\nTool Capabilities:${tools}` },
    control('developer_end'),
  );

  for (const [i, message] of rest.entries()) {
    if (message.role === 'user') {
      const { content } = message;
      const text = typeof content === 'string' ? content : content.parts.map((part) => part.text).join('');
      put(control('user_start'), { text }, control('user_end'));
    } else if (message.role === 'assistant') {
      if (message.content === null || message.tool_calls?.length) {
        const form = '{"role": "assistant", "content": {"blocks": [{"type": "tool_calls", "calls": [...]}, ...]}}';
        refuse('tool calls must be blocks', JSON.stringify(message).slice(0, 200), form);
      }
      put(control('assistant_start'));
      if (typeof message.content === 'string') put({ text: message.content });
      else putBlocks(message.content?.blocks ?? []);
      put(control('assistant_end'));
    } else {
      const turns = 'at most a system and a developer message, then user and assistant messages';
      refuse('Invalid message role', toldMessage(message, messages.length - rest.length + i), turns);
    }
  }
  if (addGenerationPrompt) put(control('assistant_start'));
  return parts;

  function putBlocks(blocks: readonly Block[]): void {
    let inner = false;
    const leave = (): void => {
      if (inner) put(control('inner_suffix'));
      inner = false;
    };
    blocks.forEach((block, i) => {
      if (block.type === 'thoughts') {
        if (!inner) put(control('inner_prefix'));
        inner = true;
        put({ text: block.text });
      } else if (block.type === 'response') {
        leave();
        put({ text: block.text });
      } else if (block.type === 'tool_calls') {
        if (block.calls[0]?.name === 'display_answers') leave();
        const calls = block.calls.map((call) => `{"${call.name}": ${call.arguments}}`).join(', ');
        put(control('tools_prefix'), { text: `[${calls}]` }, control('tools_suffix'));
      } else {
        const space = i + 1 < blocks.length ? ' ' : '';
        put({ text: `[${block.outputs.map(({ output }) => output).join(', ')}]${space}` });
      }
    });
  }
}

/** The training format as text, with control tokens by the raw names of their ids, as the original template writes it. */
export function trainingText(messages: readonly Message[], addGenerationPrompt = false): string {
  return trainingParts(messages, addGenerationPrompt)
    .map((part) => ('text' in part ? part.text : `<SPECIAL_${rawIds.get(part.control)}>`))
    .join('');
}

const rawIds: ReadonlyMap<string, number> = new Map(reservedTokens.map(({ content, id }) => [content, id]));

function encodeParts(tokenizer: Tokenizer, parts: readonly Part[]): number[] {
  const ids: number[] = [];
  let text = '';
  // Neighbouring texts are one text, as in a rendered string.
  for (const part of parts) {
    if ('text' in part) {
      text += part.text;
      continue;
    }
    append(ids, tokenizer.encodeOrdinary(text));
    text = '';
    ids.push(idOf(tokenizer, part.control));
  }
  append(ids, tokenizer.encodeOrdinary(text));
  return ids;
}

function idOf(tokenizer: Tokenizer, content: string): number {
  const named = tokenizer.idOf(content);
  // Where Apertus' tokens were given other names, their ids tell them.
  const id = named ?? (tokenizer.idOf(reservedContent(BOS)) === BOS ? rawIds.get(content) : undefined);
  if (id === undefined || !tokenizer.isSpecial(id)) {
    throw new UserError('this tokenizer has no conversation format', {
      found: `no control token ${content}`,
      expected: 'the reserved tokens of Apertus',
      next: 'use a tokenizer trained with belay, or that of Apertus',
    });
  }
  return id;
}

function append(ids: number[], more: readonly number[]): void {
  for (const id of more) ids.push(id);
}
