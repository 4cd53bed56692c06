// Acts before chosen calls of node:fs, so that a test can put a kill or another process between any two of them.
//
// Named imports of node:fs follow `syncBuiltinESMExports`, so the code under test needs to know nothing of it.
//
// Does not: see into recursive calls (rmSync of a folder is one), or other threads.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const names = [
  'closeSync',
  'existsSync',
  'fsyncSync',
  'mkdirSync',
  'openSync',
  'readdirSync',
  'readFileSync',
  'renameSync',
  'rmSync',
  'writeSync',
] as const;
type Call = (...args: unknown[]) => unknown;
const originals = new Map(names.map((name) => [name, fs[name] as Call]));

/**
 * Runs `action`, calling `before` with the number (from 0) and the name of each call of node:fs on the way; calls that
 * `before` makes itself are not seen. What either throws is thrown. Returns how many calls there were.
 */
export function watchFileCalls(action: () => void, before: (call: number, name: string) => void): number {
  let calls = 0;
  let inside = false;
  const target = fs as unknown as Record<string, Call>;
  for (const [name, original] of originals) {
    target[name] = (...args) => {
      if (inside) return original(...args);
      inside = true;
      try {
        before(calls++, name);
      } finally {
        inside = false;
      }
      return original(...args);
    };
  }
  syncBuiltinESMExports();
  try {
    action();
  } finally {
    for (const [name, original] of originals) target[name] = original;
    syncBuiltinESMExports();
  }
  return calls;
}
