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

const contents: Readonly<Record<string, z.ZodType>> = {
  system: z.looseObject({ content: z.union([text, z.looseObject({ text })]) }),
  user: z.looseObject({
    content: z.union([text, z.looseObject({ parts: z.array(z.looseObject({ type: z.literal('text'), text })) })]),
  }),
  assistant: z.looseObject({
    content: z.union([text, z.null(), z.looseObject({ blocks: z.array(block) })]),
    tool_calls: z.array(toolCall).optional(),
  }),
  tool: z.looseObject({ content: text }),
  // Of the training format.
  developer: z.looseObject({
    content: z.union([text, z.looseObject({ has_thinking: z.boolean().optional(), formatted_tools: text.optional() })]),
  }),
};

const message = z.looseObject({ role: text }).superRefine((value, context) => {
  // A role that nobody knows is for the template to refuse: it says where it may stand.
  const schema = Object.hasOwn(contents, value.role) ? contents[value.role] : undefined;
  const parsed = schema?.safeParse(value);
  for (const { path, message: why } of parsed?.error?.issues ?? []) {
    context.addIssue({ code: 'custom', path: [...path], message: `${why} (role ${value.role})` });
  }
});
const messageList = z.array(message);
const request = z.looseObject({ messages: messageList });

const tool = z.looseObject({ name: text, description: text });
const toolList = z.array(z.union([z.looseObject({ function: tool }), tool]));

/** Messages from parsed JSON: an array of them, or an object with `messages`, as a request to a server has. */
export function messagesFrom(value: unknown, where: string): readonly Message[] {
  const parsed = Array.isArray(value) ? messageList.safeParse(value) : request.safeParse(value);
  if (!parsed.success) {
    throw new UserError(`${where} holds no conversation`, {
      found: schemaProblems(parsed.error),
      expected: '[{"role": "user", "content": "..."}, ...], or an object with such "messages"',
    });
  }
  return ('messages' in parsed.data ? parsed.data.messages : parsed.data) as unknown as readonly Message[];
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
