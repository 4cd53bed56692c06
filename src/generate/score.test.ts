// Scores against the reference losses and against a full forward pass, on every backend this machine has.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { availableBackends } from '../../test/backends.ts';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import type { Apertus } from '../model/apertus.ts';
import { loadHfFolder } from '../model/hf-folder.ts';
import type { Backend } from '../tensor/backend.ts';
import { SafetensorsFile } from '../tensor/safetensors.ts';
import { Engine } from '../tensor/tensor.ts';
import { logProbability } from './sample.ts';
import { scoreSequences, type ScoreSequence, whyNotScorable } from './score.ts';

const golden = goldenJson<{
  B: number;
  T: number;
  input_ids: number[][];
  labels: number[][];
  document_starts: number[][];
}>('model', 'batch.json');

function goldenModel(backend: Backend): Apertus {
  return loadHfFolder(goldenPath('model', 'hf'), new Engine(backend), { gradients: false });
}

/** Ids of a row with the label of its last token, so that every input has a score. */
function sequence(row: number, packed: boolean): ScoreSequence {
  const ids = [...(golden.input_ids[row] as number[]), golden.labels[row]?.at(-1) as number];
  return packed ? { ids, documents: golden.document_starts[row] as number[] } : { ids };
}

function assertClose(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(got.length, want.length, what);
  for (let i = 0; i < want.length; i++) {
    const off = Math.abs((got[i] as number) - (want[i] as number));
    assert.ok(off <= tolerance, `${what}: ${i} is off by ${off}`);
  }
}

/** Scores of ids[from..] given ids[start..], each by a whole forward pass. */
function byFullForward(model: Apertus, ids: readonly number[], start: number, end: number): number {
  const tokens = Int32Array.from(ids.slice(start, end));
  const T = tokens.length;
  const positions = tokens.map((_, i) => i);
  let score = 0;
  model.engine.scope(() => {
    const hidden = model.hidden({ B: 1, T, tokens, positions, lo: new Int32Array(T), hi: positions.map((p) => p + 1) });
    const logits = model.logits(hidden).data.slice(-model.config.vocabularySize);
    score = logProbability(logits, ids[end] as number);
  });
  return score;
}

for (const { name, backend } of availableBackends()) {
  for (const mode of ['packed', 'causal'] as const) {
    test(`${name}: the token losses of the ${mode} reference, in any cut`, () => {
      const model = goldenModel(backend());
      const outputs = new SafetensorsFile(goldenPath('model', `${mode}_outputs.safetensors`));
      const want = Array.from(outputs.read('token_loss', model.engine.backend), (loss) => -loss);
      outputs.close();
      const sequences = Array.from({ length: golden.B }, (_, row) => sequence(row, mode === 'packed'));
      // One pass for all, one per few tokens, and pieces shorter than a document through the cache.
      for (const tokensPerPass of [4096, golden.T, 5, 1]) {
        const scores = scoreSequences(model, sequences, { tokensPerPass });
        for (let row = 0; row < golden.B; row++) {
          assertClose(
            scores[row] as Float32Array,
            want.slice(row * golden.T, (row + 1) * golden.T),
            1e-5,
            `row ${row}, ${tokensPerPass} tokens per pass`,
          );
        }
      }
      assert.equal(model.engine.memory.liveBytes, 0, 'memory left over');
    });
  }
}

test('a document beyond the context is read in windows that overlap by half', () => {
  const model = goldenModel(availableBackends()[0]?.backend() as Backend);
  const short = Object.assign(Object.create(model) as Apertus, { config: { ...model.config, maxPositions: 8 } });
  const { ids } = sequence(0, false);
  const some = ids.slice(0, 22);
  const scores = scoreSequences(short, [{ ids: some }])[0] as Float32Array;
  for (let i = 0; i < some.length - 1; i++) {
    // Inputs 0..7 see all before them; later windows begin at 4, 8, 12 and score their second half.
    const window = i < 8 ? 0 : Math.floor((i - 8) / 4) * 4 + 4;
    assert.ok(Math.abs((scores[i] as number) - byFullForward(model, some, window, i + 1)) < 1e-4, `token ${i + 1}`);
  }
});

test('a score does not depend on what comes after, and short sequences have none', () => {
  const model = goldenModel(availableBackends()[0]?.backend() as Backend);
  const { ids } = sequence(0, false);
  const [all, part, one, none] = scoreSequences(model, [{ ids }, { ids: ids.slice(0, 9) }, { ids: [1] }, { ids: [] }]);
  assertClose(part as Float32Array, (all as Float32Array).slice(0, 8), 1e-5, 'prefix');
  assert.equal(one?.length, 0);
  assert.equal(none?.length, 0);
});

test('what cannot be scored is said, not scored', () => {
  assert.match(whyNotScorable({ ids: [1, 900] }, 100) as string, /ids\[1\] is 900, expected a whole number in 0\.\.99/);
  assert.match(whyNotScorable({ ids: [1, 2, 3], documents: [2, 1] }, 100) as string, /documents\[1\] is 1/);
  assert.match(whyNotScorable({ ids: [1, 2, 3], documents: [3] }, 100) as string, /documents\[0\] is 3/);
  assert.equal(whyNotScorable({ ids: [1, 2, 3], documents: [0, 2] }, 100), undefined);
});
