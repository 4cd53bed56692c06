// Batches made ahead by threads of their own, so that a step finds its rows ready. The rows are those of a Mixture of
// the same options, bit for bit: which thread reads them, and when, changes nothing.
//
// Two threads by default: while one waits for the disk, the other makes rows. Memory: at most `ahead` batches lie ready;
// the one that was asked for first gives way. Indices should be in a cache folder (`cacheDir`), else they lie in memory
// once for each thread.
//
// Does not: guess what will be needed; the caller says so.
import type { MixtureOptions } from './mixture.ts';
import { PrefetchThread } from './prefetch-thread.ts';
import type { Batch } from './sample-rows.ts';

export interface PrefetcherOptions extends MixtureOptions {
  /** Batches kept ready at most; default 8. */
  readonly ahead?: number;
  /** Default 2. */
  readonly threads?: number;
}

export class Prefetcher {
  /** Threads that have been started, and those of them that may be asked. */
  private readonly started: PrefetchThread[];
  private readonly threads: PrefetchThread[];
  private readonly mostAhead: number;
  /** Batches asked for ahead and not yet taken, oldest first. */
  private readonly ready = new Map<string, Promise<Batch>>();
  /** Callers that wait: while there are any, the threads keep the process alive. */
  private holds = 0;
  private closed = false;

  /** Starts the threads; errors in the options or files come with the first rows. */
  constructor({ ahead = 8, threads = 2, ...options }: PrefetcherOptions) {
    this.mostAhead = ahead;
    const first = new PrefetchThread(options);
    this.started = [first];
    this.threads = [first];
    // The others find the indices that the first one has made, and are asked once they have opened them. An error of the
    // first one is told to those who ask for rows; without the others rows only come later.
    const none = (): void => {};
    first.opened.then(() => {
      while (this.started.length < threads && !this.closed) {
        const thread = new PrefetchThread(options);
        this.started.push(thread);
        thread.opened.then(() => this.addThread(thread), none);
      }
    }, none);
  }

  /** Samples that may be asked for, once the files are open; fails with what is wrong with them. */
  samples(): Promise<number> {
    return this.hold((this.threads[0] as PrefetchThread).opened);
  }

  /** Samples [first, first + count); at once when they were made ahead. Asked for again, they are made again. */
  rows(first: number, count: number): Promise<Batch> {
    // A process that trains seldom comes round to its events: what has arrived is taken now.
    for (const thread of this.threads) thread.receiveArrived();
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

  /** Ends the threads; rows that were not answered fail. */
  async close(): Promise<void> {
    this.closed = true;
    this.ready.clear();
    await Promise.all(this.started.map((thread) => thread.close()));
  }

  /** Asks the thread that has least to do. */
  private ask(first: number, count: number): Promise<Batch> {
    let [idle] = this.threads as [PrefetchThread, ...PrefetchThread[]];
    for (const thread of this.threads) if (thread.pending < idle.pending) idle = thread;
    return idle.ask(first, count);
  }

  private addThread(thread: PrefetchThread): void {
    this.threads.push(thread);
    if (this.holds > 0) thread.ref();
  }

  /** Keeps the process alive while somebody waits. */
  private async hold<T>(promise: Promise<T>): Promise<T> {
    if (this.holds++ === 0) for (const thread of this.threads) thread.ref();
    try {
      return await promise;
    } finally {
      if (--this.holds === 0) for (const thread of this.threads) thread.unref();
    }
  }
}
