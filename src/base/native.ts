// Finds and opens the native library that native/build.mjs makes, or says why there is none.
//
// The same file serves sources (tsx) and compiled code, because both find the package root. BELAY_ADDON names another
// library (the sanitized build). Nothing here throws: a machine without a compiler is a machine that runs slower.
//
// Does not: know what the kernels do (src/tensor/backend-native.ts).

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { packageRoot } from './version.ts';

export interface NativeTarget {
  readonly name: string;
  readonly available: boolean;
  /** Why it cannot run here; null where it can. */
  readonly why: string | null;
}

/** What native/addon.cpp exports. */
export interface NativeModule {
  /** Dispatch targets of this architecture, best first. */
  targets(): NativeTarget[];
  /** The kernels of one target as functions, or an Error that says why not. */
  load(target: string): object;
  /** Threads of the pool that the whole process shares. */
  setThreads(n: number): void;
  /** 0 before the first setThreads(). */
  threads(): number;
  /** Zeroed, aligned memory; null where node cannot hold as much in one external buffer. */
  allocate(bytes: number): ArrayBuffer | null;
  /** The compiler that built it. */
  readonly compiler: string;
}

export type NativeLibrary =
  | { readonly path: string; readonly module: NativeModule }
  | { readonly path: string; readonly why: string };

let opened: NativeLibrary | undefined;

/** The library, opened once per thread. */
export function nativeLibrary(): NativeLibrary {
  opened ??= open(resolve(process.env['BELAY_ADDON'] ?? join(packageRoot, 'build', 'Release', 'belay.node')));
  return opened;
}

function open(path: string): NativeLibrary {
  if (!existsSync(path)) {
    return { path, why: `${path} is not there (npm run build:native makes it, with a C++ compiler)` };
  }
  try {
    return { path, module: createRequire(import.meta.url)(path) as NativeModule };
  } catch (error) {
    return { path, why: `${path} does not load: ${error instanceof Error ? error.message : String(error)}` };
  }
}
