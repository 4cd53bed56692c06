// What runs in a thread of a Prefetcher: owns a Mixture and answers requests for batches in the order they come. Arrays are
// handed over, not copied.
//
// Does not: choose what to read ahead; prefetch.ts does.
import { isMainThread, type MessagePort, workerData } from 'node:worker_threads';
import { UserError } from '../base/errors.ts';
import { Mixture, type MixtureOptions } from './mixture.ts';
import type { Batch } from './sample-rows.ts';

/** What the thread is started with. */
export interface PrefetchThreadData {
  readonly options: MixtureOptions;
  readonly port: MessagePort;
}

export type PrefetchRequest =
  | { readonly kind: 'rows'; readonly id: number; readonly first: number; readonly count: number }
  | { readonly kind: 'close' };

/** An error as plain data: a thread cannot send classes. */
export interface SentError {
  readonly user: boolean;
  readonly message: string;
  readonly found: string | undefined;
  readonly expected: string | undefined;
  readonly next: string | undefined;
  readonly stack: string | undefined;
}

export type PrefetchAnswer =
  | { readonly kind: 'opened'; readonly samples: number }
  | { readonly kind: 'rows'; readonly id: number; readonly batch: Batch }
  /** Without an id nothing can be read at all. */
  | { readonly kind: 'failed'; readonly id: number | undefined; readonly error: SentError };

if (isMainThread) throw new Error('prefetch-worker: to be run as a worker thread');
const { options, port } = workerData as PrefetchThreadData;

function answer(message: PrefetchAnswer, transfer: readonly ArrayBuffer[] = []): void {
  port.postMessage(message, [...transfer]);
}

function fail(id: number | undefined, error: unknown): void {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const { found, expected, next } = error instanceof UserError ? error : ({} as Partial<UserError>);
  answer({ kind: 'failed', id, error: { user: error instanceof UserError, message, found, expected, next, stack } });
}

function open(): Mixture | undefined {
  try {
    const mixture = new Mixture(options);
    answer({ kind: 'opened', samples: mixture.samples });
    return mixture;
  } catch (error) {
    fail(undefined, error);
    return undefined;
  }
}

const mixture = open();
port.on('message', (request: PrefetchRequest) => {
  if (request.kind === 'close') {
    mixture?.close();
    port.close();
    return;
  }
  if (!mixture) return;
  try {
    const batch = mixture.batch(request.first, request.count);
    const { tokens, labels, lossMask, lo, hi, positions } = batch;
    const buffers = [tokens, labels, lossMask, lo, hi, positions].map(({ buffer }) => buffer as ArrayBuffer);
    answer({ kind: 'rows', id: request.id, batch }, buffers);
  } catch (error) {
    fail(request.id, error);
  }
});
