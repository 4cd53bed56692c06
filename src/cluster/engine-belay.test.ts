// belay's own training as an engine: what its files and exit codes mean to a campaign.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { appendEvent } from '../base/events.ts';
import type { Engine, StepOutcome } from './engine.ts';
import { engineOf } from './engines.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-engine-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

function made(name: string): { readonly engine: Engine; readonly run: string } {
  const dir = join(scratch, name);
  const run = join(dir, 'pretrain');
  mkdirSync(join(run, 'checkpoints'), { recursive: true });
  const engine = engineOf({ engine: 'belay', dir, belay: ['node', 'cli.js'], flags: ['--heartbeat', '5'], steps: 40 });
  return { engine, run };
}

test('progress is the newest whole checkpoint, and the end is the manifest', () => {
  const { engine, run } = made('progress');
  assert.deepEqual(engine.progress(), { step: 0, total: 40, phase: null, isFinished: false });
  for (const name of ['step-000000010', 'step-000000020', 'step-000000030.attempt-0001.partial'])
    mkdirSync(join(run, 'checkpoints', name));
  assert.equal(engine.progress().step, 20);
  writeFileSync(join(run, 'manifest.json'), '{}');
  assert.deepEqual(engine.progress(), { step: 40, total: 40, phase: null, isFinished: true });
});

test('it runs on any number of nodes, by one command', () => {
  const { engine, run } = made('command');
  assert.deepEqual(engine.nodeCounts(3), [3, 2, 1]);
  assert.deepEqual(engine.nodeCounts(0), []);
  const { files, before, argv } = engine.step({ nodes: ['n1'], tasksPerNode: 2, folder: '/x', job: '1', index: 0 });
  assert.deepEqual([files, before], [[], []]);
  assert.deepEqual(argv, ['node', 'cli.js', 'pretrain', '--out', join(run, '..'), '--heartbeat', '5']);
});

test('triggers and what a start finds', () => {
  const { engine, run } = made('triggers');
  mkdirSync(join(run, 'checkpoints', 'step-000000030.attempt-0001.partial'));
  assert.deepEqual(engine.prepare(), { stopAsked: false, unfinished: ['step-000000030.attempt-0001.partial'] });
  engine.ask('save');
  engine.ask('stop');
  assert.equal(engine.prepare().stopAsked, true);
  assert.equal(engine.prepare().stopAsked, false, 'it was taken away');
});

test('exit codes, and why it paused', () => {
  const { engine, run } = made('codes');
  const before = engine.progress();
  const outcome = (exit: number | null, signal: string | null = null): StepOutcome =>
    engine.verdict({ exit, signal, before }).outcome;
  assert.deepEqual(
    [74, 2, 1, 0, 137, 139].map((code) => outcome(code)),
    ['lost-peer', 'mistake', 'failed', 'failed', 'failed', 'failed'],
  );
  assert.equal(outcome(null, 'SIGKILL'), 'failed');
  assert.match(engine.verdict({ exit: 137, signal: null, before }).why, /137 \(signal 9\)/);
  const event = (name: string, fields = {}): void => appendEvent(join(run, 'events.jsonl'), name, fields);
  event('start');
  event('paused', { by: 'trigger', step: 5 });
  assert.equal(outcome(75), 'stopped');
  event('resume', { step: 5 });
  event('checkpoint', { step: 10 });
  assert.equal(outcome(75), 'paused', 'the trigger was that of the attempt before');
  event('paused', { by: 'save-and-exit', step: 12 });
  assert.equal(outcome(75), 'paused');
  event('resume', { step: 12 });
  event('paused', { by: 'exit-now', step: 14 });
  assert.equal(outcome(75), 'failed', 'nobody asked it to save');
  writeFileSync(join(run, 'manifest.json'), '{}');
  assert.equal(outcome(0), 'finished');
});
