// What a step tells besides its loss: gradient noise, norms of single parameters, throughput against the measured
// limit.
//
// Does not: decide anything, or write; metrics-log.ts writes.
import { z } from 'zod';
import type { Json } from '../base/json.ts';
import type { Backend, Compute } from '../tensor/backend.ts';
import type { ParameterSet } from '../tensor/parameters.ts';

const noiseState = z.strictObject({ count: z.int().min(0), signal: z.number(), noise: z.number() });

/**
 * The gradient noise scale B_noise = tr(Sigma) / |G|^2 of McCandlish et al. (2018): about the batch size beyond which
 * more data in a step stops paying. G is the true gradient, Sigma the covariance of the gradient of one unit of
 * weight.
 *
 * Derivation, appendix A.1 for shards of unequal weight. A step of weight W is a sum of shards of weight w_i: its
 * gradient is g = sum of c_i with c_i = (w_i / W) g_i, and a mean over weight w has E|g_i|^2 = |G|^2 + S / w_i, S =
 * tr(Sigma). With Q = sum of |c_i|^2 and q = sum of (w_i / W)^2:
 *
 *     E Q     = q |G|^2 + S / W
 *     E |g|^2 =   |G|^2 + S / W
 *
 * so (|g|^2 - Q) / (1 - q) is an unbiased estimate of |G|^2, and W (Q - q |g|^2) / (1 - q) one of S. For n shards of
 * equal weight these are the formulas of the paper with B_small = W / n. One step says little: both are averaged over
 * steps first, and the ratio of the averages is taken, which the ratio of two noisy numbers must not be.
 */
export class GradientNoise {
  private readonly decay: number;
  private count = 0;
  private signal = 0;
  private noise = 0;

  /** Moving averages forget by `decay` a step. With a `state` it goes on from there. */
  constructor(state?: Json, decay = 0.99) {
    this.decay = decay;
    if (state !== undefined) ({ count: this.count, signal: this.signal, noise: this.noise } = noiseState.parse(state));
  }

  /**
   * One step, before clipping. `shardSquares`: squared norms of the shards' terms, those that sum to the gradient of
   * the step; `shardWeights`: their weights, e.g. counted labels, in the unit the scale is wanted in; `bigSquare`:
   * squared norm of the sum; `bigWeight`: sum of the weights. Steps of fewer than two shards with weight say nothing
   * and are left out.
   */
  add(shardSquares: readonly number[], shardWeights: readonly number[], bigSquare: number, bigWeight: number): void {
    if (shardSquares.length !== shardWeights.length) {
      throw new Error(`gradient noise: got ${shardSquares.length} squares and ${shardWeights.length} weights`);
    }
    let total = 0;
    let shares = 0;
    shardSquares.forEach((square, i) => {
      total += square;
      shares += ((shardWeights[i] as number) / bigWeight) ** 2;
    });
    const apart = 1 - shares;
    if (!(apart > 1e-9) || !Number.isFinite(total) || !Number.isFinite(bigSquare)) return;
    this.count++;
    // Averages of what was seen so far at first, then moving ones: no bias towards a start value.
    const share = Math.max(1 / this.count, 1 - this.decay);
    this.signal += share * ((bigSquare - total) / apart - this.signal);
    this.noise += share * ((bigWeight * (total - shares * bigSquare)) / apart - this.noise);
  }

  /** In the unit of the weights; undefined while the averages do not tell a gradient from noise. */
  get scale(): number | undefined {
    return this.count > 0 && this.signal > 0 && this.noise >= 0 ? this.noise / this.signal : undefined;
  }

  /** For the checkpoint. */
  state(): Json {
    return { count: this.count, signal: this.signal, noise: this.noise };
  }
}

/**
 * Sum of squares of the part of every parameter that lies in elements [from, to) of the flat buffer, in the order of
 * `parameters.slices`; 0 where nothing does. `values` is the whole flat buffer or the elements [from, to) alone.
 * Ranks that own ranges add theirs: the roots of the sums are the norms, the root of all sums together is the norm of
 * everything. Sums are in double precision; which elements are summed first depends on the ranges, so their last bits
 * may too.
 */
export function parameterSquares(
  parameters: ParameterSet,
  values: Float32Array,
  from: number,
  to: number,
): Float64Array {
  if (!(0 <= from && from <= to && to <= parameters.size)) {
    throw new Error(`parameter squares: got the range [${from}, ${to}) of ${parameters.size} elements`);
  }
  if (values.length !== parameters.size && values.length !== to - from) {
    throw new Error(`parameter squares: got ${values.length} values, expected ${parameters.size} or ${to - from}`);
  }
  const shift = values.length === parameters.size ? 0 : from;
  const { backend } = parameters.engine;
  return Float64Array.from(parameters.slices, ({ offset, size }) => {
    const first = Math.max(offset, from);
    const last = Math.min(offset + size, to);
    return last > first ? backend.sumOfSquares(last - first, values.subarray(first - shift, last - shift)) : 0;
  });
}

/** Norms by name from summed squares, as metrics-log.ts writes them, and the norm of everything. */
export function parameterNorms(
  parameters: ParameterSet,
  squares: Float64Array,
): { readonly total: number; readonly byName: Readonly<Record<string, number>> } {
  let total = 0;
  const byName: Record<string, number> = {};
  parameters.slices.forEach(({ name }, i) => {
    total += squares[i] as number;
    byName[name] = Math.sqrt(squares[i] as number);
  });
  return { total: Math.sqrt(total), byName };
}

/** FLOP/s of multiply-adds on all threads of a backend: the best of short rounds within `milliseconds`. */
export function measurePeak(backend: Backend, compute: Compute, milliseconds = 200): number {
  let iterations = 1000;
  let best = 0;
  const end = performance.now() + milliseconds;
  do {
    const start = performance.now();
    const operations = backend.peak(compute, iterations);
    const seconds = (performance.now() - start) / 1000;
    // Shorter rounds measure the start of the threads, longer ones what else the machine does.
    if (seconds < 0.0003) iterations *= 4;
    else best = Math.max(best, operations / seconds);
  } while (performance.now() < end || best === 0);
  return best;
}

export interface ThroughputOptions {
  /** FLOPs that the model needs for training on one token (model/arithmetic.ts). */
  readonly flopsPerToken: number;
  /** FLOP/s that all ranks together could reach (`measurePeak`, once per attempt); undefined where it is not known. */
  readonly peak?: number | undefined;
}

/** Fields of metrics.jsonl about speed. */
export interface ThroughputFields {
  readonly secondsPerStep: number;
  readonly tokensPerSecond: number;
  readonly flopPerSecond: number;
  readonly peakShare?: number;
  readonly etaSeconds?: number;
}

/** Turns tokens and seconds of steps into rates. The time left is told from the median pace of the last steps. */
export class Throughput {
  private readonly options: ThroughputOptions;
  /** Seconds per token of the last steps. */
  private readonly pace: number[] = [];

  constructor(options: ThroughputOptions) {
    this.options = options;
  }

  /** A step of `tokens` tokens (all ranks together) that took `seconds`; `tokensLeft` to the end of the run. */
  step(tokens: number, seconds: number, tokensLeft?: number): ThroughputFields {
    const { flopsPerToken, peak } = this.options;
    this.pace.push(seconds / tokens);
    if (this.pace.length > paceSteps) this.pace.shift();
    const sorted = [...this.pace].sort((a, b) => a - b);
    const flopPerSecond = (flopsPerToken * tokens) / seconds;
    return {
      secondsPerStep: seconds,
      tokensPerSecond: tokens / seconds,
      flopPerSecond,
      ...(peak === undefined ? {} : { peakShare: flopPerSecond / peak }),
      ...(tokensLeft === undefined ? {} : { etaSeconds: (sorted[sorted.length >> 1] as number) * tokensLeft }),
    };
  }
}

const paceSteps = 32;
