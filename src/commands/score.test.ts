// `belay score` against the reference losses, with bad lines, compressed files and text.
import assert from 'node:assert/strict';
import { existsSync, linkSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import { runCli } from '../../test/run-cli.ts';
import { writeSmallModel } from '../../test/small-model.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { SafetensorsFile } from '../tensor/safetensors.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { scoreFile, someLinesFailed } from './score.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-score-'));
after(() => rmSync(scratch, { recursive: true }));
const small = join(scratch, 'model');
before(() => writeSmallModel(small));

const golden = goldenJson<{ T: number; input_ids: number[][]; labels: number[][]; document_starts: number[][] }>(
  'model',
  'batch.json',
);
const hf = goldenPath('model', 'hf');

const linesOf = (text: string): { logprobs?: number[]; error?: string }[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { logprobs?: number[]; error?: string });

test('ids and documents give the reference losses; bad lines are answered in their place', async () => {
  const ids = [...(golden.input_ids[0] as number[]), golden.labels[0]?.at(-1) as number];
  const input = join(scratch, 'in.jsonl');
  const output = join(scratch, 'out.jsonl');
  writeFileSync(
    input,
    [
      JSON.stringify({ ids, documents: golden.document_starts[0], id: 'other keys are ignored' }),
      '{"ids": [1, 2',
      JSON.stringify({ ids }),
      JSON.stringify({ ids: [1, 999_999] }),
      JSON.stringify({ ids: [1, 2], text: 'both' }),
      JSON.stringify({ ids: [1, 2, 3], documents: [2, 1] }),
      JSON.stringify({ ids: [1] }),
    ].join('\n'),
  );
  const result = await scoreFile({ model: hf, input, output });
  const lines = linesOf(readFileSync(output, 'utf8'));
  assert.equal(lines.length, 7);
  for (const [line, mode] of [
    [0, 'packed'],
    [2, 'causal'],
  ] as const) {
    const file = new SafetensorsFile(goldenPath('model', `${mode}_outputs.safetensors`));
    const want = file.read('token_loss', jsBackend()).slice(0, golden.T);
    file.close();
    const got = lines[line]?.logprobs as number[];
    assert.equal(got.length, golden.T);
    for (const [i, logprob] of got.entries()) assert.ok(Math.abs(logprob + (want[i] as number)) < 1e-5, `${mode} ${i}`);
  }
  assert.match(lines[1]?.error as string, /^not valid JSON$/);
  assert.match(lines[3]?.error as string, /ids\[1\] is 999999/);
  assert.match(lines[4]?.error as string, /one of them/);
  assert.match(lines[5]?.error as string, /documents\[1\] is 1/);
  assert.deepEqual(lines[6], { logprobs: [] });
  assert.deepEqual({ ...result, logprob: 0 }, { lines: 7, tokens: 2 * golden.T, logprob: 0, errors: 4 });
  assert.ok(!existsSync(`${output}.partial`));
});

test('text is its tokens after <s>; compressed files work; the exit code tells of bad lines', async () => {
  const text = 'All human beings\u2028Grüezi';
  const input = join(scratch, 'text.jsonl.gz');
  const output = join(scratch, 'text-out.jsonl.gz');
  const ids = Tokenizer.load(small).encode(text, { bos: true });
  writeFileSync(input, gzipSync(`${JSON.stringify({ text })}\n${JSON.stringify({ ids })}\n`));
  const good = await runCli(['score', '--model', small, '--input', input, '--out', output, '--threads', '1', '--json']);
  assert.equal(good.code, 0, good.stderr);
  assert.equal((JSON.parse(good.stdout) as { lines: number }).lines, 2);
  const [fromText, fromIds] = linesOf(gunzipSync(readFileSync(output)).toString());
  assert.equal(fromText?.logprobs?.length, ids.length - 1);
  assert.deepEqual(fromText, fromIds);

  writeFileSync(join(scratch, 'bad.jsonl'), '{"ids":[1,2]}\nnonsense\n');
  const bad = await runCli([
    'score',
    '--model',
    small,
    '--input',
    join(scratch, 'bad.jsonl'),
    '--out',
    join(scratch, 'bad-out.jsonl'),
  ]);
  assert.equal(bad.code, someLinesFailed);
  assert.match(bad.stderr, /1 of 2 lines/);
});

test('the input is never the file in which the output is built', async () => {
  const text = '{"ids":[1,2]}\n';
  for (const [input, output] of [
    ['scores.jsonl.partial', 'scores.jsonl'],
    ['scores.partial.jsonl.gz', 'scores.partial.jsonl.gz'],
    ['packed.partial.gz', 'packed.gz'],
    ['linked.jsonl', 'link.jsonl'],
  ] as const) {
    writeFileSync(join(scratch, input), text);
    if (output === 'link.jsonl') linkSync(join(scratch, input), join(scratch, `${output}.partial`));
    const files = { input: join(scratch, input), output: join(scratch, output) };
    await assert.rejects(scoreFile({ model: small, ...files }), /same file|output would be built/);
    assert.equal(readFileSync(join(scratch, input), 'utf8'), text);
  }
});

test('more lines than one pass stay in order, whatever the neighbours', async () => {
  const input = join(scratch, 'many.jsonl');
  const output = join(scratch, 'many-out.jsonl');
  const lines = Array.from({ length: 300 }, (_, i) => ({
    ids: Array.from({ length: 1 + (i % 120) }, (_, k) => (i * 7 + k * k) % 340),
  }));
  writeFileSync(input, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  await scoreFile({ model: small, input, output });
  const all = linesOf(readFileSync(output, 'utf8'));
  assert.deepEqual(
    all.map(({ logprobs }) => logprobs?.length),
    lines.map(({ ids }) => ids.length - 1),
  );
  writeFileSync(input, `${JSON.stringify(lines[118])}\n`);
  await scoreFile({ model: small, input, output });
  const alone = linesOf(readFileSync(output, 'utf8'))[0]?.logprobs as number[];
  for (const [i, logprob] of alone.entries()) assert.ok(Math.abs(logprob - (all[118]?.logprobs?.[i] as number)) < 1e-4);
});
