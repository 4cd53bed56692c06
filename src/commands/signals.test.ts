// Signals are listened to while a training looks, and at no other time.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { afterEach, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { control } from './signals.ts';

const signals = ['SIGINT', 'SIGTERM', 'SIGUSR2'] as const;
const listeners = (): number => signals.reduce((sum, signal) => sum + process.listenerCount(signal), 0);
const before = listeners();

afterEach(() => {
  control.release();
  control.request = undefined;
});

for (const signal of signals) {
  test(`${signal} asks a training that looks; the next signal ends the process`, async () => {
    assert.equal(listeners(), before);
    control.watch();
    assert.equal(listeners(), before + signals.length);
    process.kill(process.pid, signal);
    while (control.request === undefined) await setTimeout(1);
    assert.equal(control.request, signal === 'SIGTERM' ? 'exit-now' : 'save-and-exit');
    assert.equal(listeners(), before, 'nothing stands in the way of a second one');
    // A training that begins with a request to be obeyed does not listen either.
    control.release();
    control.watch();
    assert.equal(listeners(), before);
  });
}

test('once the training is over nothing is listened to', () => {
  control.watch();
  control.release();
  assert.equal(listeners(), before);
});

test('work that never lets go of the thread is ended at once, with the front door loaded', async () => {
  const modules = ['../cli', './signals', './demo', './stage-verb'].map((name) => {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    return JSON.stringify(new URL(`${name}.${extension}`, import.meta.url).href);
  });
  const loader = import.meta.url.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [];
  const code = `process.argv.push('--version');
${modules.map((module) => `await import(${module});`).join('\n')}
process.stdout.write('busy\\n', () => { for (;;); });`;
  for (const signal of signals) {
    const args = [...loader, '--input-type=module', '-e', code];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.setEncoding('utf8').on('data', (text: string) => void (text.includes('busy') && child.kill(signal)));
    const ended = new Promise((resolve) => child.on('exit', (_, by) => resolve(by)));
    const late = setTimeout(20_000, 'too late', { ref: false });
    const by = await Promise.race([ended, late]);
    child.kill('SIGKILL');
    assert.equal(by, signal);
  }
});
