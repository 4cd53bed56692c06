import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { beginFolder, commitFolder, recoverFolder } from './atomic.ts';
import type { Json } from './json.ts';
import { checkFiles, enclosingArtefact, familyTree, readManifest } from './manifest.ts';
import { runStage, type StageOptions } from './stage.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-stage-'));
after(() => rmSync(scratch, { recursive: true }));
const at = (name: string): string => join(scratch, name);

/** A stage that writes one file and counts its runs. */
function stage(
  name: string,
  recipe: Json,
  text: string,
  more: Partial<StageOptions> = {},
): StageOptions & { runs: number } {
  const options = {
    dir: at(name),
    kind: 'test',
    version: 1,
    recipe,
    inputs: {},
    runs: 0,
    run: async (dir: string) => {
      options.runs++;
      writeFileSync(join(dir, 'file.txt'), text);
      return {};
    },
    ...more,
  };
  return options;
}

test('a stage is skipped until its recipe, its layout or an input changes', async () => {
  const first = stage('a', { x: 1 }, 'one');
  await runStage(first);
  assert.equal((await runStage(first)).skipped, true);
  assert.equal(first.runs, 1);
  const child = stage('b', {}, 'child', { inputs: { parent: at('a') } });
  await runStage(child);
  await runStage(stage('a', { x: 2 }, 'two'));
  assert.equal((await runStage(child)).skipped, false, 'the input has another id now');
  assert.equal((await runStage({ ...child, version: 2 })).skipped, false);
});

test('equal work gives equal ids, whenever and wherever it is done', async () => {
  const one = await runStage(stage('here', { x: 1 }, 'same'));
  const two = await runStage(stage('there', { x: 1 }, 'same'));
  assert.equal(one.manifest.id, two.manifest.id);
  const three = await runStage(stage('elsewhere', { x: 1 }, 'other'));
  assert.notEqual(one.manifest.id, three.manifest.id);
});

test('a stage that fails leaves the old artefact, and a missing file makes it run again', async () => {
  await runStage(stage('kept', { x: 1 }, 'old'));
  const failing = stage('kept', { x: 2 }, '', {
    run: async () => {
      throw new Error('no');
    },
  });
  await assert.rejects(runStage(failing), /no/);
  assert.equal(readFileSync(join(at('kept'), 'file.txt'), 'utf8'), 'old');
  rmSync(join(at('kept'), 'file.txt'));
  assert.equal(checkFiles(at('kept'), readManifest(at('kept')), false).length, 1);
  assert.equal((await runStage(stage('kept', { x: 1 }, 'new'))).skipped, false);
});

test('a resumable stage goes on in its folder, even when a finished file went missing; other work is put aside', async () => {
  const work = (text: string): StageOptions & { runs: number } =>
    stage('resumable', { x: 1 }, text, { resumable: true });
  await runStage(work('one'));
  writeFileSync(join(at('resumable'), 'state'), 'half-way');
  rmSync(join(at('resumable'), 'file.txt'));
  const said: string[] = [];
  await runStage({ ...work('two'), onStart: (what) => said.push(what) });
  assert.deepEqual(said, ['resume']);
  assert.ok(existsSync(join(at('resumable'), 'state')), 'what was there is still there');
  await runStage(stage('resumable', { x: 2 }, 'three', { resumable: true }));
  assert.equal(readFileSync(join(at('resumable.superseded-1'), 'file.txt'), 'utf8'), 'two');
});

test('what was there early stays, and makes no folder that is put aside', async () => {
  const asked = join(at('early'), 'asked');
  mkdirSync(at('early'));
  writeFileSync(asked, '');
  const early = { resumable: true, early: ['asked'], exclude: ['asked'] };
  assert.equal((await runStage(stage('early', { x: 1 }, 'one', early))).skipped, false);
  assert.ok(existsSync(asked));
  assert.equal(existsSync(at('early.superseded-1')), false);
  assert.equal((await runStage(stage('early', { x: 1 }, 'one', early))).skipped, true);
});

test('a folder caught between its two renames comes back', () => {
  const dir = at('swapped');
  writeFileSync(join(beginFolder(dir), 'file'), 'old');
  commitFolder(dir);
  renameSync(dir, `${dir}.replaced`);
  recoverFolder(dir);
  assert.equal(readFileSync(join(dir, 'file'), 'utf8'), 'old');
  mkdirSync(`${dir}.replaced`);
  recoverFolder(dir);
  assert.ok(!existsSync(`${dir}.replaced`));
});

test('the family tree names inputs that were replaced since', async () => {
  await runStage(stage('mother', { x: 1 }, 'one'));
  await runStage(stage('child', {}, 'c', { inputs: { mother: at('mother') } }));
  const before = familyTree(at('child')).inputs[0];
  assert.equal(before?.recordedId, before?.manifest?.id);
  await runStage(stage('mother', { x: 2 }, 'two'));
  const now = familyTree(at('child')).inputs[0];
  assert.notEqual(now?.recordedId, now?.manifest?.id);
  assert.equal(enclosingArtefact(join(at('child'), 'file.txt')), at('child'));
});
