// Tests of claims: a number has one owner, and only the newest one is current.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { watchFileCalls } from '../../test/file-calls.ts';
import { Attempt } from './attempt.ts';

const root = mkdtempSync(join(tmpdir(), 'belay-attempt-'));
after(() => rmSync(root, { recursive: true, force: true }));
let runs = 0;
const newRun = (): string => join(root, `run-${runs++}`);

test('each start claims the next number, and the one before is told who has taken over', () => {
  const run = newRun();
  const first = Attempt.begin(run, { ranks: 2 });
  const { token, ...record } = JSON.parse(readFileSync(join(run, 'attempts', '0001', 'attempt.json'), 'utf8'));
  assert.deepEqual(
    [record.number, record.pid, record.host, record.ranks, token],
    [1, process.pid, hostname(), 2, first.token],
  );
  const elsewhere = Attempt.join(run, 1, first.token);
  assert.ok(first.isCurrent() && elsewhere.isCurrent());
  elsewhere.assertCurrent();
  const second = Attempt.begin(run, { ranks: 1 });
  assert.deepEqual([second.number, second.dir], [2, join(run, 'attempts', '0002')]);
  assert.notEqual(second.token, first.token);
  assert.ok(second.isCurrent() && !first.isCurrent() && !elsewhere.isCurrent());
  assert.throws(() => elsewhere.assertCurrent(), new RegExp(`newer attempt 2 has taken over on host ${hostname()}`));
});

test('one that was killed before it wrote anything has taken over all the same', () => {
  const run = newRun();
  const first = Attempt.begin(run, { ranks: 1 });
  mkdirSync(join(run, 'attempts', '0002'));
  assert.throws(() => first.assertCurrent(), /newer attempt 2 has taken over on host an unknown host/);
  assert.equal(Attempt.begin(run, { ranks: 1 }).number, 3);
});

test('a folder that was removed and made again belongs to somebody else', () => {
  const run = newRun();
  const first = Attempt.begin(run, { ranks: 1 });
  rmSync(join(run, 'attempts'), { recursive: true });
  assert.throws(() => first.assertCurrent(), /was removed or replaced/);
  const other = Attempt.begin(run, { ranks: 1 });
  assert.equal(other.number, 1);
  assert.ok(other.isCurrent() && !first.isCurrent());
});

test('two that begin at once, between any two calls, get different numbers and only the later one is current', () => {
  const calls = watchFileCalls(
    () => void Attempt.begin(newRun(), { ranks: 1 }),
    () => {},
  );
  assert.ok(calls >= 8, `${calls} calls`);
  for (let at = 0; at < calls; at++) {
    const run = newRun();
    let inner: Attempt | undefined;
    let outer: Attempt | undefined;
    watchFileCalls(
      () => {
        outer = Attempt.begin(run, { ranks: 1 });
      },
      (call) => {
        if (call === at) inner = Attempt.begin(run, { ranks: 1 });
      },
    );
    const numbers = [inner?.number, outer?.number].sort();
    assert.deepEqual(numbers, [1, 2], `before call ${at}`);
    assert.deepEqual([inner?.isCurrent(), outer?.isCurrent()].sort(), [false, true], `before call ${at}`);
  }
});
