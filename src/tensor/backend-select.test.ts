import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { nativeStatus } from './backend-native.ts';

/** What a fresh process selects under an environment. */
function select(environment: Record<string, string>): { status: number | null; text: string } {
  const file = new URL(`./backend-select.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url).href;
  const program = `const { selectedBackend } = await import(${JSON.stringify(file)});
    const { backend, reason } = selectedBackend();
    console.log(backend.name, '|', reason);`;
  const words = process.execArgv.filter((word) => !word.startsWith('--test'));
  const run = spawnSync(process.execPath, [...words, '--input-type=module', '--eval', program], {
    encoding: 'utf8',
    env: { ...process.env, BELAY_BACKEND: '', BELAY_TARGET: '', BELAY_THREADS: '', ...environment },
  });
  return { status: run.status, text: run.stdout + run.stderr };
}

test('without a library the TypeScript backend runs, and says why', () => {
  const { status, text } = select({ BELAY_ADDON: '/nowhere/belay.node' });
  assert.equal(status, 0, text);
  assert.match(text, /^js \| js \(slow\), because \/nowhere\/belay\.node is not there/);
});

test('a file that is no library is a reason too', () => {
  const { text } = select({ BELAY_ADDON: process.execPath });
  assert.match(text, /^js \| js \(slow\), because .* does not load: /);
});

test('BELAY_BACKEND decides, and a forced backend that cannot run is an error', () => {
  assert.match(select({ BELAY_BACKEND: 'js' }).text, /^js \| js \(slow\), because BELAY_BACKEND=js/);
  const missing = select({ BELAY_BACKEND: 'cpu', BELAY_ADDON: '/nowhere/belay.node' });
  assert.notEqual(missing.status, 0);
  assert.match(missing.text, /native kernels do not load/);
  assert.match(select({ BELAY_BACKEND: 'abacus' }).text, /found: +abacus/);
});

test('products of bfloat16 pairs go first where they are fast, which they are not on Intel', () => {
  const { why, targets } = nativeStatus();
  assert.equal(why, null);
  const isAmd = process.platform === 'linux' && /: AuthenticAMD/.test(readFileSync('/proc/cpuinfo', 'utf8'));
  const wide = isAmd ? ['avx512bf16', 'avx512'] : ['avx512', 'avx512bf16'];
  assert.deepEqual(
    targets.map(({ name }) => name),
    process.arch === 'x64' ? [...wide, 'avx2', 'portable'] : ['portable'],
  );
});
