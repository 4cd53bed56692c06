// `belay chat` without a terminal: one message, a conversation from a pipe, and what the model is given to read.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runCli } from '../../test/run-cli.ts';
import { writeSmallModel } from '../../test/small-model.ts';
import { generate } from '../generate/generate.ts';
import { encodeChat } from '../tokenizer/chat-format.ts';
import { ASSISTANT_END } from '../tokenizer/special-tokens.ts';
import { openChat } from './chat.ts';
import { openModelFolder } from './model-folder.ts';

const model = mkdtempSync(join(tmpdir(), 'belay-chat-'));
after(() => rmSync(model, { recursive: true }));
before(() => writeSmallModel(model));

test('an answer is what the model generates after the rendered conversation', async () => {
  const chat = openChat(model, { maxTokens: 12 });
  const pieces: string[] = [];
  const first = await chat.answer('hello', (piece) => pieces.push(piece));
  const second = await chat.answer('again');
  assert.equal(pieces.join(''), first.text);
  const folder = openModelFolder(model);
  const prompt = encodeChat(
    folder.tokenizer(),
    [
      { role: 'user', content: 'hello' },
      { role: 'assistant', content: first.text },
      { role: 'user', content: 'again' },
    ],
    { addGenerationPrompt: true },
  );
  const [expected] = generate(folder.model, [prompt], { maxTokens: 12, stopIds: [2, ASSISTANT_END] });
  assert.deepEqual(second.ids, expected?.ids);
  chat.reset();
  assert.deepEqual((await chat.answer('hello')).ids, first.ids);
});

test('a stopped answer keeps what was said; a conversation that grew too long is refused', async () => {
  const chat = openChat(model, { maxTokens: 50 });
  let asked = 0;
  const answer = await chat.answer('hello', undefined, () => ++asked === 3);
  assert.equal(answer.finish, 'interrupted');
  assert.equal(answer.ids.length, 3);
  assert.equal(chat.messages.length, 2);
  await assert.rejects(chat.answer('word '.repeat(600)), /longer than the model reads[\s\S]*\/reset/);
});

test('one message; a pipe holds one conversation, a line each', async () => {
  const one = await runCli(['chat', '--model', model, '--message', 'hello', '--max-tokens', '5', '--json']);
  assert.equal(one.code, 0, one.stderr);
  const answer = JSON.parse(one.stdout) as { message: string; answer: string; ids: number[]; finish: string };
  assert.equal(answer.message, 'hello');
  assert.equal(answer.ids.length, 5);
  const piped = await runCli(['chat', '--model', model, '--max-tokens', '5', '--json'], {
    input: 'hello\n\nagain\n/reset\nhello\n/exit\nno\n',
  });
  assert.equal(piped.code, 0, piped.stderr);
  const lines = piped.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as typeof answer);
  assert.deepEqual(
    lines.map(({ message }) => message),
    ['hello', 'again', 'hello'],
  );
  assert.deepEqual(lines[0], answer);
  assert.deepEqual(lines[2], answer);
});
