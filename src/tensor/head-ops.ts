// Ops of small classifiers, each with its gradient beside it: bias, ReLU, dropout, cross-entropy of logits.
//
// Their numbers are a hundredth of the matrix products between them, so they are computed here, in the same way on every
// backend, and not by kernels. Shapes: N rows, F columns, C classes.
//
// Does not: multiply matrices; ops.ts does.
import type { Random } from '../base/rng.ts';
import { giveGradient, type Tensor, writable } from './tensor.ts';

function refuse(op: string, what: string, got: string, expected: string): never {
  throw new Error(`${op}: ${what}, got ${got}, expected ${expected}`);
}

function shapeOf(tensor: Tensor): string {
  return `[${tensor.shape.join(', ')}]`;
}

function columnsOf(op: string, x: Tensor): number {
  if (x.shape.length !== 2) refuse(op, 'a matrix is needed', shapeOf(x), 'two dimensions');
  return x.shape[1] as number;
}

/** The gradient of an output, to be written into and handed on. */
function takeGradient(out: Tensor): Tensor {
  if (!out.grad) throw new Error('backward: an output without gradient');
  const gradient = writable(out.grad);
  out.grad = undefined;
  return gradient;
}

/** x [N, F] with the F numbers of `bias` added to every row. */
export function addBias(x: Tensor, bias: Tensor): Tensor {
  const op = 'addBias';
  const F = columnsOf(op, x);
  if (bias.size !== F) refuse(op, 'bias must match', shapeOf(bias), `${F} numbers`);
  const { engine } = x;
  const out = engine.empty(...x.shape);
  const from = x.use(op);
  const b = bias.use(op);
  const to = out.data;
  for (let at = 0; at < to.length; at += F) {
    for (let j = 0; j < F; j++) to[at + j] = (from[at + j] as number) + (b[j] as number);
  }
  if (x.requiresGrad || bias.requiresGrad) {
    engine.record([out], [], () => {
      const dx = takeGradient(out);
      if (bias.requiresGrad) {
        const sums = new Float64Array(F);
        for (let at = 0; at < dx.size; at += F) {
          for (let j = 0; j < F; j++) sums[j] = (sums[j] as number) + (dx.data[at + j] as number);
        }
        giveGradient(bias, engine.from(sums, ...bias.shape));
      }
      giveGradient(x, dx);
    });
  }
  return out;
}

/** max(x, 0); any shape in, the same out. The slope at 0 is 0. */
export function relu(x: Tensor): Tensor {
  const op = 'relu';
  const { engine } = x;
  const out = engine.empty(...x.shape);
  const from = x.use(op);
  const to = out.data;
  for (let i = 0; i < to.length; i++) to[i] = (from[i] as number) > 0 ? (from[i] as number) : 0;
  if (x.requiresGrad) {
    engine.record([out], [], () => {
      const dx = takeGradient(out);
      const made = out.use(op);
      for (let i = 0; i < made.length; i++) if (made[i] === 0) dx.data[i] = 0;
      giveGradient(x, dx);
    });
  }
  return out;
}

/** Each number is 0 with probability `rate`, else divided by 1 - rate; any shape in, the same out. */
export function dropout(x: Tensor, rate: number, random: Random): Tensor {
  const op = 'dropout';
  if (!(rate >= 0 && rate < 1)) refuse(op, 'rate', String(rate), 'a number in [0, 1)');
  if (rate === 0) return x;
  const { engine } = x;
  const mask = new Float32Array(x.size);
  const limit = rate * 2 ** 32;
  const factor = 1 / (1 - rate);
  for (let i = 0; i < mask.length; i++) mask[i] = random.bits() < limit ? 0 : factor;
  const out = engine.empty(...x.shape);
  const from = x.use(op);
  const to = out.data;
  for (let i = 0; i < to.length; i++) to[i] = (from[i] as number) * (mask[i] as number);
  if (x.requiresGrad) {
    engine.record([out], [], () => {
      const dx = takeGradient(out);
      for (let i = 0; i < mask.length; i++) dx.data[i] = (dx.data[i] as number) * (mask[i] as number);
      giveGradient(x, dx);
    });
  }
  return out;
}

/**
 * Mean cross-entropy of logits [N, C] and labels [N], a scalar. Softmax over the classes; one column is the logit of
 * label 1 (binary cross-entropy of its sigmoid).
 */
export function crossEntropy(logits: Tensor, labels: Int32Array): Tensor {
  const op = 'crossEntropy';
  const C = columnsOf(op, logits);
  const N = logits.shape[0] as number;
  if (labels.length !== N) refuse(op, 'labels must have one entry per row', String(labels.length), String(N));
  const classes = Math.max(2, C);
  for (const label of labels) {
    if (!(label >= 0 && label < classes)) refuse(op, 'a label', String(label), `0..${classes - 1}`);
  }
  const { engine } = logits;
  const z = logits.use(op);
  const dz = new Float32Array(z.length);
  let sum = 0;
  for (let n = 0; n < N; n++) {
    const label = labels[n] as number;
    if (C === 1) {
      const x = z[n] as number;
      // log(1 + e^x) - y x, without overflow.
      sum += Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))) - label * x;
      dz[n] = (1 / (1 + Math.exp(-x)) - label) / N;
      continue;
    }
    const row = z.subarray(n * C, (n + 1) * C);
    let top = Number.NEGATIVE_INFINITY;
    for (let c = 0; c < C; c++) top = Math.max(top, row[c] as number);
    let total = 0;
    for (let c = 0; c < C; c++) total += Math.exp((row[c] as number) - top);
    sum += Math.log(total) + top - (row[label] as number);
    for (let c = 0; c < C; c++) {
      dz[n * C + c] = (Math.exp((row[c] as number) - top) / total - (c === label ? 1 : 0)) / N;
    }
  }
  const out = engine.from([sum / N], 1);
  if (logits.requiresGrad) {
    engine.record([out], [], () => {
      const upstream = takeGradient(out).item();
      for (let i = 0; i < dz.length; i++) dz[i] = (dz[i] as number) * upstream;
      giveGradient(logits, engine.from(dz, ...logits.shape));
    });
  }
  return out;
}
