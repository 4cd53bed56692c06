// Many texts to ids, by threads where there are enough of them, in the order they come.
//
// Texts go to the threads in batches; how many threads there are, and which one has a batch, changes nothing. Loading a
// tokenizer costs as much as encoding some 20 MB, so the first texts are encoded here, and threads start only for more.
// At most two batches a thread wait, so memory does not grow with the input.
//
// Does not: read or write files of texts.
import { cpus } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { receivedError, type SentError } from '../base/sent-error.ts';
import { startThread } from '../base/thread.ts';
import { type EncodeOptions, Tokenizer } from './bpe.ts';
import { IdBuffer } from './id-buffer.ts';

export interface EncodeTextsOptions extends EncodeOptions {
  /** Threads; default: a core each. With 1 all is encoded here. */
  readonly workers?: number | undefined;
  /** An id to put behind each text. */
  readonly last?: number;
  /** The same tokenizer, where the caller has loaded it. */
  readonly loaded?: Tokenizer;
  /** Units of text that are encoded here before threads start. */
  readonly unitsAlone?: number;
}

/** What a thread is started with. */
export interface EncodeThreadData {
  /** Path of a tokenizer.json or its folder. */
  readonly tokenizer: string;
  readonly options: EncodeTextsOptions;
}

/** Ids of texts, one text after the other, and where each ends. */
export interface EncodedBatch {
  readonly ids: Int32Array<ArrayBuffer>;
  readonly ends: Float64Array<ArrayBuffer>;
}

export type EncodeAnswer = EncodedBatch | { readonly failed: SentError };

const batchUnits = 1 << 20;
const batchTexts = 4096;
const defaultUnitsAlone = 1 << 24;

/** The ids of texts, one after the other. */
export function encodeBatch(tokenizer: Tokenizer, texts: readonly string[], options: EncodeTextsOptions): EncodedBatch {
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
  const threads = new EncodeThreads({ tokenizer, options: sent }, workers);
  const waiting: { readonly items: readonly T[]; readonly answer: Promise<EncodedBatch> }[] = [];
  let unitsHere = 0;
  try {
    for await (const { items: batch, units } of inBatches(items, textOf)) {
      const texts = batch.map(textOf);
      if (workers <= 1 || unitsHere < unitsAlone) {
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

/** Threads that encode batches; each is started when the ones before have work. */
export class EncodeThreads {
  private readonly data: EncodeThreadData;
  private readonly most: number;
  private readonly threads: EncodeThread[] = [];

  constructor(data: EncodeThreadData, most: number) {
    this.data = data;
    this.most = most;
  }

  encode(texts: readonly string[]): Promise<EncodedBatch> {
    const { threads } = this;
    if (threads.length < this.most && threads.every(({ waiting }) => waiting > 0)) {
      threads.push(new EncodeThread(this.data));
    }
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

  constructor(data: EncodeThreadData) {
    this.worker = startThread(import.meta.url, './encode-thread', data);
    this.worker.on('message', (answer: EncodeAnswer) => {
      const asked = this.asked.shift();
      if ('failed' in answer) asked?.fail(receivedError(answer.failed));
      else asked?.answer(answer);
    });
    const died = (error: Error): void => {
      this.failure ??= error;
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
