// `belay convert` as other programs meet it.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { goldenPath } from '../../test/golden.ts';
import { runCli } from '../../test/run-cli.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-convert-'));
after(() => rmSync(scratch, { recursive: true }));

test('a model goes to Megatron and back from the command line', async () => {
  const input = goldenPath('model', 'hf-bf16');
  const [middle, end] = [join(scratch, 'megatron'), join(scratch, 'hf')];
  const there = await runCli([
    'convert',
    '--from',
    'hf',
    '--to',
    'megatron',
    '--tp',
    '2',
    '--pp',
    '2',
    '--json',
    input,
    middle,
  ]);
  assert.equal(there.code, 0, there.stderr);
  assert.equal(there.stderr, '');
  const split = { tensorParallel: 2, pipelineParallel: 2, layersPerVirtualStage: null };
  const result = JSON.parse(there.stdout) as object;
  assert.deepEqual(
    { ...result, tensors: 0, bytes: 0 },
    {
      out: middle,
      files: 4,
      tensors: 0,
      bytes: 0,
      split,
      vocabularyRows: 256,
      replicasThatDiffer: [],
    },
  );
  const back = await runCli(['convert', '--from', 'megatron', '--to', 'hf', middle, end]);
  assert.equal(back.code, 0, back.stderr);
  assert.match(
    back.stdout,
    /hf: 31 tensors, 0\.2 MB in 1 file\nMegatron side: 2 tensor ranks, 2 pipeline ranks, 256 rows/,
  );
  assert.deepEqual(
    readFileSync(join(end, 'model.safetensors')).subarray(-60_000),
    readFileSync(join(input, 'model.safetensors')).subarray(-60_000),
  );
});

test('what cannot be converted exits with 2 and leaves nothing', async () => {
  const out = join(scratch, 'none');
  const wrong = await runCli([
    'convert',
    '--from',
    'hf',
    '--to',
    'megatron',
    '--tp',
    '4',
    goldenPath('model', 'hf'),
    out,
  ]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /Megatron cannot split this model so\n {2}found: {4}2 key\/value heads on 4 tensor ranks/);
  assert.ok(!existsSync(out) && !existsSync(`${out}.partial`));
});
