// Training rows from a packed token file: the i-th sample depends on the file, the seed and i, and on nothing else, so
// a run can stop and go on anywhere, on any number of ranks.
//
// Does not: mix files (mixture.ts), read ahead (prefetch.ts), or know what a step is.
import { type Batch, emptyBatch, SampleRows, type SampleRowsOptions, type Sighting } from './sample-rows.ts';

export type { Batch, Sighting } from './sample-rows.ts';

/** `samples`: those the whole run needs (steps * B); null: one epoch. */
export type TokenBatchesOptions = SampleRowsOptions;

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

export class TokenBatches {
  readonly sequenceLength: number;
  /** Samples that may be asked for. */
  readonly samples: number;
  private readonly rows: SampleRows;

  constructor(options: TokenBatchesOptions) {
    this.sequenceLength = options.sequenceLength;
    this.rows = new SampleRows(options);
    this.samples = options.samples ?? this.rows.samples;
  }

  /** The i-th sample of the run. */
  sample(i: number): Sample {
    // Of a batch of one row, `lo` counts from the row's beginning.
    const { tokens, labels, lossMask, lo, positions } = this.batch(i, 1);
    return { tokens, labels, lossMask, firstAttended: lo, positions };
  }

  /** Samples [first, first + B) of the run. */
  batch(first: number, B: number): Batch {
    if (!(first >= 0 && first + B <= this.samples)) {
      throw new Error(`TokenBatches: samples [${first}, ${first + B}) are not in [0, ${this.samples})`);
    }
    const batch = emptyBatch(B, this.sequenceLength);
    for (let b = 0; b < B; b++) this.rows.fill(first + b, batch, b);
    return batch;
  }

  /** The samples that hold tokens of a document, in the order of training. */
  whereIs(document: number): Sighting[] {
    return this.rows.sightings(document, this.samples);
  }

  close(): void {
    this.rows.close();
  }
}
