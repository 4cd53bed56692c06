// The samples of one data set as rows of a batch: reads the window of a sample, makes its labels and masks, and finds
// the samples that hold a document.
//
// Legend: B rows, T inputs per row. A sample is T + 1 tokens of the shuffled stream of documents; its labels are its
// tokens shifted by one.
//
// Does not: hold tokens, or with a cache folder indices, in memory.
import { createHash } from 'node:crypto';
import { UserError } from '../base/errors.ts';
import { EOS } from '../tokenizer/special-tokens.ts';
import { type Goldfish, maskGoldfish } from './goldfish.ts';
import { openSampleOrder } from './index-cache.ts';
import { allDocuments, buildSampleIndices, orderInMemory, planSamples, type SampleOrder } from './indices.ts';
import { documentStarts, maskEndOfDocument } from './masks.ts';
import { MegatronReader } from './megatron.ts';
import { type DatasetDescriptionOptions, describeDataset, type MegatronIdentity } from './megatron-description.ts';

/** How rows are made; the same for all data sets of a mixture. */
export interface RowOptions {
  /** T */
  readonly sequenceLength: number;
  readonly seed: number;
  readonly goldfish: Goldfish | null;
  /** Attention and positions stay inside a document. */
  readonly documentMask: boolean;
  /** No loss where the input is an end of document. */
  readonly eodLossMask: boolean;
  /** Default 2, `</s>`. */
  readonly endOfDocument?: number | undefined;
  /** Folder for index files; without it indices are made in memory. */
  readonly cacheDir?: string | undefined;
  /** For index files that Megatron shall find. */
  readonly identity?: MegatronIdentity | undefined;
}

export interface SampleRowsOptions extends RowOptions {
  /** Prefix of the .bin and .idx files. */
  readonly path: string;
  /** Samples needed; null: one epoch. */
  readonly samples: number | null;
  /** Use only these sequences of the file (Megatron's splits). */
  readonly documents?: Int32Array | undefined;
  readonly keepPartialSample?: boolean | undefined;
}

/** B rows in one; every array is [B * T]. */
export interface Batch {
  readonly B: number;
  readonly T: number;
  readonly tokens: Int32Array;
  readonly labels: Int32Array;
  /** 1 where the label counts. */
  readonly lossMask: Float32Array;
  /** Row r attends rows [lo[r], hi[r]), counted over the whole batch. */
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  readonly positions: Int32Array;
}

/** Where a document is seen: tokens [from, to) of the T + 1 of a sample. */
export interface Sighting {
  /** In the order of training. */
  readonly sample: number;
  readonly from: number;
  readonly to: number;
}

/** A batch whose rows are still to be filled. */
export function emptyBatch(B: number, T: number): Batch {
  const ints = (): Int32Array => new Int32Array(B * T);
  const lossMask = new Float32Array(B * T).fill(1);
  return { B, T, tokens: ints(), labels: ints(), lossMask, lo: ints(), hi: ints(), positions: ints() };
}

export class SampleRows {
  /** Samples there are: those asked for, and what is left of the last epoch. */
  readonly samples: number;
  /** What names the index files of this data set, also where there is no cache folder. */
  readonly describedBy: DatasetDescriptionOptions;
  private readonly options: SampleRowsOptions;
  private readonly reader: MegatronReader;
  private readonly order: SampleOrder;
  private readonly endOfDocument: number;
  private readonly window: Int32Array;

  /** Throws a UserError where the files are damaged or hold fewer samples than asked for (with none asked for: none). */
  constructor(options: SampleRowsOptions) {
    const { path, sequenceLength, samples, seed, documents, keepPartialSample = false, identity = {} } = options;
    this.options = options;
    this.endOfDocument = options.endOfDocument ?? EOS;
    this.window = new Int32Array(sequenceLength + 1);
    this.describedBy = {
      path,
      samples,
      seed,
      sequenceLength,
      keepPartialSample,
      identity,
      ...(documents ? { documents: hashOf(documents) } : {}),
    };
    const reader = new MegatronReader(path);
    try {
      this.reader = reader;
      this.order = openOrder(reader, options, this.describedBy);
      this.samples = this.order.samples;
      if (this.samples < Math.max(1, samples ?? 0)) {
        this.order.close();
        throw new UserError(`${path} has too few tokens for one sample`, {
          found: `${reader.tokens} tokens`,
          expected: `at least ${sequenceLength + 1}, one more than the sequence length`,
          next: 'use more documents or a shorter sequenceLength',
        });
      }
    } catch (error) {
      reader.close();
      throw error;
    }
  }

  /** Fills row b of a batch with the i-th sample. */
  fill(i: number, batch: Batch, b: number): void {
    if (!(i >= 0 && i < this.samples)) throw new Error(`SampleRows: sample ${i} is not in [0, ${this.samples})`);
    const { goldfish, documentMask, eodLossMask } = this.options;
    const { T } = batch;
    const { window } = this;
    const row = b * T;
    const filled = this.readWindow(this.order.windowOf(i));
    const tokens = batch.tokens.subarray(row, row + T);
    const labels = batch.labels.subarray(row, row + T);
    const lossMask = batch.lossMask.subarray(row, row + T);
    tokens.set(window.subarray(0, T));
    labels.set(window.subarray(1));
    if (goldfish) maskGoldfish(lossMask, labels, goldfish);
    if (eodLossMask) maskEndOfDocument(lossMask, tokens, this.endOfDocument);
    // A last window that is not full has nothing to learn in its padding.
    lossMask.fill(0, Math.max(0, filled - 1));
    const starts = documentMask ? documentStarts(tokens, this.endOfDocument) : new Int32Array(T);
    const { lo, hi, positions } = batch;
    for (let t = 0; t < T; t++) {
      const start = starts[t] as number;
      lo[row + t] = row + start;
      hi[row + t] = row + t + 1;
      positions[row + t] = t - start;
    }
  }

  /** Where a document stands in the samples below `end`, in the order of training. Reads the indices once. */
  sightings(document: number, end: number): Sighting[] {
    const { order, reader } = this;
    const first = reader.documentStart(document);
    const beyond = reader.documentStart(document + 1);
    const byWindow = new Map<number, { from: number; to: number }[]>();
    for (let place = 0; place < order.places; place++) {
      const sequence = order.documentAt(place);
      if (sequence < first || sequence >= beyond) continue;
      const length = reader.sequenceLength(sequence);
      if (length === 0) continue;
      for (const { window, from, to } of this.windowsOver(place, length)) {
        const others = byWindow.get(window);
        if (others) others.push({ from, to });
        else byWindow.set(window, [{ from, to }]);
      }
    }
    const found: Sighting[] = [];
    for (let sample = 0; byWindow.size > 0 && sample < end; sample++) {
      for (const part of byWindow.get(order.windowOf(sample)) ?? []) found.push({ sample, ...part });
    }
    return found.sort((a, b) => a.sample - b.sample || a.from - b.from);
  }

  close(): void {
    this.order.close();
    this.reader.close();
  }

  /** The windows that hold tokens of the document at a place, and which of their T + 1 tokens those are. */
  private *windowsOver(place: number, length: number): Generator<{ window: number; from: number; to: number }> {
    const { order } = this;
    const T = this.options.sequenceLength;
    // The last token of window k is the first one of window k + 1: find the first window that ends in here or later.
    let low = 0;
    for (let high = order.samples; low < high; ) {
      const middle = Math.floor((low + high) / 2);
      if (order.placeOf(middle + 1) < place) low = middle + 1;
      else high = middle;
    }
    for (let window = low; window < order.samples && order.placeOf(window) <= place; window++) {
      const offset = order.offsetOf(window);
      if (order.placeOf(window) === place) {
        yield { window, from: 0, to: Math.min(T + 1, length - offset) };
        continue;
      }
      let from = -offset;
      for (let p = order.placeOf(window); p < place; p++) from += this.reader.sequenceLength(order.documentAt(p));
      yield { window, from, to: Math.min(T + 1, from + length) };
    }
  }

  /** Fills `window` [T + 1], zeros at its end where the data end; returns how many tokens are data. */
  private readWindow(number: number): number {
    const { order, reader, window } = this;
    let place = order.placeOf(number);
    let offset = order.offsetOf(number);
    let filled = 0;
    while (filled < window.length && place < order.places) {
      filled += reader.readFrom(order.documentAt(place), offset, window.length - filled, window, filled);
      place++;
      offset = 0;
    }
    window.fill(0, filled);
    return filled;
  }
}

function openOrder(
  reader: MegatronReader,
  options: SampleRowsOptions,
  describedBy: DatasetDescriptionOptions,
): SampleOrder {
  const { sequenceLength, samples, seed, documents, keepPartialSample = false, cacheDir } = options;
  if (cacheDir === undefined) {
    const lengths = reader.lengths();
    return orderInMemory(buildSampleIndices({ lengths, sequenceLength, seed, samples, documents, keepPartialSample }));
  }
  let tokens = documents ? 0 : reader.tokens;
  for (const document of documents ?? []) tokens += reader.sequenceLength(document);
  return openSampleOrder({
    dir: cacheDir,
    description: describeDataset(describedBy),
    source: `${reader.prefix}.idx`,
    plan: planSamples({ tokens, sequenceLength, samples, keepPartialSample }),
    sequences: reader.sequences,
    sequenceLength,
    seed,
    documents: documents?.length ?? reader.sequences,
    lists: () => ({ lengths: reader.lengths(), documents: documents ?? allDocuments(reader.sequences) }),
  });
}

function hashOf(documents: Int32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(documents.buffer, documents.byteOffset, documents.byteLength))
    .digest('hex');
}
