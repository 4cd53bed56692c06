import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { takeLock } from './lock.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-lock-'));
after(() => rmSync(scratch, { recursive: true }));
const module = pathToFileURL(import.meta.filename.replace('.test.', '.')).href;
const loader = import.meta.filename.endsWith('.ts') ? ['--import', 'tsx'] : [];

/** A process that takes the lock, says so, and holds it until it is killed or `ms` have passed. */
async function holder(path: string, ms: number): Promise<ReturnType<typeof spawn>> {
  const code = `const { takeLock } = await import(${JSON.stringify(module)}); await takeLock(${JSON.stringify(path)}, () => {}); console.log('held'); setTimeout(() => process.exit(0), ${ms});`;
  const child = spawn(process.execPath, [...loader, '--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  return child;
}

test('a lock of a killed process is taken over at once', async () => {
  const path = join(scratch, 'killed');
  const child = await holder(path, 60_000);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.ok(existsSync(path), 'the lock is left behind');
  await takeLock(path, () => assert.fail('nobody to wait for'));
});

test('a living holder is waited for', async () => {
  const path = join(scratch, 'living');
  const child = await holder(path, 700);
  const waited: number[] = [];
  await takeLock(path, (pid) => waited.push(pid));
  assert.deepEqual(waited, [child.pid]);
  assert.notEqual(child.exitCode, null, 'it had ended by then');
});

test('a reused process number and a torn lock are no holders', async () => {
  const reused = join(scratch, 'reused');
  writeFileSync(reused, JSON.stringify({ pid: process.pid, began: '1', host: hostname() }));
  await takeLock(reused, () => assert.fail('nobody to wait for'));
  const torn = join(scratch, 'torn');
  writeFileSync(torn, '{"pi');
  await takeLock(torn, () => assert.fail('nobody to wait for'));
});
