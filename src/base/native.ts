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

  /** A group of processes (native/comm/) that listens on a numeric address; throws an Error that says why not. */
  commOpen(
    rank: number,
    world: number,
    address: string,
    secret: Uint8Array,
    heartbeatMs: number,
    sameHost: boolean,
  ): number;
  commPort(group: number): number;
  /** Begins to connect; commPeer says what became of it. */
  commConnect(group: number, peer: number, address: string, port: number): void;
  commPeer(group: number, peer: number): { readonly state: CommPeerState; readonly why: string };
  /** Nobody else is let in. */
  commSeal(group: number): void;
  /** Starts a transfer; the caller keeps `data` alive until it ended. */
  commPost(group: number, sending: boolean, peer: number, tag: number, data: Float32Array | Uint8Array): number;
  /** Blocks the thread until all are done, one failed or the time is up; below 0: for ever. */
  commWait(group: number, transfers: Float64Array, timeoutMs: number): CommOutcome;
  commClose(group: number): void;
  /** The group of the processes that mpirun started; throws an Error that says why not. Once per process. */
  mpiOpen(heartbeatMs: number): { readonly group: number; readonly rank: number; readonly world: number };
  /** A transfer: MPI's own sum over all ranks, in place. */
  mpiAllReduce(group: number, data: Float32Array): number;

  /** Instruction sets of the data kernels (native/data/) that this processor has, best first. */
  dataTargets(): string[];
  /** XXH64 (`narrow`: XXH32) of each n words in a row of a simplified text; -1 where `entries` ends before the text does. */
  dataShingles(
    text: string,
    n: number,
    narrow: boolean,
    entries: Uint32Array,
    pool: Uint8Array,
    out: BigUint64Array,
  ): number;
  /** The least (a[i] x + b[i]) mod 2^64 mod (2^61 - 1) over the shingles x, its low 32 bits where `narrow`. */
  dataMinima(
    target: number,
    shingles: BigUint64Array,
    count: number,
    a: BigUint64Array,
    b: BigUint64Array,
    narrow: boolean,
    out: BigUint64Array,
  ): void;
  /** into += the rows of a line of UTF-8, answers how many (native/data/classifier.h, src/data/fasttext/vectors.ts). */
  dataTextSum(
    bytes: Uint8Array,
    length: number,
    shape: Int32Array,
    slots: Int32Array,
    hashes: Int32Array,
    starts: Int32Array,
    pool: Uint8Array,
    left: Int32Array,
    rows: Float32Array,
    kept: Float32Array,
    into: Float32Array,
  ): number;
  /** Steps of training on the lines order[from] to order[to] (native/data/classifier.h, src/data/fasttext/train-loop.ts). */
  dataTrain(
    order: Int32Array,
    from: number,
    to: number,
    lineStarts: Int32Array,
    tokens: Int32Array,
    labels: Int32Array,
    rowStarts: Int32Array,
    tokenRows: Int32Array,
    hashes: Int32Array,
    shape: Int32Array,
    input: Float32Array,
    output: Float32Array,
    numLabels: number,
    numbers: Float64Array,
  ): void;
  /** The samples of a text by winnowing, six words each (native/data/data.h); -1 where `out` is too small. */
  dataSamples(text: string, k: number, neighbours: number, out: Uint32Array): number;
  /** XXH64 of the bytes [start, end) of each range. */
  dataHashes(bytes: Uint8Array, starts: Int32Array, ends: Int32Array, seed: number, out: BigUint64Array): void;

  /** A tokenizer of this thread (native/tokenizer/tokenizer.h says of what). */
  tokOpen(
    byteIds: Int32Array,
    merges: Int32Array,
    tokenIds: Int32Array,
    tokenEnds: Int32Array,
    tokenPool: Uint8Array,
    classes: Uint8Array,
  ): NativeTokenizer;
  /** The number of its tables, by which other threads open a tokenizer on the same ones. */
  tokTables(tokenizer: NativeTokenizer): number;
  /** A tokenizer of this thread on tables of any thread; undefined where no tokenizer has them any more. */
  tokOpenOn(tables: number): NativeTokenizer | undefined;
  /** The number of ids of a text; they are written to `out` from `at` on where all of them fit. */
  tokEncode(tokenizer: NativeTokenizer, scanner: number, text: string, out: Int32Array, at: number): number;
  /** The same of a text that is cut already. */
  tokEncodePieces(tokenizer: NativeTokenizer, text: string, ends: Int32Array, out: Int32Array, at: number): number;
  /** The number of pieces of a text; the ends of those that fit are written. */
  tokPieces(tokenizer: NativeTokenizer, scanner: number, text: string, ends: Int32Array): number;
  /** The ids of the last text, which did not fit before. */
  tokTake(tokenizer: NativeTokenizer, count: number, out: Int32Array, at: number): void;

  /** Begins a training of byte-level BPE (native/tokenizer/train.h); `whole` has strings, each ended by a zero. */
  bpeOpen(threads: number, memory: number, dir: string, whole: string, classes: Uint8Array): number;
  /** Adds a text of well-formed UTF-16 to those of a group. */
  bpeAdd(training: number, text: string, group: number): void;
  /** Ends counting; throws an Error where counts cannot be put aside. */
  bpeCounted(training: number): { readonly words: number; readonly leftOut: number; readonly least: number };
  /** Learns merges into `out` (left, right and made id of each) and answers how many. */
  bpeLearn(training: number, idOfByte: Int32Array, firstFree: number, units: Float64Array, out: Int32Array): number;
  bpeClose(training: number): void;
}

/** What tokOpen gives; only this library looks inside. */
export type NativeTokenizer = { readonly nativeTokenizer: never };

export type CommPeerState = 'none' | 'connecting' | 'open' | 'refused' | 'left' | 'lost';

/** How a peer was lost: native/comm/group.h. */
export type CommLoss = 'closed' | 'silent' | 'left' | 'garbled' | 'unreadable' | 'transport' | 'gone';

export type CommOutcome =
  | { readonly state: 'done' | 'pending' }
  | {
      readonly state: 'lost';
      readonly rank: number;
      readonly how: CommLoss;
      /** The rank that told us, -1 where we noticed ourselves. */
      readonly reporter: number;
      /** Of silence. */
      readonly seconds: number;
      readonly detail: string;
    }
  | {
      readonly state: 'wrong';
      readonly peer: number;
      readonly tag: number;
      readonly came: number;
      readonly expected: number;
    };

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
