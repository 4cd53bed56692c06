// The messages and tools of a conversation as they come from a file: shapes are checked before a template sees them.
//
// A template writes "undefined" or nothing where a field is missing; here that is an error that names the place.
//
// Does not: check the order of roles; the template does.
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import type { Message } from './chat-format.ts';

const text = z.string();
const block = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('thoughts'), text }),
  z.looseObject({ type: z.literal('response'), text }),
  z.looseObject({
    type: z.literal('tool_calls'),
    calls: z.array(z.looseObject({ name: text, arguments: text })).min(1),
  }),
  z.looseObject({ type: z.literal('tool_outputs'), outputs: z.array(z.looseObject({ output: text })) }),
]);
const toolCall = z.looseObject({ function: z.looseObject({ name: text, arguments: text }) });

const parts = z.looseObject({ parts: z.array(z.looseObject({ type: z.literal('text'), text })) });

const contents: Readonly<Record<string, z.ZodType>> = {
  system: z.looseObject({ content: oneOf('a string or {"text"}', [text, z.looseObject({ text })]) }),
  user: z.looseObject({ content: oneOf('a string or {"parts": [{"type": "text", "text"}]}', [text, parts]) }),
  assistant: z.looseObject({
    content: oneOf('a string, {"blocks": [...]}, or null beside tool_calls', [
      text,
      z.null(),
      z.looseObject({ blocks: z.array(block) }),
    ]),
    tool_calls: z.array(toolCall).optional(),
  }),
  tool: z.looseObject({ content: oneOf('a string', [text]) }),
  // Of the training format, which wants an object; the inference format has no such role, and says so.
  developer: z.looseObject({
    content: oneOf('{"has_thinking", "formatted_tools"}', [
      text,
      z.looseObject({ has_thinking: z.boolean().optional(), formatted_tools: text.optional() }),
    ]),
  }),
};

/** One of several forms; where none fits, and the one that was meant is not clear, what there is and what may be. */
function oneOf(allowed: string, forms: readonly [z.ZodType, ...z.ZodType[]]): z.ZodType {
  return z.unknown().superRefine((value, context) => {
    const isObject = value !== null && typeof value === 'object' && !Array.isArray(value);
    let deepest: readonly z.core.$ZodIssue[] = [];
    for (const form of forms) {
      const parsed = form.safeParse(value);
      if (parsed.success) return;
      if (isObject && parsed.error.issues.some(({ path }) => path.length > 1)) deepest = parsed.error.issues;
    }
    for (const { path, message: why } of deepest) context.addIssue({ code: 'custom', path: [...path], message: why });
    if (deepest.length === 0) context.addIssue({ code: 'custom', message: `${kindOf(value)}; allowed: ${allowed}` });
  });
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (value === null || typeof value !== 'object') return value === null ? 'null' : `a ${typeof value}`;
  const keys = Object.keys(value).slice(0, 5);
  return keys.length === 0 ? 'an object without fields' : `an object with ${keys.join(', ')}`;
}

const message = z.looseObject({ role: text }).superRefine((value, context) => {
  // A role that nobody knows is for the template to refuse: it says where it may stand.
  const schema = Object.hasOwn(contents, value.role) ? contents[value.role] : undefined;
  const parsed = schema?.safeParse(value);
  for (const { path, message: why } of parsed?.error?.issues ?? []) {
    context.addIssue({ code: 'custom', path: [...path], message: `${why} (role ${value.role})` });
  }
});
const messageList = z.array(message);

const tool = z.looseObject({ name: text, description: text });
const wrappedTool = z.looseObject({ function: tool });
const toolList = z.array(
  z.unknown().superRefine((value, context) => {
    if (tool.safeParse(value).success) return;
    const isWrapped = value !== null && typeof value === 'object' && 'function' in value;
    for (const { path, message: why } of (isWrapped ? wrappedTool : tool).safeParse(value).error?.issues ?? []) {
      context.addIssue({ code: 'custom', path: [...path], message: why });
    }
  }),
);
const request = z.looseObject({ messages: messageList, tools: toolList.nullish() });

export interface ConversationRequest {
  readonly messages: readonly Message[];
  readonly tools?: readonly unknown[];
}

/** A conversation from parsed JSON: an array of messages, or an object with `messages` and maybe `tools`, as a request to a server has. */
export function conversationFrom(value: unknown, where: string): ConversationRequest {
  const parsed = request.safeParse(Array.isArray(value) ? { messages: value } : value);
  if (!parsed.success) {
    throw new UserError(`${where} holds no conversation`, {
      found: schemaProblems(parsed.error),
      expected: '[{"role": "user", "content": "..."}, ...], or an object with such "messages" and maybe "tools"',
    });
  }
  const { messages, tools } = parsed.data;
  return { messages: messages as unknown as readonly Message[], ...(tools ? { tools } : {}) };
}

/** Tool definitions from parsed JSON. */
export function toolsFrom(value: unknown, where: string): readonly unknown[] {
  const parsed = toolList.safeParse(value);
  if (!parsed.success) {
    throw new UserError(`${where} holds no tools`, {
      found: schemaProblems(parsed.error),
      expected: '[{"name": "...", "description": "...", "parameters": {...}}, ...], bare or as {"function": {...}}',
    });
  }
  return parsed.data;
}
