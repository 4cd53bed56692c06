// Training rows from a packed token file: the i-th sample depends on the file, the seed and i, and on nothing else, so
// a run can stop and go on anywhere, on any number of ranks.
//
// Legend: B rows, T inputs per row. A sample is T + 1 tokens of the shuffled stream of documents; its labels are its
// tokens shifted by one.
//
// Does not: hold tokens in memory, or know what a step is.
import { UserError } from '../base/errors.ts';
import { EOS } from '../tokenizer/special-tokens.ts';
import { type Goldfish, maskGoldfish } from './goldfish.ts';
import { buildSampleIndices, type SampleIndices } from './indices.ts';
import { documentStarts, maskEndOfDocument, positionsInDocuments } from './masks.ts';
import { MegatronReader } from './megatron.ts';

export interface TokenBatchesOptions {
  /** Prefix of the .bin and .idx files. */
  readonly path: string;
  /** T */
  readonly sequenceLength: number;
  readonly seed: number;
  /** Samples the whole run needs (steps * B); null: one epoch. */
  readonly samples: number | null;
  readonly goldfish: Goldfish | null;
  /** Attention and positions stay inside a document. */
  readonly documentMask: boolean;
  /** No loss where the input is an end of document. */
  readonly eodLossMask: boolean;
  /** Default 2, `</s>`. */
  readonly endOfDocument?: number;
  /** Use only these sequences of the file (Megatron's splits). */
  readonly documents?: Int32Array;
  readonly keepPartialSample?: boolean;
}

/** One row; every array is [T]. */
export interface Sample {
  readonly tokens: Int32Array;
  readonly labels: Int32Array;
  /** 1 where the label counts. */
  readonly lossMask: Float32Array;
  /** First position of the row that may be attended to. */
  readonly firstAttended: Int32Array;
  readonly positions: Int32Array;
}

/** B rows in one; every array is [B * T]. */
export interface Batch {
  readonly B: number;
  readonly T: number;
  readonly tokens: Int32Array;
  readonly labels: Int32Array;
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

export class TokenBatches {
  readonly sequenceLength: number;
  /** Samples that may be asked for. */
  readonly samples: number;
  readonly indices: SampleIndices;
  private readonly reader: MegatronReader;
  private readonly lengths: Int32Array;
  private readonly options: TokenBatchesOptions;
  private readonly endOfDocument: number;
  /** [samples built] window -> place in the order of training; made when first needed. */
  private order: Uint32Array | undefined;
  /** [places + 1] tokens before each place of the document index; made when first needed. */
  private before: Float64Array | undefined;

  constructor(options: TokenBatchesOptions) {
    this.options = options;
    this.sequenceLength = options.sequenceLength;
    this.endOfDocument = options.endOfDocument ?? EOS;
    this.reader = new MegatronReader(options.path);
    this.lengths = this.reader.lengths();
    this.indices = buildSampleIndices({
      lengths: this.lengths,
      sequenceLength: options.sequenceLength,
      seed: options.seed,
      samples: options.samples,
      ...(options.documents ? { documents: options.documents } : {}),
      keepPartialSample: options.keepPartialSample ?? false,
    });
    this.samples = options.samples ?? this.indices.samples;
    if (this.indices.samples < this.samples) {
      this.reader.close();
      throw new UserError(`${options.path} has too few tokens for one sample`, {
        found: `${this.reader.tokens} tokens`,
        expected: `at least ${options.sequenceLength + 1}, one more than the sequence length`,
        next: 'use more documents or a shorter sequenceLength',
      });
    }
  }

  /** The i-th sample of the run. */
  sample(i: number): Sample {
    const T = this.sequenceLength;
    const { batch, firstAttended } = this.rows(i, 1);
    return {
      tokens: batch.tokens,
      labels: batch.labels,
      lossMask: batch.lossMask,
      firstAttended: firstAttended.subarray(0, T),
      positions: batch.positions,
    };
  }

  /** Samples [first, first + B) of the run. */
  batch(first: number, B: number): Batch {
    return this.rows(first, B).batch;
  }

  /** The samples that hold tokens of a document, in the order of training. */
  whereIs(document: number): Sighting[] {
    const { documentIndex, shuffleIndex, samples } = this.indices;
    const T = this.sequenceLength;
    if (!this.order) {
      this.order = new Uint32Array(samples);
      for (let i = 0; i < samples; i++) this.order[shuffleIndex[i] as number] = i;
    }
    if (!this.before) {
      this.before = new Float64Array(documentIndex.length + 1);
      for (let p = 0; p < documentIndex.length; p++) {
        this.before[p + 1] = (this.before[p] as number) + (this.lengths[documentIndex[p] as number] as number);
      }
    }
    const firstSequence = this.reader.documentStart(document);
    const endSequence = this.reader.documentStart(document + 1);
    const sightings: Sighting[] = [];
    for (let p = 0; p < documentIndex.length; p++) {
      const sequence = documentIndex[p] as number;
      if (sequence < firstSequence || sequence >= endSequence) continue;
      const start = this.before[p] as number;
      const end = this.before[p + 1] as number;
      // Window k holds tokens [k T, k T + T] of the stream: its last token is also the first of the next window.
      const firstWindow = Math.max(0, Math.ceil((start - T) / T));
      for (let window = firstWindow; window < samples && window * T < end; window++) {
        const sample = this.order[window] as number;
        if (sample >= this.samples) continue;
        sightings.push({
          sample,
          from: Math.max(0, start - window * T),
          to: Math.min(T + 1, end - window * T),
        });
      }
    }
    return sightings.sort((a, b) => a.sample - b.sample || a.from - b.from);
  }

  close(): void {
    this.reader.close();
  }

  private rows(first: number, B: number): { readonly batch: Batch; readonly firstAttended: Int32Array } {
    if (!(first >= 0 && first + B <= this.samples)) {
      throw new Error(`TokenBatches: samples [${first}, ${first + B}) are not in [0, ${this.samples})`);
    }
    const { goldfish, documentMask, eodLossMask } = this.options;
    const T = this.sequenceLength;
    const tokens = new Int32Array(B * T);
    const labels = new Int32Array(B * T);
    const lossMask = new Float32Array(B * T).fill(1);
    const firstAttended = new Int32Array(B * T);
    const positions = new Int32Array(B * T);
    const lo = new Int32Array(B * T);
    const hi = new Int32Array(B * T);
    const window = new Int32Array(T + 1);
    for (let b = 0; b < B; b++) {
      const row = b * T;
      const filled = this.readWindow(this.indices.shuffleIndex[first + b] as number, window);
      const rowTokens = tokens.subarray(row, row + T);
      const rowLabels = labels.subarray(row, row + T);
      const rowMask = lossMask.subarray(row, row + T);
      rowTokens.set(window.subarray(0, T));
      rowLabels.set(window.subarray(1));
      if (goldfish) maskGoldfish(rowMask, rowLabels, goldfish);
      if (eodLossMask) maskEndOfDocument(rowMask, rowTokens, this.endOfDocument);
      // A last window that is not full has nothing to learn in its padding.
      rowMask.fill(0, Math.max(0, filled - 1));
      if (documentMask) {
        const starts = documentStarts(rowTokens, this.endOfDocument);
        firstAttended.set(starts, row);
        positions.set(positionsInDocuments(starts), row);
      } else {
        for (let t = 0; t < T; t++) positions[row + t] = t;
      }
      for (let t = 0; t < T; t++) {
        lo[row + t] = row + (firstAttended[row + t] as number);
        hi[row + t] = row + t + 1;
      }
    }
    return { batch: { B, T, tokens, labels, lossMask, lo, hi, positions }, firstAttended };
  }

  /** Fills a window [T + 1], zeros at its end where the data end; returns how many tokens are data. */
  private readWindow(number: number, window: Int32Array): number {
    const { documentIndex, sampleIndex } = this.indices;
    let place = sampleIndex[2 * number] as number;
    let offset = sampleIndex[2 * number + 1] as number;
    let filled = 0;
    while (filled < window.length && place < documentIndex.length) {
      const sequence = documentIndex[place] as number;
      const to = Math.min(this.lengths[sequence] as number, offset + window.length - filled);
      this.reader.readInto(sequence, offset, to, window, filled);
      filled += to - offset;
      place++;
      offset = 0;
    }
    window.fill(0, filled);
    return filled;
  }
}
