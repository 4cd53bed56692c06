// The heart of a rank: what it is doing, on file once a second, however busy its main thread is.
//
// The main thread only stores numbers in memory that it shares with a thread of its own (beat-thread.ts), which writes
// `campaign/health/rank-0003.json`. So a rank that is stuck goes on beating and says where it is stuck, and one that is
// frozen, or whose node is, falls silent. The thread answers questions too: where the file `stack-request.json` asks,
// it stops the main thread for a moment, reads its JavaScript stack and writes `rank-0003.stack.json`.
//
// Does not: judge (watcher.ts), or know what is computed.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { startThread } from '../../base/thread.ts';
import type { ThreadState } from './process-state.ts';

/** A beat. Times are unix seconds of the rank's host. */
export interface Heartbeat {
  readonly rank: number;
  readonly world: number;
  readonly host: string;
  readonly pid: number;
  readonly attempt: number;
  /** Counts beats: another number is a sign of life, whatever clocks say. */
  readonly beat: number;
  readonly time: number;
  /** The last step that is over, and when it was. */
  readonly step: number;
  readonly stepTime: number;
  readonly stepSeconds: number;
  /** Where the rank is, and since when. */
  readonly place: string;
  readonly placeTime: number;
  /** Since the attempt began: steps, seconds in which the rank computed its own shards, and how many. */
  readonly steps: number;
  readonly busySeconds: number;
  readonly shards: number;
}

/** What a rank answers when it is asked where it is stuck. */
export interface StackAnswer {
  readonly rank: number;
  /** Of the question. */
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly place: string;
  /** Frames of the main thread, the innermost first; missing where it runs no JavaScript: it waits, or is in a library. */
  readonly stack?: readonly string[];
  readonly thread?: ThreadState;
}

/** Places of the shared numbers. */
export const slots = {
  attempt: 0,
  step: 1,
  stepTime: 2,
  stepSeconds: 3,
  place: 4,
  placeTime: 5,
  steps: 6,
  busySeconds: 7,
  shards: 8,
} as const;

/** What the thread is given. */
export interface HeartThreadData {
  readonly dir: string;
  readonly rank: number;
  readonly world: number;
  readonly host: string;
  readonly pid: number;
  readonly seconds: number;
  readonly places: readonly string[];
  readonly numbers: SharedArrayBuffer;
}

export const requestName = 'stack-request.json';
export const beatName = (rank: number): string => `rank-${String(rank).padStart(4, '0')}.json`;
export const answerName = (rank: number): string => `rank-${String(rank).padStart(4, '0')}.stack.json`;

export interface HeartOptions {
  /** `campaign/health` of the campaign. */
  readonly dir: string;
  readonly rank: number;
  readonly world: number;
  /** What `at` is called with. */
  readonly places: readonly string[];
  /** Between beats. */
  readonly seconds?: number;
}

/** Beats as long as it is not ended. Fits the `Pulse` of train/. */
export class Heart {
  private readonly data: HeartThreadData;
  private readonly numbers: Float64Array;
  private readonly thread: Worker;

  constructor({ dir, rank, world, places, seconds = 1 }: HeartOptions) {
    mkdirSync(dir, { recursive: true });
    const numbers = new SharedArrayBuffer(8 * Object.keys(slots).length);
    this.data = { dir, rank, world, places, seconds, numbers, host: hostname(), pid: process.pid };
    this.numbers = new Float64Array(numbers);
    this.at(places[0] as string);
    this.thread = startThread(import.meta.url, 'beat-thread', this.data);
    // What it cannot write, a full disk say, must not end a training.
    this.thread.on('error', () => {});
    this.thread.unref();
  }

  /** The attempt goes on from a step. */
  began(attempt: number, step: number): void {
    const { numbers } = this;
    numbers.fill(0);
    numbers[slots.step] = step;
    numbers[slots.stepTime] = Date.now() / 1000;
    numbers[slots.placeTime] = Date.now() / 1000;
    numbers[slots.attempt] = attempt;
  }

  at(place: string): void {
    this.numbers[slots.place] = this.data.places.indexOf(place);
    this.numbers[slots.placeTime] = Date.now() / 1000;
  }

  took(step: number, seconds: number, busySeconds: number, shards: number): void {
    const { numbers } = this;
    numbers[slots.step] = step;
    numbers[slots.stepSeconds] = seconds;
    numbers[slots.stepTime] = Date.now() / 1000;
    numbers[slots.steps] = (numbers[slots.steps] as number) + 1;
    numbers[slots.busySeconds] = (numbers[slots.busySeconds] as number) + busySeconds;
    numbers[slots.shards] = (numbers[slots.shards] as number) + shards;
  }

  /** The last beat says where it ended. */
  async end(): Promise<void> {
    await this.thread.terminate();
    try {
      writeBeat(this.data, Number.MAX_SAFE_INTEGER);
    } catch {
      // As in the thread: no reason to fail.
    }
  }
}

/** Writes the beat of a rank. No flush: after a power cut nobody asks how the rank was. */
export function writeBeat(data: HeartThreadData, beat: number): Heartbeat {
  const { dir, rank, world, host, pid, places } = data;
  const numbers = new Float64Array(data.numbers);
  const of = (slot: keyof typeof slots): number => numbers[slots[slot]] as number;
  const record: Heartbeat = {
    rank,
    world,
    host,
    pid,
    attempt: of('attempt'),
    beat,
    time: Date.now() / 1000,
    step: of('step'),
    stepTime: of('stepTime'),
    stepSeconds: of('stepSeconds'),
    place: places[of('place')] ?? 'unknown',
    placeTime: of('placeTime'),
    steps: of('steps'),
    busySeconds: of('busySeconds'),
    shards: of('shards'),
  };
  replaceFile(join(dir, beatName(rank)), record);
  return record;
}

/** Replaces a file in one piece, without waiting for the disk. */
export function replaceFile(path: string, value: unknown): void {
  writeFileSync(`${path}.partial`, `${JSON.stringify(value)}\n`);
  renameSync(`${path}.partial`, path);
}

/** The beats in a folder that can be read. */
export function readHeartbeats(dir: string): Heartbeat[] {
  return readRecords<Heartbeat>(dir, /^rank-\d+\.json$/).filter(({ rank, beat, step, attempt }) =>
    [rank, beat, step, attempt].every(Number.isFinite),
  );
}

/** The answers to a question. */
export function readStackAnswers(dir: string, id: string): StackAnswer[] {
  return readRecords<StackAnswer>(dir, /^rank-\d+\.stack\.json$/).filter((answer) => answer.id === id);
}

/** Asks all ranks for their stacks. */
export function requestStacks(dir: string, id: string): void {
  replaceFile(join(dir, requestName), { id });
}

function readRecords<T>(dir: string, pattern: RegExp): T[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => pattern.test(name))
    .sort()
    .flatMap((name) => {
      try {
        return [JSON.parse(readFileSync(join(dir, name), 'utf8')) as T];
      } catch {
        return [];
      }
    });
}
