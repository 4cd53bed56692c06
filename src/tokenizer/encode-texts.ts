// Many texts to ids, by threads where there are enough of them, in the order they come.
//
// Texts go to the threads in batches; how many threads there are, and which one has a batch, changes nothing. Threads use the
// tables of the tokenizer that is loaded here. Starting them costs as much as encoding a few MB, so they start only for more
// than that, and texts are encoded here until they are ready.
// At most two batches a thread wait, so memory does not grow with the input.
//
// Does not: read or write files of texts.
import { cpus } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { receivedError, type SentError } from '../base/sent-error.ts';
import { startThread } from '../base/thread.ts';
import { Tokenizer } from './bpe.ts';
import type { EncodeOptions, SharedEncoding } from './encoding.ts';
import { IdBuffer } from './id-buffer.ts';

export interface EncodeTextsOptions extends EncodeOptions {
  /** Threads; default: a core each. With 1 all is encoded here. */
  readonly workers?: number | undefined;
  /** An id to put behind each text. */
  readonly last?: number;
  /** The same tokenizer, where the caller has loaded it. */
  readonly loaded?: Tokenizer;
  /** Units of text that are encoded here at most where threads are to be used; they start at half of them. */
  readonly unitsAlone?: number;
}

/** What a thread is started with. */
export interface EncodeThreadData {
  /** Path of a tokenizer.json or its folder. */
  readonly tokenizer: string;
  /** That tokenizer where it is loaded: what the thread need not read and make again. */
  readonly shared?: SharedEncoding | undefined;
  readonly options: EncodeTextsOptions;
}

/** What encodes a batch. */
export type BatchEncoder = Pick<Tokenizer, 'encodeInto'>;

/** Ids of texts, one text after the other, and where each ends. */
export interface EncodedBatch {
  readonly ids: Int32Array<ArrayBuffer>;
  readonly ends: Float64Array<ArrayBuffer>;
}

/** What a thread sends: that it is ready, then an answer to each batch. */
export type EncodeAnswer = 'ready' | EncodedBatch | { readonly failed: SentError };

const batchUnits = 1 << 20;
const batchTexts = 4096;
const defaultUnitsAlone = 1 << 24;
/** Threads start when this share of these texts is done. */
const startAt = 1 / 2;

/** The ids of texts, one after the other. */
export function encodeBatch(
  tokenizer: BatchEncoder,
  texts: readonly string[],
  options: EncodeTextsOptions,
): EncodedBatch {
  const buffer = new IdBuffer();
  const ends = new Float64Array(texts.length);
  texts.forEach((text, i) => {
    tokenizer.encodeInto(buffer, text, options);
    if (options.last !== undefined) buffer.push(options.last);
    ends[i] = buffer.length;
  });
  return { ids: buffer.toInt32Array(), ends };
}

/** Encodes the texts of items, in their order. `tokenizer` is the path of a tokenizer.json or its folder. */
export async function* encodeTexts<T>(
  tokenizer: string,
  items: AsyncIterable<T> | Iterable<T>,
  textOf: (item: T) => string,
  options: EncodeTextsOptions = {},
): AsyncGenerator<{ readonly item: T; readonly ids: Int32Array }> {
  const { loaded: here = Tokenizer.load(tokenizer), ...sent } = options;
  const { workers = cpus().length, unitsAlone = defaultUnitsAlone } = options;
  const threads = new EncodeThreads(tokenizer, here, sent, workers);
  const waiting: { readonly items: readonly T[]; readonly answer: Promise<EncodedBatch> }[] = [];
  let unitsHere = 0;
  try {
    for await (const { items: batch, units } of inBatches(items, textOf)) {
      const texts = batch.map(textOf);
      if (workers > 1 && unitsHere >= startAt * unitsAlone) {
        threads.start();
        // What threads say is heard between turns only.
        if (!threads.ready) await setImmediate();
      }
      if (workers <= 1 || (unitsHere < unitsAlone && !threads.ready)) {
        unitsHere += units;
        yield* withItems(batch, encodeBatch(here, texts, options));
        continue;
      }
      const answer = threads.encode(texts);
      // Whoever awaits it gets the error; until then it is nobody's.
      answer.catch(() => {});
      waiting.push({ items: batch, answer });
      if (waiting.length < 2 * workers) continue;
      const first = waiting.shift() as (typeof waiting)[number];
      yield* withItems(first.items, await first.answer);
    }
    for (const { items: batch, answer } of waiting) yield* withItems(batch, await answer);
  } finally {
    await threads.end();
  }
}

function* withItems<T>(
  items: readonly T[],
  { ids, ends }: EncodedBatch,
): Generator<{ readonly item: T; readonly ids: Int32Array }> {
  let at = 0;
  for (const [i, item] of items.entries()) {
    const end = ends[i] as number;
    yield { item, ids: ids.subarray(at, end) };
    at = end;
  }
}

async function* inBatches<T>(
  items: AsyncIterable<T> | Iterable<T>,
  textOf: (item: T) => string,
): AsyncGenerator<{ readonly items: readonly T[]; readonly units: number }> {
  let batch: T[] = [];
  let units = 0;
  for await (const item of items) {
    batch.push(item);
    units += textOf(item).length;
    if (units < batchUnits && batch.length < batchTexts) continue;
    yield { items: batch, units };
    batch = [];
    units = 0;
  }
  if (batch.length > 0) yield { items: batch, units };
}

/** Threads that encode batches with the tables of a tokenizer. */
export class EncodeThreads {
  private readonly path: string;
  /** Kept, as its tables go with it. */
  private readonly loaded: Tokenizer;
  private readonly options: EncodeTextsOptions;
  private readonly most: number;
  private readonly threads: EncodeThread[] = [];

  /** `loaded` is the tokenizer at `path`. */
  constructor(path: string, loaded: Tokenizer, options: EncodeTextsOptions, most: number) {
    this.path = path;
    this.loaded = loaded;
    this.options = options;
    this.most = most;
  }

  /** Starts them, where that was not done. */
  start(): void {
    if (this.threads.length > 0) return;
    const { path: tokenizer, options } = this;
    const shared = this.loaded.shared();
    while (this.threads.length < this.most) this.threads.push(new EncodeThread({ tokenizer, shared, options }));
  }

  /** Whether all have started. */
  get ready(): boolean {
    return this.threads.length > 0 && this.threads.every(({ isReady }) => isReady);
  }

  encode(texts: readonly string[]): Promise<EncodedBatch> {
    this.start();
    const { threads } = this;
    return threads.reduce((least, thread) => (thread.waiting < least.waiting ? thread : least)).encode(texts);
  }

  async end(): Promise<void> {
    await Promise.all(this.threads.map((thread) => thread.end()));
  }
}

/** One thread, which answers batches in the order they are sent. */
class EncodeThread {
  private readonly worker: Worker;
  private readonly asked: { readonly answer: (batch: EncodedBatch) => void; readonly fail: (error: Error) => void }[] =
    [];
  private failure: Error | undefined;
  isReady = false;

  constructor(data: EncodeThreadData) {
    this.worker = startThread(import.meta.url, './encode-thread', data);
    this.worker.on('message', (answer: EncodeAnswer) => {
      if (answer === 'ready') {
        this.isReady = true;
        return;
      }
      const asked = this.asked.shift();
      if ('failed' in answer) asked?.fail(receivedError(answer.failed));
      else asked?.answer(answer);
    });
    const died = (error: Error): void => {
      this.failure ??= error;
      // The next batch gets the error.
      this.isReady = true;
      for (const { fail } of this.asked.splice(0)) fail(this.failure);
    };
    this.worker.on('error', died);
    this.worker.on('exit', (code) => died(new Error(`a thread that encodes texts ended with code ${code}`)));
  }

  /** Batches that are not answered. */
  get waiting(): number {
    return this.asked.length;
  }

  encode(texts: readonly string[]): Promise<EncodedBatch> {
    return new Promise((answer, fail) => {
      if (this.failure) return fail(this.failure);
      this.asked.push({ answer, fail });
      this.worker.postMessage(texts);
    });
  }

  async end(): Promise<void> {
    await this.worker.terminate();
  }
}
