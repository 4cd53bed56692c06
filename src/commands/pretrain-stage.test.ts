// The batches of pretraining let go of their files, whoever asked for them; triggers are heard, however early they were made.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openFiles } from '../../test/open-files.ts';
import { runCli } from '../../test/run-cli.ts';
import { exitCodes } from '../base/errors.ts';
import { silentLog } from '../base/progress.ts';
import { parseRecipe, type PretrainRecipe } from '../base/recipe.ts';
import { packageRoot } from '../base/version.ts';
import { MegatronWriter } from '../corpus/megatron.ts';
import { curriculumOf } from '../train/curriculum.ts';
import { chooseSteps } from './budgets.ts';
import { pretrainData } from './pretrain-stage.ts';
import { Run } from './run-folder.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-pretrain-'));
after(() => rmSync(dir, { recursive: true, force: true }));

test('measuring minutes, and data that are closed, leave no token file open', async () => {
  const writer = new MegatronWriter(join(dir, 'train'), 'uint16');
  for (let d = 0; d < 40; d++) writer.addDocument(Array.from({ length: 30 }, (_, i) => 3 + ((i * d) % 60)));
  writer.close();
  const recipe = parseRecipe(
    {
      name: 'test',
      model: { layers: 1, hidden: 8, intermediate: 8, heads: 1, kvHeads: 1, headDim: 8, vocabularySize: 64 },
      pretrain: { minutes: 0.01, peakLearningRate: 0.001, sequenceLength: 8, batchSize: 2, compute: 'float32' },
    },
    'of the test',
  );
  const file = join(dir, 'train.bin');
  const pretrain = recipe.pretrain as PretrainRecipe;
  const { phase } = curriculumOf(pretrain, recipe.seed, 3).at(0);
  const data = pretrainData(dir, pretrain, phase);
  assert.equal((await data.rows(4, 2)).labels.length, 16);
  if (process.platform === 'linux') assert.ok((await openFiles(file)) > 0);
  await data.close?.();
  assert.equal(await openFiles(file), 0);

  const run = new Run(dir, recipe, recipe, {}, { out: dir, log: silentLog });
  await chooseSteps(run, 'pretrain', (steps) => {
    const curriculum = curriculumOf(pretrain, recipe.seed, steps);
    return { curriculum, data: pretrainData(dir, pretrain, curriculum.at(0).phase) };
  });
  assert.ok((run.recipe.pretrain?.steps ?? 0) > 0);
  assert.equal(await openFiles(file), 0);
});

test('what is asked before pretraining begins is heard when it does', async () => {
  const out = join(dir, 'asked');
  const triggers = join(out, 'pretrain', 'triggers');
  mkdirSync(triggers, { recursive: true });
  writeFileSync(join(triggers, 'exit'), '');
  const recipe = ['--recipe', join(packageRoot, 'recipes', 'demo-tiny.ts')];
  const { code, stderr } = await runCli(['pretrain', '--out', out, ...recipe]);
  assert.equal(code, exitCodes.paused, stderr);
  assert.deepEqual(
    readdirSync(out).filter((name) => name.startsWith('pretrain')),
    ['pretrain'],
  );
  assert.deepEqual(readdirSync(triggers), []);
});
