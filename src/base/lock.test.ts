import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { type LockHolder, type LockHooks, takeLock } from './lock.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-lock-'));
after(() => rmSync(scratch, { recursive: true }));
const module = pathToFileURL(import.meta.filename.replace('.test.', '.')).href;
const loader = import.meta.filename.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [];
const times = { beatSeconds: 0.1, silentSeconds: 1 };
const nobody: LockHooks = { onWait: () => assert.fail('nobody to wait for') };

/** A process that takes the lock and does `then`; the first line it says is awaited. */
async function started(path: string, then: string): Promise<ChildProcess> {
  const code = `
    const { takeLock } = await import(${JSON.stringify(module)});
    const hooks = { onLost: ({ pid }) => { console.log('lost to ' + pid); process.exit(7); } };
    await takeLock(${JSON.stringify(path)}, hooks, ${JSON.stringify(times)});
    console.log('held');
    ${then}`;
  const child = spawn(process.execPath, [...loader, '--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  return child;
}

/** A process that holds the lock until it is killed or `ms` have passed. */
const holder = (path: string, ms: number): Promise<ChildProcess> =>
  started(path, `setTimeout(() => process.exit(0), ${ms});`);

/** A lock that says it is of another host, last touched `ageSeconds` ago. */
function elsewhere(name: string, ageSeconds: number): string {
  const path = join(scratch, name);
  writeFileSync(path, JSON.stringify({ pid: 1, began: '1', host: 'elsewhere' } satisfies LockHolder));
  const at = Date.now() / 1000 - ageSeconds;
  utimesSync(path, at, at);
  return path;
}

const held = (path: string): number => (JSON.parse(readFileSync(path, 'utf8')) as LockHolder).pid;

test('a lock of a killed process is taken over at once', async () => {
  const path = join(scratch, 'killed');
  const child = await holder(path, 60_000);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.ok(existsSync(path), 'the lock is left behind');
  await takeLock(path, nobody);
});

test('a living holder is waited for', async () => {
  const path = join(scratch, 'living');
  const child = await started(path, `setInterval(() => {}, 1000); process.once('SIGUSR2', () => process.exit(5));`);
  const ended = once(child, 'exit');
  const waited: number[] = [];
  await takeLock(path, {
    onWait: ({ pid }) => {
      waited.push(pid);
      child.kill('SIGUSR2');
    },
  });
  assert.deepEqual([waited, held(path)], [[child.pid], process.pid]);
  assert.deepEqual(await ended, [5, null], 'it ended by itself');
});

test('a reused process number and a torn lock are no holders', async () => {
  const reused = join(scratch, 'reused');
  writeFileSync(reused, JSON.stringify({ pid: process.pid, began: '1', host: hostname() }));
  await takeLock(reused, nobody);
  const torn = join(scratch, 'torn');
  writeFileSync(torn, '{"pi');
  await takeLock(torn, nobody);
  assert.equal(held(torn), process.pid);
});

test('a lock that is being written is not torn', async () => {
  const path = join(scratch, 'fresh');
  writeFileSync(path, '');
  const text = JSON.stringify({ pid: 1, began: '1', host: 'elsewhere' });
  setTimeout(() => writeFileSync(path, text), 300);
  setTimeout(() => rmSync(path), 600);
  const waited: string[] = [];
  await takeLock(path, { onWait: ({ host }) => waited.push(host) }, { beatSeconds: 5, silentSeconds: 60 });
  assert.deepEqual(waited, ['elsewhere']);
});

test('a holder touches its lock while kernels keep its main thread busy', async () => {
  const path = join(scratch, 'busy');
  const child = await started(path, 'const end = Date.now() + 20_000; while (Date.now() < end);');
  const seen = new Set<number>();
  for (let i = 0; i < 200 && seen.size < 4; i++) {
    seen.add(statSync(path).mtimeMs);
    await wait(50);
  }
  child.kill('SIGKILL');
  assert.ok(seen.size >= 4, `touched ${seen.size - 1} times`);
});

test('a lock of another host is waited for while it is touched, whatever the clock there says', async () => {
  const path = elsewhere('touched', 1e6);
  let touches = 0;
  const touching = setInterval(() => {
    const at = Date.now() / 1000 - 1e6 + ++touches;
    utimesSync(path, at, at);
  }, 100);
  setTimeout(() => {
    clearInterval(touching);
    rmSync(path);
  }, 2500);
  const hooks: LockHooks = { onSilent: () => assert.fail('its holder lives') };
  await takeLock(path, hooks, { beatSeconds: 0.5, silentSeconds: 10 });
  assert.ok(touches >= 5);
});

test('a lock of another host that is not touched any more is taken over', async () => {
  const silent: string[] = [];
  const hooks: LockHooks = { onSilent: ({ host }, seconds) => silent.push(`${host} ${seconds >= 1}`) };
  for (const [name, age, silentSeconds, least] of [
    ['touched just now', 0, 1, 1000],
    ['of a clock ahead of ours', -1000, 1, 1000],
    // By the clocks it is long silent: three beats are enough.
    ['long silent', 1000, 60, 300],
  ] as const) {
    const path = elsewhere(name, age);
    const at = performance.now();
    await takeLock(path, hooks, { beatSeconds: 0.1, silentSeconds });
    const ms = performance.now() - at;
    assert.ok(ms >= least && ms < 30_000, `${name}: after ${ms.toFixed(0)} ms`);
    assert.equal(held(path), process.pid);
  }
  assert.deepEqual(silent, ['elsewhere true', 'elsewhere true', 'elsewhere true']);
});

test('of several that find a silent lock, one at a time holds it', async () => {
  const path = elsewhere('several', 1000);
  const inside = join(scratch, 'inside');
  const work = `
    const { closeSync, openSync, rmSync } = await import('node:fs');
    closeSync(openSync(${JSON.stringify(inside)}, 'wx'));
    setTimeout(() => { rmSync(${JSON.stringify(inside)}); process.exit(0); }, 100);`;
  const codes = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const child = await started(path, work);
      if (child.exitCode === null) await once(child, 'exit');
      return child.exitCode;
    }),
  );
  assert.deepEqual(codes, [0, 0, 0, 0], 'nobody met another one');
  assert.deepEqual(
    readdirSync(scratch).filter((name) => name.startsWith('several')),
    [],
    'nothing is left behind',
  );
});

test('a holder that stood still is told who took over, and leaves the lock alone', { timeout: 30_000 }, async () => {
  const path = join(scratch, 'frozen');
  const child = await holder(path, 60_000);
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  child.kill('SIGSTOP');
  const other = JSON.stringify({ pid: 12, began: '1', host: 'elsewhere' });
  writeFileSync(path, other);
  const said = once(lines, 'line');
  child.kill('SIGCONT');
  assert.deepEqual(await said, ['lost to 12']);
  if (child.exitCode === null) await once(child, 'exit');
  assert.equal(child.exitCode, 7);
  assert.equal(readFileSync(path, 'utf8'), other);
});
