// `belay tokenizer encode` and `decode`: there and back, whatever the number of threads; bad lines are set aside.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runCli } from '../../test/run-cli.ts';
import { silentLog } from '../base/progress.ts';
import { Random } from '../base/rng.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { encodeTexts } from '../tokenizer/encode-texts.ts';
import { writeTokenizerFiles } from '../tokenizer/tokenizer-files.ts';
import { trainBpe } from '../tokenizer/train.ts';
import { decodeLines, encodeLines, type RejectedLine } from './tokenizer-lines.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-tokenizer-lines-'));
after(() => rmSync(dir, { recursive: true }));
const tokenizer = join(dir, 'tokenizer');
before(async () =>
  writeTokenizerFiles(tokenizer, await trainBpe(['Grüezi mitenand, hello hello 漢字'], 350, silentLog)),
);

async function run(
  verb: typeof encodeLines | typeof decodeLines,
  lines: readonly string[],
  more: object = {},
): Promise<{ out: Record<string, unknown>[]; rejected: RejectedLine[]; result: unknown }> {
  const input = join(dir, 'in.jsonl');
  writeFileSync(input, lines.map((line) => `${line}\n`).join(''));
  const out: Record<string, unknown>[] = [];
  const rejected: RejectedLine[] = [];
  const result = await verb({
    tokenizer,
    input,
    write: async (line) => void out.push(JSON.parse(line) as Record<string, unknown>),
    reject: async (line) => void rejected.push(line),
    ...more,
  });
  return { out, rejected, result };
}

test('lines come back as they were, with what else stood in them', async () => {
  const lines = [
    { id: 'a', text: 'Grüezi 漢字 \ufeff', n: 1 },
    { text: '' },
    { text: '<|user_start|>hello</s>', ids: [1] },
    { text: '\ud83d\ude00 "quoted"\n', rest: { deep: [null] } },
  ];
  const encoded = await run(
    encodeLines,
    lines.map((line) => JSON.stringify(line)),
  );
  const own = Tokenizer.load(tokenizer);
  assert.deepEqual(
    encoded.out,
    lines.map(({ text, ...rest }) => ({ ...rest, ids: own.encode(text) })),
  );
  assert.ok(encoded.out.every(({ ids }) => (ids as number[]).every((id) => !own.isSpecial(id))));
  const decoded = await run(
    decodeLines,
    encoded.out.map((line) => JSON.stringify(line)),
  );
  assert.deepEqual(
    decoded.out,
    lines.map(({ text, ...line }) => {
      const { ids: _, ...rest } = line as { ids?: unknown };
      return { ...rest, text };
    }),
  );
});

test('what else stands in a line stays as it is spelled', async () => {
  const deep = `${'['.repeat(200)}${']'.repeat(200)}`;
  const others = [
    '"id": 12345678901234567890',
    '"10":1,"9":1.0,"a":-0',
    '"n":{"text":"x\\"},{\\\\","ids":[1e400,2]},"e":"\\u00fc","b":[]',
    `"deep":${deep}`,
    '"\\\\":"\\\\","q\\"":"\\""',
  ];
  const told: string[] = [];
  const write = async (line: string): Promise<void> => void told.push(line);
  await run(
    encodeLines,
    others.map((other, i) => (i % 2 === 0 ? `{"text":"",${other}}` : ` { ${other} , "te\\u0078t" : "" }`)),
    { write },
  );
  const none = Tokenizer.load(tokenizer).encode('').join(',');
  assert.deepEqual(
    told,
    others.map((other) => `{${other},"ids":[${none}]}`),
  );
  const encoded = told.splice(0);
  await run(decodeLines, encoded, { write });
  assert.deepEqual(
    told,
    others.map((other) => `{${other},"text":""}`),
  );
});

test('control tokens come when they are asked for', async () => {
  const line = JSON.stringify({ text: '<|user_start|>hello' });
  const own = Tokenizer.load(tokenizer);
  const { out } = await run(encodeLines, [line], { special: true, template: true });
  assert.deepEqual(out, [{ ids: own.encode('<|user_start|>hello', { allowSpecial: true, bos: true }) }]);
  const plain = await run(decodeLines, [JSON.stringify(out[0])], { skipSpecial: true });
  assert.deepEqual(plain.out, [{ text: 'hello' }]);
});

test('lines that cannot be used are set aside with the reason, and the others go on', async () => {
  const deep = `{"text": "x", "deep": ${'['.repeat(20_000)}${']'.repeat(20_000)}}`;
  const lines = ['{"text": "hello"}', '{"text": 1}', '{', '[]', 'null', '', deep, '{"text": "hello"}'];
  const encoded = await run(encodeLines, lines);
  assert.equal(encoded.out.length, 3, 'what is nested deeply is kept as well');
  assert.deepEqual(
    encoded.rejected.map(({ line }) => line),
    [2, 3, 4, 5],
  );
  assert.deepEqual(
    encoded.rejected.map(({ reason }) => reason),
    ['no text', 'not valid JSON', 'no JSON object', 'no JSON object'],
  );
  assert.deepEqual(encoded.rejected[0]?.record, { text: 1 });
  const decoded = await run(decodeLines, [
    '{"ids": [350]}',
    '{"ids": "1"}',
    '{"ids": [1.5]}',
    '{"ids": [-1]}',
    '{"ids": []}',
  ]);
  assert.deepEqual(decoded.out, [{ text: '' }]);
  assert.deepEqual(
    decoded.rejected.map(({ reason }) => reason),
    ['an id that is not in [0, 350)', 'no ids', 'an id that is not in [0, 350)', 'an id that is not in [0, 350)'],
  );
});

test('ids of half a character keep their bytes', async () => {
  const own = Tokenizer.load(tokenizer);
  const [first] = own.encode('\u{10fff0}');
  const { out } = await run(decodeLines, [JSON.stringify({ ids: [first] })]);
  assert.deepEqual(out, [{ text: '\ufffd', bytes: Buffer.of(0xf4).toString('base64') }]);
});

test('any number of threads gives the same ids in the same order', async () => {
  const random = new Random(1, 'threads');
  const texts = Array.from({ length: 3000 }, () => 'hello 漢字 Grüezi '.repeat(random.integer(90)));
  const own = Tokenizer.load(tokenizer);
  for (const workers of [1, 2, 3]) {
    let i = 0;
    for await (const { item, ids } of encodeTexts(tokenizer, texts, (text) => text, {
      workers,
      last: 2,
      unitsAlone: 1 << 20,
    })) {
      assert.equal(item, texts[i++]);
      assert.deepEqual([...ids], [...own.encode(item), 2]);
    }
    assert.equal(i, texts.length);
  }
});

test('what goes wrong in a thread arrives', async () => {
  const texts = ['a', 'b'].map((letter) => letter.repeat(1 << 20));
  const options = { workers: 2, unitsAlone: 0, allowSpecial: ['<nothing>'] };
  await assert.rejects(async () => {
    for await (const _ of encodeTexts(tokenizer, texts, (text) => text, options));
  }, /<nothing> is not an added token/);
});

test('the verbs read and write the standard streams', async () => {
  const rejected = join(dir, 'rejected.jsonl');
  const encoded = await runCli(
    ['tokenizer', 'encode', '--tokenizer', tokenizer, '--rejected', rejected, '--workers', '1'],
    {
      input: '{"text": "hello", "id": 7}\n{}\n',
    },
  );
  assert.equal(encoded.code, 0, encoded.stderr);
  assert.match(encoded.stderr, /1 lines, \d+ tokens, 1 rejected \(1 no text\)/);
  assert.deepEqual(JSON.parse(readFileSync(rejected, 'utf8')), { line: 2, reason: 'no text', record: {} });
  const decoded = await runCli(['tokenizer', 'decode', '--tokenizer', tokenizer], { input: encoded.stdout });
  assert.deepEqual(JSON.parse(decoded.stdout), { id: 7, text: 'hello' });
  const missing = await runCli(['tokenizer', 'decode', '--tokenizer', join(dir, 'none')], { input: '' });
  assert.equal(missing.code, 2);
});
