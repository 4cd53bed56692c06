// Steps of training of the text classifier, in TypeScript: the twin and oracle of native/data/classifier.inl.
//
// Softmax regression on the mean of the rows of a line, one step of stochastic gradient descent per line, after
// facebookresearch/fastText (model.cc, loss.cc, MIT). Every operation is rounded to float32, and sums over a vector run in
// 8 lanes that are added as a tree, so the native loop gives the same bits, some forty times faster.
//
// Does not: read lines or make rows (train.ts).
import type { NativeModule } from '../../base/native.ts';
import { dataKernels } from '../steps/xxhash.ts';

/** Lines as numbers. */
export interface Lines {
  /** Line i is tokens[lineStarts[i]] to lineStarts[i + 1]. */
  readonly lineStarts: Int32Array;
  readonly tokens: Int32Array;
  readonly labels: Int32Array;
  /** Token t has the rows tokenRows[rowStarts[t]] to rowStarts[t + 1], and a hash for runs of words. */
  readonly rowStarts: Int32Array;
  readonly tokenRows: Int32Array;
  readonly hashes: Int32Array;
  /** Words with a row, shared rows, longest run of words. */
  readonly shape: Int32Array;
}

/** What is learned; rows are padded with zeros to a multiple of 8 numbers. */
export interface Fit {
  readonly input: Float32Array;
  readonly output: Float32Array;
  readonly numLabels: number;
  /** Rate at the start, tokens done, tokens in all, sum of the probabilities of the right labels. */
  readonly numbers: Float64Array;
}

/** One step for each of the lines order[from] to order[to]. */
export type TrainLoop = (lines: Lines, order: Int32Array, from: number, to: number, fit: Fit) => void;

/** The native loop where it is there. */
export function trainLoop(kernels: NativeModule | null = dataKernels() ?? null): TrainLoop {
  if (!kernels) return plainLoop;
  return (lines, order, from, to, { input, output, numLabels, numbers }) => {
    const { lineStarts, tokens, labels, rowStarts, tokenRows, hashes, shape } = lines;
    kernels.dataTrain(
      order,
      from,
      to,
      lineStarts,
      tokens,
      labels,
      rowStarts,
      tokenRows,
      hashes,
      shape,
      input,
      output,
      numLabels,
      numbers,
    );
  };
}

const { fround, imul } = Math;

const plainLoop: TrainLoop = (lines, order, from, to, { input, output, numLabels, numbers }) => {
  const stride = output.length / numLabels;
  const hidden = new Float32Array(stride);
  const gradient = new Float32Array(stride);
  const scores = new Float32Array(8 * Math.ceil(numLabels / 8));
  const lanes = new Float32Array(8);
  for (let n = from; n < to; n++) {
    const line = order[n] as number;
    const label = lines.labels[line] as number;
    const rows = rowsOf(lines, line);
    const [lr, done, total] = numbers as unknown as [number, number, number];
    const rate = fround(lr * (1 - done / total));
    numbers[1] = done + (lines.lineStarts[line + 1] as number) - (lines.lineStarts[line] as number);
    if (rows.length === 0) continue;
    const share = fround(1 / rows.length);
    hidden.fill(0);
    gradient.fill(0);
    for (const row of rows) {
      const at = row * stride;
      for (let j = 0; j < stride; j++) hidden[j] = (hidden[j] as number) + (input[at + j] as number);
    }
    for (let j = 0; j < stride; j++) hidden[j] = (hidden[j] as number) * share;

    let largest = 0;
    for (let k = 0; k < numLabels; k++) {
      lanes.fill(0);
      for (let j = 0, at = k * stride; j < stride; j++) {
        const product = fround((output[at + j] as number) * (hidden[j] as number));
        lanes[j & 7] = j < 8 ? product : (lanes[j & 7] as number) + product;
      }
      scores[k] = treeSum(lanes);
      if (k === 0 || (scores[k] as number) > largest) largest = scores[k] as number;
    }
    for (let k = numLabels; k < scores.length; k++) scores[k] = fround(largest - 1000);
    lanes.fill(0);
    for (let k = 0; k < scores.length; k++) {
      scores[k] = expOf(fround((scores[k] as number) - largest));
      lanes[k & 7] = (lanes[k & 7] as number) + (scores[k] as number);
    }
    const inverse = fround(1 / treeSum(lanes));
    for (let k = 0; k < numLabels; k++) {
      const probability = fround((scores[k] as number) * inverse);
      if (k === label) numbers[3] = (numbers[3] as number) + probability;
      const alpha = fround(rate * fround((k === label ? 1 : 0) - probability));
      for (let j = 0, at = k * stride; j < stride; j++) {
        gradient[j] = (gradient[j] as number) + fround(alpha * (output[at + j] as number));
        output[at + j] = (output[at + j] as number) + fround(alpha * (hidden[j] as number));
      }
    }
    for (let j = 0; j < stride; j++) gradient[j] = (gradient[j] as number) * share;
    for (const row of rows) {
      const at = row * stride;
      for (let j = 0; j < stride; j++) input[at + j] = (input[at + j] as number) + (gradient[j] as number);
    }
  }
};

function rowsOf({ lineStarts, tokens, rowStarts, tokenRows, hashes, shape }: Lines, line: number): number[] {
  const [words, bucket, wordNgrams] = shape as unknown as [number, number, number];
  const rows: number[] = [];
  const from = lineStarts[line] as number;
  const to = lineStarts[line + 1] as number;
  for (let t = from; t < to; t++) {
    const type = tokens[t] as number;
    for (let i = rowStarts[type] as number; i < (rowStarts[type + 1] as number); i++) rows.push(tokenRows[i] as number);
  }
  for (let t = from; t < to && wordNgrams > 1; t++) {
    let hash = BigInt(hashes[tokens[t] as number] as number);
    for (let u = t + 1; u < to && u < t + wordNgrams; u++) {
      hash = BigInt.asUintN(64, hash * 116049371n + BigInt(hashes[tokens[u] as number] as number));
      rows.push(words + Number(hash % BigInt(bucket)));
    }
  }
  return rows;
}

function treeSum(x: Float32Array): number {
  const [a, b, c, d, e, f, g, h] = x as unknown as number[];
  const even = fround(fround((a as number) + (e as number)) + fround((c as number) + (g as number)));
  const odd = fround(fround((b as number) + (f as number)) + fround((d as number) + (h as number)));
  return fround(even + odd);
}

const floats = new Float32Array(1);
const bits = new Int32Array(floats.buffer);
const coefficients = [1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1].map(fround);
const [toBits, magic, high, low, first] = [Math.LOG2E, 12582912, 0.693359375, -2.1219444e-4, 1.98756915e-4].map(
  fround,
) as [number, number, number, number, number];

/** exp of x <= 0 by Cephes' expf; 0 below -87. */
function expOf(x: number): number {
  if (x < -87) return 0;
  const n = fround(fround(fround(x * toBits) + magic) - magic);
  const r = fround(fround(x - fround(n * high)) - fround(n * low));
  let p = first;
  for (const c of coefficients) p = fround(fround(p * r) + c);
  p = fround(fround(fround(p * fround(r * r)) + r) + 1);
  bits[0] = imul(n + 127, 1 << 23);
  return fround(p * (floats[0] as number));
}
