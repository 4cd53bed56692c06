import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog } from '../base/progress.ts';
import { parseRecipe, type PretrainRecipe } from '../base/recipe.ts';
import { Unigram } from '../evaluate/unigram.ts';
import { Apertus } from '../model/apertus.ts';
import { modelConfig } from '../model/config.ts';
import { selectedBackend } from '../tensor/backend-select.ts';
import { Engine } from '../tensor/tensor.ts';
import { type Curriculum, curriculumOf, type Phase } from '../train/curriculum.ts';
import { measurePhase, phasesName, readPhases, windowsAfter } from './phase-losses.ts';

const recipe = parseRecipe(
  {
    name: 'small',
    model: {
      layers: 1,
      hidden: 16,
      intermediate: 32,
      heads: 2,
      kvHeads: 1,
      headDim: 8,
      vocabularySize: 64,
      maxPositions: 64,
      initStd: 0.3,
    },
    pretrain: {
      sequenceLength: 8,
      batchSize: 2,
      peakLearningRate: 1e-3,
      phases: [
        { name: 'a', steps: 3 },
        { name: 'b', steps: 2 },
        { name: 'long', steps: 2, sequenceLength: 16 },
        { name: 'longest', steps: 1, sequenceLength: 32 },
      ],
    },
  },
  'small',
);
const curriculum = curriculumOf(recipe.pretrain as PretrainRecipe, 28);
const phase = (index: number, of: Curriculum = curriculum): Phase => of.phases[index] as Phase;

test('windows: the own length, and the first and the longest where the length is about to change', () => {
  assert.deepEqual(
    curriculum.phases.map((one) => windowsAfter(curriculum, one)),
    [[8], [8, 32], [8, 16, 32], [8, 32]],
  );
  const single = curriculumOf({ ...(recipe.pretrain as PretrainRecipe), phases: [], steps: 4 }, 28);
  assert.deepEqual(windowsAfter(single, phase(0, single)), []);
});

test('a row for each phase, over the same bytes at every window; a phase that runs again replaces what came of it', () => {
  const dir = mkdtempSync(join(tmpdir(), 'belay-phases-'));
  try {
    const model = new Apertus(new Engine(selectedBackend().backend, 'float32'), modelConfig(recipe.model));
    model.initialise(1);
    const documents = [40, 10, 20, 16].map((tokens) => ({
      language: 'und',
      ids: Array.from({ length: tokens }, (_, i) => (i * i) % 61),
      bytes: 3 * tokens,
    }));
    const options = { dir, curriculum, documents, unigram: new Unigram(new Float64Array(64)), log: silentLog };
    for (const index of [0, 1, 2]) measurePhase(options, model, phase(index));
    const facts = measurePhase(options, model, phase(1));
    const rows = readPhases(join(dir, phasesName));
    assert.deepEqual(
      rows.map(({ phase: name, step, tokens }) => [name, step, tokens]),
      [
        ['a', 3, 48],
        ['b', 5, 80],
      ],
    );
    const { all, long } = rows[1]?.validation ?? assert.fail();
    assert.equal(all.documents, 4);
    assert.deepEqual(
      long.map(({ window, documents: count, bytes, tokens }) => [window, count, bytes, tokens]),
      [
        [8, 3, 228, 73],
        [32, 3, 228, 73],
      ],
    );
    assert.notEqual(long[0]?.bitsPerByte, long[1]?.bitsPerByte);
    assert.deepEqual(facts, { bitsPerByte: all.bitsPerByte, longBitsPerByte: long[0]?.bitsPerByte });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
