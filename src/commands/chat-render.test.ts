// `belay chat render`: the published renderings through files and through the verb, and the same ones by transformers from
// the files beside a model, where there is a python3 with it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { goldenJson } from '../../test/golden.ts';
import { runCli } from '../../test/run-cli.ts';
import { writeSmallModel } from '../../test/small-model.ts';
import { UserError } from '../base/errors.ts';
import { packageRoot } from '../base/version.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { encodeChat, type Message } from '../tokenizer/chat-format.ts';
import { conversationFrom, toolsFrom } from '../tokenizer/chat-messages.ts';
import { chatTemplate } from '../tokenizer/chat-template.ts';
import { renderConversation } from './chat-render.ts';

interface Case {
  readonly name: string;
  readonly messages: readonly Message[];
  readonly tools?: readonly unknown[];
  readonly enable_thinking?: boolean;
  readonly add_generation_prompt: boolean;
  readonly rendered: string;
}
const golden = goldenJson<{
  readonly current_date: string;
  readonly conversations: readonly Case[];
  readonly must_fail: readonly { readonly name: string; readonly messages: unknown; readonly error: string }[];
  readonly sft_training_template: readonly Case[];
}>('chat.json');

const dir = mkdtempSync(join(tmpdir(), 'belay-render-'));
const model = join(dir, 'model');
after(() => rmSync(dir, { recursive: true }));
before(() => writeSmallModel(model));
let files = 0;
function write(value: unknown): string {
  const path = join(dir, `${files++}.json`);
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
}

/** A conversation as arguments of the verb. */
function argumentsOf({ messages, tools, enable_thinking, add_generation_prompt }: Case): string[] {
  return [
    ...['--messages', write(messages), '--date', golden.current_date],
    ...(tools ? ['--tools', write(tools)] : []),
    ...(enable_thinking ? ['--thinking'] : []),
    ...(add_generation_prompt ? ['--generation-prompt'] : []),
  ];
}

test('every published rendering', () => {
  for (const one of golden.conversations) {
    const { text } = renderConversation({
      messages: conversationFrom(one.messages, one.name).messages,
      tools: one.tools && toolsFrom(one.tools, one.name),
      thinking: one.enable_thinking,
      date: golden.current_date,
      generationPrompt: one.add_generation_prompt,
    });
    assert.equal(text, one.rendered, one.name);
  }
});

test('through the verb: conversations, the training format, ids and mask', async () => {
  for (const one of golden.conversations.filter((_, i) => i % 10 === 0)) {
    const { code, stdout, stderr } = await runCli(['chat', 'render', ...argumentsOf(one)]);
    assert.equal(code, 0, stderr);
    assert.equal(stdout, one.rendered, one.name);
  }
  for (const one of golden.sft_training_template) {
    const { code, stdout, stderr } = await runCli(['chat', 'render', '--sft', ...argumentsOf(one)]);
    assert.equal(code, 0, stderr);
    assert.equal(stdout, one.rendered, one.name);
  }
  const messages = [
    { role: 'user', content: 'Who is free?' },
    { role: 'assistant', content: 'All human beings' },
  ];
  const args = ['chat', 'render', '--messages', write({ messages, temperature: 1 }), '--json', '--date', '2026-11-23'];
  const bare = JSON.parse((await runCli(args)).stdout) as object;
  assert.deepEqual(Object.keys(bare), ['text']);
  const { stdout, stderr } = await runCli([...args, '--model', model]);
  const { text, ids, lossMask } = JSON.parse(stdout) as { text: string; ids: number[]; lossMask: number[] };
  const tokenizer = Tokenizer.load(model);
  assert.equal(tokenizer.decode(ids), text, stderr);
  assert.equal(tokenizer.decode(ids.filter((_, i) => lossMask[i] === 1)), 'All human beings');
});

test('what the template refuses, and what is no conversation, is a plain error with exit code 2', async () => {
  for (const { name, messages, error } of golden.must_fail) {
    const { code, stdout, stderr } = await runCli(['chat', 'render', '--messages', write(messages)]);
    assert.equal(code, 2, name);
    assert.equal(stdout, '');
    assert.match(stderr, new RegExp(`^belay: [^\\n]*${error}`), name);
  }
  const { code, stderr } = await runCli(['chat', 'render', '--messages', write('[{"role": "user"')]);
  assert.equal(code, 2);
  assert.match(stderr, /is not valid JSON/);
});

test('the message that a template refuses is named', () => {
  const user = { role: 'user', content: 'x' } as const;
  const system = { role: 'system', content: 'x' } as const;
  const block = { role: 'assistant', content: { blocks: [{ type: 'response', text: 'x' }] } } as const;
  const bot = { role: 'bot', content: 'x' } as unknown as Message;
  for (const [messages, sft, place] of [
    [[user, bot, user], false, /messages\.1: a message of the role "bot"/],
    [
      [user, { role: 'assistant', content: 'x' }, block],
      false,
      /messages\.2: a message of the role "assistant" in blocks/,
    ],
    [[system, user, system], true, /messages\.2: a message of the role "system"\n +expected: at most a system /],
    [[user, { role: 'assistant', content: null, tool_calls: [] }], true, /expected: .*"tool_calls"/],
  ] as const) {
    assert.throws(() => renderConversation({ messages, sft }), place);
  }
});

test('wrong shapes are named with their place', () => {
  const wrong: [unknown, RegExp][] = [
    [{}, /messages/],
    [[], /^$/],
    [[{ content: 'x' }], /role/],
    [[{ role: 'user' }], /content/],
    [[{ role: 'user', content: 3 }], /content/],
    [
      [{ role: 'user', content: [{ type: 'text', text: 'x' }] }],
      /content: a list; allowed: a string or \{"parts": \[\{"type": "text", "text"\}\]\}/,
    ],
    [[{ role: 'user', content: { parts: [{ type: 'image' }] } }], /content\.parts\.0\.type/],
    [[{ role: 'user', content: { text: 'x' } }], /an object with text; allowed/],
    [[{ role: 'system', content: null }], /content/],
    [[{ role: 'assistant', content: { blocks: [{ type: 'response' }] } }], /content/],
    [[{ role: 'assistant', content: null, tool_calls: [{ function: { name: 'f' } }] }], /tool_calls/],
    [[{ role: 'developer', content: null }], /content/],
  ];
  for (const [value, place] of wrong) {
    if (Array.isArray(value) && value.length === 0)
      assert.deepEqual(conversationFrom(value, 'empty'), { messages: [] });
    else
      assert.throws(
        () => conversationFrom(value, 'file'),
        (error) => error instanceof UserError && place.test(error.found ?? ''),
      );
  }
  assert.throws(() => toolsFrom([{ name: 'f' }], 'file'), /0\.description/);
  assert.throws(() => toolsFrom([{ function: { description: 'd' } }], 'file'), /0\.function\.name/);
  assert.throws(() => toolsFrom({ name: 'f', description: 'd' }, 'file'), UserError);
  assert.throws(
    () => renderConversation({ messages: [{ role: 'user', content: 'x' }], sft: true, thinking: true }),
    /developer/,
  );
});

test('tools stand beside the messages or in a file of their own, not in both; the training format has another place', async () => {
  const messages = [{ role: 'user', content: 'x' }];
  const tools =
    '[{"name": "f", "description": "d", "parameters": {"properties": {"t": {"type": "number", "default": 1.0}}}}]';
  const both = write(`{"messages": ${JSON.stringify(messages)}, "tools": ${tools}}`);
  const beside = await runCli(['chat', 'render', '--messages', both, '--date', '2026-11-23']);
  assert.match(beside.stdout, /type f = \(_: \{\nt\?: number, \/\/ default: 1\.0\n\}\) => any;/);
  const own = await runCli([
    'chat',
    'render',
    '--messages',
    write(messages),
    '--tools',
    write(tools),
    '--date',
    '2026-11-23',
  ]);
  assert.equal(own.stdout, beside.stdout);
  for (const [more, said] of [
    [['--tools', write(tools)], /--tools names others/],
    [['--sft'], /developer/],
  ] as const) {
    const refused = await runCli(['chat', 'render', '--messages', both, ...more]);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, said);
  }
  const developer = write([{ role: 'developer', content: 'use the tools' }, ...messages]);
  const dropped = await runCli(['chat', 'render', '--messages', developer, '--sft']);
  assert.equal(dropped.code, 2);
  assert.match(dropped.stderr, /a developer message is \{"has_thinking", "formatted_tools"\}/);
  assert.match(dropped.stderr, /use the tools/);
});

test('a token that was given another name is a control token where the template of the model writes it', async () => {
  const renamed = join(dir, 'renamed');
  const { code, stderr } = await runCli([
    ...['tokenizer', 'rename', '--model', model, '--out', renamed],
    ...['--token', '<SPECIAL_4>=[memory]', '--token', '<SPECIAL_5>=recall'],
  ]);
  assert.equal(code, 0, stderr);
  const template = join(renamed, 'chat_template.jinja');
  const own = `[memory]${'{{- messages[0].content -}}'}<|user_end|><|assistant_start|>`;
  writeFileSync(template, own);
  const said = 'x [memory] [mem<|user_end|>ory] recall';
  const { ids, text } = renderConversation({ messages: [{ role: 'user', content: said }], model: renamed });
  const tokenizer = Tokenizer.load(renamed);
  assert.equal(text, `[memory]${said}<|user_end|><|assistant_start|>`);
  assert.equal(tokenizer.decode(ids as number[]), text);
  assert.deepEqual(
    ids?.filter((id) => tokenizer.isSpecial(id)),
    [4, 66, 67],
  );
  // Nothing tells this name from the word.
  writeFileSync(template, `recall${own}`);
  assert.throws(
    () => renderConversation({ messages: [{ role: 'user', content: said }], model: renamed }),
    (error) => error instanceof UserError && error.found === 'recall',
  );
});

test('the files beside a model carry the template twice, the same', () => {
  const config = JSON.parse(readFileSync(join(model, 'tokenizer_config.json'), 'utf8')) as { chat_template: string };
  assert.equal(config.chat_template, chatTemplate);
  assert.equal(readFileSync(join(model, 'chat_template.jinja'), 'utf8'), chatTemplate);
});

const python = process.env['BELAY_PEER_PYTHON'] ?? 'python3';
const hasTransformers = spawnSync(python, ['-c', 'import transformers, jinja2']).status === 0;

/** A tool whose parameters have the names of what mappings can do, and text that engines could escape. */
const awkwardTools = [
  {
    name: 'items',
    description: 'a "quoted" <b>& Grüezi 漢字',
    parameters: {
      type: 'object',
      properties: {
        items: { type: 'array', items: { type: 'string' }, description: "it's" },
        keys: { type: 'string', enum: ['a<b', 'ü'], default: 'ü' },
        values: { type: 'object', properties: { get: { type: 'integer' }, items: { type: 'boolean' } } },
        type: { type: ['string', 'null'] },
        get: {
          oneOf: [
            { type: 'object', properties: { pop: { type: 'number' } } },
            { type: 'string', default: '<&>' },
          ],
        },
        default: { type: 'number', default: 1.5 },
      },
      required: ['items', 'type'],
    },
  },
];

test('transformers renders and encodes the same from the files beside a model', {
  skip: !hasTransformers && 'there is no python3 with transformers',
}, () => {
  const cases = [
    // transformers itself wants a message at least.
    ...golden.conversations.filter(({ messages }) => messages.length > 0),
    { ...(golden.conversations[0] as Case), name: 'awkward tools', tools: awkwardTools },
  ];
  const script = join(packageRoot, 'src/commands/apply_chat_template.py');
  const { status, stdout, stderr } = spawnSync(python, [script, model, golden.current_date], {
    input: JSON.stringify([...cases, ...golden.must_fail]),
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  assert.equal(status, 0, stderr);
  const answers = JSON.parse(stdout) as { text?: string; ids?: number[]; error?: string }[];
  const tokenizer = Tokenizer.load(model);
  cases.forEach((one, i) => {
    const options = {
      date: golden.current_date,
      enableThinking: one.enable_thinking ?? false,
      addGenerationPrompt: one.add_generation_prompt,
      ...(one.tools ? { tools: one.tools } : {}),
    };
    assert.deepEqual(
      answers[i]?.text,
      renderConversation({
        ...one,
        date: golden.current_date,
        thinking: one.enable_thinking,
        generationPrompt: one.add_generation_prompt,
      }).text,
      one.name,
    );
    assert.deepEqual(answers[i]?.ids, tokenizer.encode(answers[i]?.text ?? '', { allowSpecial: true }), one.name);
    // There a user forges a turn; here nobody does.
    if (one.name === 'special_token_text')
      assert.notDeepEqual(answers[i]?.ids, encodeChat(tokenizer, one.messages, options));
    else assert.deepEqual(answers[i]?.ids, encodeChat(tokenizer, one.messages, options), one.name);
  });
  golden.must_fail.forEach(({ name, error }, i) => {
    assert.ok(answers[cases.length + i]?.error?.includes(error), name);
  });
});
