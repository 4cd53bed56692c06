// Encoded conversations as rows of a fixed length: several in a row, each blind to the others, positions from zero.
//
// Apertus pads one conversation per row; packing gives the same gradients (attention and positions stay inside a
// conversation) without computing on padding. Rows are packed once, in an order of the seed; every epoch visits all of
// them in an order of its own, so a row depends on the seed and its number alone.
//
// Legend: B rows, T inputs per row. A conversation of n ids takes n - 1 inputs: its labels are its ids shifted by one,
// and so is its loss mask. A step's loss is sum(w CE) / sum(w) over the shifted weights (spec section 2.7).
//
// Does not: encode text.
import { Random } from '../base/rng.ts';
import { PAD } from '../tokenizer/special-tokens.ts';
import type { TrainingBatch, TrainingData } from '../train/step.ts';

export interface MaskedSequence {
  /** [n], 2 <= n <= T + 1 */
  readonly ids: ArrayLike<number>;
  /** [n] weight of each id as something to predict. */
  readonly lossMask: ArrayLike<number>;
}

export interface PackedRowsOptions {
  readonly sequences: readonly MaskedSequence[];
  /** T */
  readonly sequenceLength: number;
  readonly seed: number;
}

/** Rows as lists of indices into the sequences: first fit in a shuffled order, among the rows last opened. */
export function packRows(lengths: readonly number[], sequenceLength: number, seed: number): number[][] {
  const order = new Random(seed, 'sft', 'pack').shuffle(lengths.map((_, i) => i));
  const rows: number[][] = [];
  const open: { readonly row: number[]; left: number }[] = [];
  for (const index of order) {
    const length = lengths[index] as number;
    let fit = open.find(({ left }) => left >= length);
    if (!fit) {
      fit = { row: [], left: sequenceLength };
      rows.push(fit.row);
      open.push(fit);
      if (open.length > 16) open.shift();
    }
    fit.row.push(index);
    fit.left -= length;
  }
  return rows;
}

export interface PackedRows extends TrainingData {
  rows(first: number, count: number): TrainingBatch;
  /** Rows of one epoch. */
  readonly rowsPerEpoch: number;
  /** Which of the first `rows` rows, counted from 0, read sequence `index`. */
  whereIs(index: number, rows: number): readonly number[];
}

/** Training data whose rows are an endless sequence of shuffled epochs. */
export function packedRows(options: PackedRowsOptions): PackedRows {
  const { sequences, sequenceLength: T, seed } = options;
  for (const { ids, lossMask } of sequences) {
    if (ids.length < 2 || ids.length > T + 1 || lossMask.length !== ids.length) {
      throw new Error(`packedRows: ${ids.length} ids with ${lossMask.length} weights, expected 2 to ${T + 1} of each`);
    }
  }
  const rows = packRows(
    sequences.map(({ ids }) => ids.length - 1),
    T,
    seed,
  );
  if (rows.length === 0) throw new Error('packedRows: got no sequences');
  let epoch = -1;
  let order: number[] = [];
  const rowAt = (index: number): readonly number[] => {
    const wanted = Math.floor(index / rows.length);
    if (wanted !== epoch) {
      order = new Random(seed, 'sft', 'epoch', wanted).shuffle(rows.map((_, i) => i));
      epoch = wanted;
    }
    return rows[order[index % rows.length] as number] as readonly number[];
  };
  return {
    rowsPerEpoch: rows.length,
    rows: (first, count) => {
      const parts: TrainingBatch = emptyBatch(count, T);
      for (let b = 0; b < count; b++) {
        let at = b * T;
        for (const index of rowAt(first + b)) at = place(parts, at, sequences[index] as MaskedSequence);
      }
      return parts;
    },
    whereIs: (index, count) => Array.from({ length: count }, (_, at) => at).filter((at) => rowAt(at).includes(index)),
  };
}

/** A batch of padding: every token alone in a document of its own, with no weight. */
function emptyBatch(B: number, T: number): TrainingBatch {
  const N = B * T;
  const lo = Int32Array.from({ length: N }, (_, n) => n);
  return {
    batch: {
      B,
      T,
      tokens: new Int32Array(N).fill(PAD),
      positions: new Int32Array(N),
      lo,
      hi: lo.map((n) => n + 1),
    },
    labels: new Int32Array(N).fill(PAD),
    lossMask: new Float32Array(N),
  };
}

/** Writes a sequence at input `at` of the batch; returns where the next one may begin. */
function place({ batch, labels, lossMask }: TrainingBatch, at: number, sequence: MaskedSequence): number {
  const inputs = sequence.ids.length - 1;
  for (let t = 0; t < inputs; t++) {
    batch.tokens[at + t] = sequence.ids[t] as number;
    batch.positions[at + t] = t;
    batch.lo[at + t] = at;
    labels[at + t] = sequence.ids[t + 1] as number;
    lossMask[at + t] = sequence.lossMask[t + 1] as number;
  }
  return at + inputs;
}
