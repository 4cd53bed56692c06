// Batches made ahead by a thread of their own, so that a step finds its rows ready. The rows are those of a Mixture of
// the same options, bit for bit: which thread reads them, and when, changes nothing.
//
// Memory: at most `ahead` batches lie ready; the one that was asked for first gives way. Indices should be in a cache
// folder (`cacheDir`), else they lie in the memory of this process too.
//
// Does not: guess what will be needed; the caller says so.
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { UserError } from '../base/errors.ts';
import type { MixtureOptions } from './mixture.ts';
import type { PrefetchAnswer, PrefetchRequest, PrefetchThread, SentError } from './prefetch-worker.ts';
import type { Batch } from './sample-rows.ts';

export interface PrefetcherOptions extends MixtureOptions {
  /** Batches kept ready at most; default 8. */
  readonly ahead?: number;
}

interface Waiting<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

/** Milliseconds that a thread has to end by itself, e.g. when it is building indices. */
const patience = 2000;

export class Prefetcher {
  private readonly worker: Worker;
  /** Requests and answers. */
  private readonly port: MessagePort;
  private readonly mostAhead: number;
  /** Batches asked for and not yet here, by the number of the request. */
  private readonly waiting = new Map<number, Waiting<Batch>>();
  /** Batches asked for ahead and not yet taken, oldest first. */
  private readonly ready = new Map<string, Promise<Batch>>();
  private readonly exited: Promise<void>;
  private readonly opened: Promise<number>;
  private opening: Waiting<number> | undefined;
  private requests = 0;
  /** Callers that wait: while there are any, the thread keeps the process alive. */
  private holds = 0;
  private failure: Error | undefined;

  /** Starts the thread; errors in the options or files come with the first rows. */
  constructor({ ahead = 8, ...options }: PrefetcherOptions) {
    this.mostAhead = ahead;
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.worker = startWorker({ options, port: port2 });
    this.opened = new Promise((resolve, reject) => {
      this.opening = { resolve, reject };
    });
    // Whoever asks for rows gets the error too.
    this.opened.catch(() => {});
    this.port.on('message', (message: PrefetchAnswer) => this.receive(message));
    this.worker.on('error', (error) => this.fail(error));
    this.exited = new Promise((resolve) => {
      this.worker.on('exit', (code) => {
        this.fail(new Error(`Prefetcher: the thread that reads batches ended with code ${code}`));
        resolve();
      });
    });
    // Last, because listening for messages holds the process.
    this.release();
  }

  /** Samples that may be asked for, once the files are open; fails with what is wrong with them. */
  samples(): Promise<number> {
    return this.hold(this.opened);
  }

  /** Samples [first, first + count); at once when they were made ahead. Asked for again, they are made again. */
  rows(first: number, count: number): Promise<Batch> {
    // A thread that trains seldom comes round to its events: what has arrived is taken now.
    for (let next = receiveMessageOnPort(this.port); next; next = receiveMessageOnPort(this.port)) {
      this.receive(next.message as PrefetchAnswer);
    }
    const key = `${first}+${count}`;
    const ready = this.ready.get(key);
    this.ready.delete(key);
    return this.hold(ready ?? this.ask(first, count));
  }

  /** Says that `rows(first, count)` will be asked for. */
  prefetch(first: number, count: number): void {
    const key = `${first}+${count}`;
    if (this.ready.has(key)) return;
    const batch = this.ask(first, count);
    // Whoever takes it gets the error.
    batch.catch(() => {});
    this.ready.set(key, batch);
    for (const oldest of this.ready.keys()) {
      if (this.ready.size <= this.mostAhead) break;
      this.ready.delete(oldest);
    }
  }

  /** Ends the thread; rows that were not answered fail. */
  async close(): Promise<void> {
    this.fail(new Error('Prefetcher: it was closed'));
    this.ready.clear();
    this.worker.ref();
    this.port.postMessage({ kind: 'close' } satisfies PrefetchRequest);
    const timer = setTimeout(() => void this.worker.terminate(), patience);
    await this.exited;
    clearTimeout(timer);
    this.port.close();
  }

  /** Keeps the process alive while somebody waits. */
  private async hold<T>(promise: Promise<T>): Promise<T> {
    if (this.holds++ === 0) {
      this.worker.ref();
      this.port.ref();
    }
    try {
      return await promise;
    } finally {
      if (--this.holds === 0) this.release();
    }
  }

  private release(): void {
    this.worker.unref();
    this.port.unref();
  }

  private ask(first: number, count: number): Promise<Batch> {
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      const id = this.requests++;
      this.waiting.set(id, { resolve, reject });
      this.port.postMessage({ kind: 'rows', id, first, count } satisfies PrefetchRequest);
    });
  }

  private receive(message: PrefetchAnswer): void {
    if (message.kind === 'opened') {
      this.opening?.resolve(message.samples);
      this.opening = undefined;
      return;
    }
    if (message.kind === 'failed' && message.id === undefined) {
      this.fail(received(message.error));
      return;
    }
    const id = message.id as number;
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (message.kind === 'rows') waiting?.resolve(message.batch);
    else waiting?.reject(received(message.error));
  }

  /** Nothing can be read any more; the first reason is the one that is told. */
  private fail(error: Error): void {
    this.failure ??= error;
    this.opening?.reject(this.failure);
    this.opening = undefined;
    for (const { reject } of this.waiting.values()) reject(this.failure);
    this.waiting.clear();
  }
}

/** The thread, from compiled code and from sources alike. */
function startWorker(data: PrefetchThread): Worker {
  const extension = extname(fileURLToPath(import.meta.url));
  const script = new URL(`./prefetch-worker${extension}`, import.meta.url);
  // None of the process's arguments: some of them (--input-type) are errors in a thread.
  const thread = { workerData: data, transferList: [data.port], execArgv: [] };
  if (extension !== '.ts') return new Worker(script, thread);
  // A thread does not know the loader of sources that the process has, and must be given its own before the script.
  // The one for `require` works inside of the thread; the one for `import` would start yet another.
  const loader = fileURLToPath(import.meta.resolve('tsx/cjs/api'));
  const first = `require(${JSON.stringify(loader)}).register(); require(${JSON.stringify(fileURLToPath(script))});`;
  return new Worker(first, { ...thread, eval: true });
}

/** The error that the thread had, as the same kind of error here. */
function received({ user, message, found, expected, next, stack }: SentError): Error {
  if (!user) {
    const error = new Error(message);
    if (stack !== undefined) error.stack = stack;
    return error;
  }
  const details = {
    ...(found === undefined ? {} : { found }),
    ...(expected === undefined ? {} : { expected }),
    ...(next === undefined ? {} : { next }),
  };
  // A UserError's message is what failed, and lines for the details.
  const lines = new UserError('', details).message;
  return new UserError(message.slice(0, message.length - lines.length), details);
}
