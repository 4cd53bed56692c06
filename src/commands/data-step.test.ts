// `belay data step` when it is given what it cannot use: plain words and an exit code, never a stack.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runCli } from '../../test/run-cli.ts';
import { UserError } from '../base/errors.ts';
import { settingsOf } from './data-step.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-data-step-'));
after(() => rmSync(dir, { recursive: true, force: true }));

test('settings by path: parts of what has none are refused, names of prototypes are names', () => {
  assert.deepEqual(settingsOf(['a.b=1', 'a.c=x', 'd=[2]']), { a: { b: 1, c: 'x' }, d: [2] });
  assert.throws(() => settingsOf(['mode=apertus', 'mode.x=1']), UserError);
  assert.throws(() => settingsOf(['list=[1]', 'list.x=1']), UserError);
  assert.throws(() => settingsOf(['mode']), UserError);
  settingsOf(['__proto__.polluted=1', 'constructor.prototype.polluted=1']);
  assert.equal(({} as { readonly polluted?: number }).polluted, undefined);
});

test('what cannot be read or written is said in words', async () => {
  const cases: readonly (readonly [args: readonly string[], said: RegExp])[] = [
    [['pii', '--removed', join(dir, 'none', 'gone.jsonl')], /^belay: the file for removed lines cannot be written\n/],
    [['pii', '--removed', dir], /^belay: the file for removed lines cannot be written\n/],
    [['language', '--set', `model=${join(dir, 'none')}`], /^belay: a model of the step language is not there\n/],
    [['pii', '--set', 'mode=apertus', '--set', 'mode.x=1'], /^belay: --set names a part/],
  ];
  for (const [args, said] of cases) {
    const { code, stderr, stdout } = await runCli(['data', 'step', ...args], { input: '{"text":"a"}\n' });
    assert.match(stderr, said);
    assert.doesNotMatch(stderr, /\n {4}at /);
    assert.equal(code, 2);
    assert.equal(stdout, '');
  }
});

test('whatever a line holds, it is kept or removed', async () => {
  const lines = [
    '{"text":"a"}',
    '',
    'x',
    '[[[',
    '{"text":5}',
    '{"text":"b","url":5}',
    '{"text":"\\ud800\\u0000"}',
    'null',
  ];
  const removed = join(dir, 'removed.jsonl');
  for (const step of ['block-list', 'code', 'licence', 'exact-dedup']) {
    const { code, stdout, stderr } = await runCli(['data', 'step', step, '--removed', removed], {
      input: lines.join('\n'),
    });
    assert.equal(code, 0, stderr);
    const count = (text: string): number => text.split('\n').length - 1;
    assert.equal(count(stdout) + count(readFileSync(removed, 'utf8')), 7, step);
    assert.match(stderr, /7 read/);
  }
});
