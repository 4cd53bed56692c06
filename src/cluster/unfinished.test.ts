// Checkpoints on the disk: what counts as whole in both layouts, and what is taken away before a start.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { clearTriggers, isTriggered, pullTriggers } from './triggers.ts';
import {
  belayCheckpoints,
  megatronCheckpoints,
  megatronFolder,
  megatronTracker,
  removeUnfinished,
} from './unfinished.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-unfinished-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
let count = 0;

/** A folder with Megatron checkpoints and, unless undefined, a tracker. */
function megatron(iterations: readonly number[], tracker?: string): string {
  const dir = join(scratch, String(count++));
  mkdirSync(dir);
  for (const iteration of iterations) {
    mkdirSync(join(dir, megatronFolder(iteration)));
    writeFileSync(join(dir, megatronFolder(iteration), '__0_0.distcp'), 'x');
  }
  if (tracker !== undefined) writeFileSync(join(dir, megatronTracker), tracker);
  return dir;
}

function clean(dir: string): string[] {
  removeUnfinished(dir, megatronCheckpoints(dir));
  return readdirSync(dir).sort();
}

test('whatever is newer than the tracker goes, and nothing else', () => {
  assert.deepEqual(clean(megatron([250, 500, 750, 1000], '500')), ['iter_0000250', 'iter_0000500', megatronTracker]);
  assert.deepEqual(clean(megatron([250, 500], '500\n')), ['iter_0000250', 'iter_0000500', megatronTracker]);
  assert.deepEqual(clean(megatron([], undefined)), []);
  const notes = megatron([250, 500], '250');
  writeFileSync(join(notes, 'progress.txt'), '');
  mkdirSync(join(notes, 'iter_backup'));
  assert.deepEqual(clean(notes), ['iter_0000250', 'iter_backup', megatronTracker, 'progress.txt']);
});

test('past a million steps the comparison is still of numbers', () => {
  // The 70B model has 1,155,828 steps. Cutting the first digit off, as a shell would for 7 digits, finds 0000250 here.
  const dir = megatron([250, 1_000_000, 1_000_250], '1000000');
  assert.deepEqual(megatronCheckpoints(dir), { whole: [250, 1_000_000], unfinished: ['iter_1000250'] });
  assert.deepEqual(clean(dir), ['iter_0000250', 'iter_1000000', megatronTracker]);
  const whole = megatron([250, 1_000_250], '1000250');
  assert.deepEqual(clean(whole), ['iter_0000250', 'iter_1000250', megatronTracker]);
  assert.equal(megatronFolder(12_345_678), 'iter_12345678');
});

test('a first save that was cut off is taken away; several checkpoints without a tracker are not touched', () => {
  assert.deepEqual(clean(megatron([250])), []);
  const dir = megatron([250, 500]);
  assert.throws(
    () => clean(dir),
    (error) => error instanceof UserError && /there are 250, 500/.test(error.message),
  );
  assert.deepEqual(readdirSync(dir).sort(), ['iter_0000250', 'iter_0000500']);
});

test('a tracker that makes no sense is the user’s to mend, and nothing is deleted', () => {
  for (const text of ['', '0', '-5', '250x', 'nan']) {
    const dir = megatron([250, 500], text);
    assert.throws(() => clean(dir), /does not name a checkpoint/);
    assert.equal(readdirSync(dir).length, 3);
  }
  const missing = megatron([250, 1000], '500');
  assert.throws(() => clean(missing), /not there[\s\S]*500[\s\S]*one of 250/);
  assert.equal(readdirSync(missing).length, 3);
  assert.throws(() => megatronCheckpoints(megatron([], '500')), /iter_0000500/);
});

test('converted weights are a start, not a step', () => {
  assert.deepEqual(megatronCheckpoints(megatron([], 'release')), { whole: [], unfinished: [] });
  assert.deepEqual(megatronCheckpoints(megatron([250], 'release')), { whole: [], unfinished: ['iter_0000250'] });
});

test('checkpoints of belay: whole by their name', () => {
  const dir = join(scratch, 'belay');
  const names = [
    'step-000000005',
    'step-000000010',
    'step-000000015.attempt-0002.partial',
    'step-000000015.attempt-0001.swept-0002',
    'step-000000001.damaged',
    'latest',
  ];
  for (const name of names) mkdirSync(join(dir, name), { recursive: true });
  assert.deepEqual(belayCheckpoints(dir).whole, [5, 10]);
  assert.deepEqual([...belayCheckpoints(dir).unfinished].sort(), [names[3], names[2]]);
  assert.deepEqual(belayCheckpoints(join(scratch, 'none')), { whole: [], unfinished: [] });
});

test('triggers are made, seen and taken away', () => {
  const run = join(scratch, 'triggers-run');
  assert.equal(isTriggered(run, 'exit'), false);
  pullTriggers(run, ['save', 'exit']);
  assert.ok(isTriggered(run, 'save') && isTriggered(run, 'exit'));
  assert.deepEqual(clearTriggers(run, ['exit']), ['exit']);
  assert.deepEqual(clearTriggers(run), ['save']);
  assert.deepEqual(clearTriggers(run), []);
});
