// A control group with a limit of memory for a process that a bench measures.
//
// Does not: stop a bench where no group can be made; the words say so, and the bench checks the peak by itself.
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A control group for memory below our own, or why there is none. */
export interface MemoryLimit {
  readonly folder: string | undefined;
  readonly words: string;
}

/** Makes a group of `bytes`, the pages of files included. */
export function makeMemoryLimit(name: string, bytes: number): MemoryLimit {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n');
  const ofMemory = lines.map((line) => line.split(':')).find(([, controllers = '']) => controllers === 'memory');
  const places = ofMemory
    ? [{ folder: join('/sys/fs/cgroup/memory', ofMemory[2] ?? '', name), file: 'memory.limit_in_bytes' }]
    : [{ folder: join('/sys/fs/cgroup', lines[0]?.split(':')[2] ?? '', name), file: 'memory.max' }];
  for (const { folder, file } of places) {
    try {
      mkdirSync(folder);
      writeFileSync(join(folder, file), String(bytes));
      const size = bytes % 2 ** 30 === 0 ? `${bytes / 2 ** 30} GiB` : `${bytes / 1e9} GB`;
      return { folder, words: `control group of ${size}, the pages of files included` };
    } catch {
      try {
        rmdirSync(folder);
      } catch {
        // It was never there.
      }
    }
  }
  return { folder: undefined, words: 'no control group could be made; only the peak of resident memory was checked' };
}

/** Puts a process into the group; its children come with it. */
export function enter(limit: MemoryLimit, pid: number): void {
  if (limit.folder) writeFileSync(join(limit.folder, 'cgroup.procs'), String(pid));
}

/** The most the group held, of everything. */
export function peakOf(limit: MemoryLimit): number | undefined {
  if (limit.folder === undefined) return undefined;
  for (const file of ['memory.max_usage_in_bytes', 'memory.peak']) {
    try {
      return Number(readFileSync(join(limit.folder, file), 'utf8'));
    } catch {
      // The other version of control groups.
    }
  }
  return undefined;
}

export function removeMemoryLimit(limit: MemoryLimit): void {
  if (limit.folder) rmdirSync(limit.folder);
}
