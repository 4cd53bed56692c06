// One optimizer step over all shards and ranks.
//
// A step of B rows is cut into logical shards (parallel/layout.ts). Each rank computes the gradients of its shards: those
// of the sum of the masked cross-entropies, not of their mean, because only the whole step knows how many predictions
// count. They are summed in the fixed tree; the factor clip / (sum of the mask) then goes into the update. Every number a
// decision rests on (loss, norm, weight) is added in the order of the shards and of the units of the buffer, so all ranks
// decide alike, however many there are.
//
// Does not: choose batches, rates or what to do with a bad step; loop.ts does.
import type { Apertus, TokenBatch } from '../model/apertus.ts';
import { clipFactor, type Optimizer } from '../optim/optimizer.ts';
import { GradientSum, gatherOwned } from '../parallel/gradient-sum.ts';
import { type Group, soloGroup } from '../parallel/group.ts';
import { share, unitElements } from '../parallel/layout.ts';

/** A piece of a step: B rows of T tokens, what to predict and which predictions count. */
export interface TrainingBatch {
  readonly batch: TokenBatch;
  /** The token after each token; [B*T]. */
  readonly labels: Int32Array;
  /** Weight of each prediction in the loss; [B*T]. */
  readonly lossMask: Float32Array;
}

export interface TrainingData {
  /** Rows [first, first + count) of the data order; the same for the same arguments, whatever was asked before. */
  rows(first: number, count: number): TrainingBatch | Promise<TrainingBatch>;
  /** Says which rows will be asked for next. */
  prefetch?(first: number, count: number): void;
  /** Lets go of open files; called by whoever made the data, when training is over. */
  close?(): void | Promise<void>;
}

/** The rows of a step and how they are cut. */
export interface StepRows {
  /** First row, in the data order of the phase. */
  readonly first: number;
  /** B */
  readonly batchSize: number;
  /** Rows of one forward pass at most; null: those of a shard. */
  readonly microBatchSize: number | null;
}

export interface Gradients {
  /** sum(mask * CE) / sum(mask) over the whole step; 0 where nothing counts. */
  readonly loss: number;
  /** Global L2 norm of the gradient of that loss, before clipping. */
  readonly norm: number;
  /** sum(mask). */
  readonly weight: number;
  /** Tokens read, and the share of predictions that counted. */
  readonly tokens: number;
  readonly maskShare: number;
  /** Where it was asked for: squared norm of each shard's term of the gradient; and the weights of the shards. */
  readonly shardSquares: readonly number[];
  readonly shardWeights: readonly number[];
}

interface ShardReport {
  readonly loss: number;
  readonly weight: number;
  readonly tokens: number;
}

export class Stepper {
  readonly model: Apertus;
  readonly optimizer: Optimizer;
  readonly group: Group;
  readonly shards: number;
  /** Seconds in which this rank computed its shards of the last step, data included, without waiting for other ranks. */
  busySeconds = 0;
  private readonly sum: GradientSum;

  /** `optimizer` owns the range that parallel/layout.ts gives this rank. */
  constructor(model: Apertus, optimizer: Optimizer, shards: number, group: Group = soloGroup()) {
    this.model = model;
    this.optimizer = optimizer;
    this.group = group;
    this.shards = shards;
    const { parameters, engine, gradientBuckets: buckets } = model;
    this.sum = new GradientSum({ group, backend: engine.backend, gradients: parameters.gradients, shards, buckets });
    const { from, to } = this.sum.owned;
    if (optimizer.from !== from || optimizer.to !== to) {
      throw new Error(`Stepper: the optimizer owns [${optimizer.from}, ${optimizer.to}), expected [${from}, ${to})`);
    }
  }

  /** Shards of a step that this rank computes. */
  get ownShards(): number {
    return this.sum.mine.to - this.sum.mine.from;
  }

  /** Tells `data` which rows the next step of this rank reads. */
  prefetch(data: TrainingData, rows: StepRows): void {
    for (const { first, count } of this.pieces(rows)) data.prefetch?.(first, count);
  }

  /**
   * Computes the gradient of a step: each rank is left with the sum over all shards of the range it owns. `onExchange` is
   * called when its own shards are done.
   */
  async gradients(
    data: TrainingData,
    rows: StepRows,
    measureShards = false,
    onExchange?: () => void,
  ): Promise<Gradients> {
    const { sum, model } = this;
    const started = performance.now();
    sum.begin(measureShards);
    const reports: ShardReport[] = [];
    for (let shard = sum.mine.from; shard < sum.mine.to; shard++) {
      sum.startShard();
      reports.push(await this.shard(data, rows, shard));
      sum.endShard();
    }
    this.busySeconds = (performance.now() - started) / 1000;
    onExchange?.();
    sum.finish();
    model.onBucket = undefined;
    return this.exchange(reports);
  }

  /** Applies the gradient of the step and brings everyone the new weights. Returns the factor of clipping. */
  update({ norm, weight }: Gradients, lr: number, maxNorm: number | null): number {
    const clip = clipFactor(norm, maxNorm);
    this.optimizer.apply(lr, weight > 0 ? clip / weight : 0);
    gatherOwned(this.group, this.model.parameters.values);
    return clip;
  }

  /** The forward passes of a step on this rank. */
  private pieces({ first, batchSize, microBatchSize }: StepRows): { first: number; count: number; shard: number }[] {
    const pieces: { first: number; count: number; shard: number }[] = [];
    for (let shard = this.sum.mine.from; shard < this.sum.mine.to; shard++) {
      const { from, to } = share(batchSize, shard, this.shards);
      const most = microBatchSize ?? to - from;
      for (let at = from; at < to; at += most) {
        pieces.push({ first: first + at, count: Math.min(most, to - at), shard });
      }
    }
    return pieces;
  }

  private async shard(data: TrainingData, rows: StepRows, shard: number): Promise<ShardReport> {
    const { model, sum } = this;
    const pieces = this.pieces(rows).filter((piece) => piece.shard === shard);
    const done = (bucket: number): void => {
      const range = model.gradientBuckets[bucket];
      if (range) sum.bucketDone(range);
    };
    let loss = 0;
    let weight = 0;
    let tokens = 0;
    for (const [i, { first, count }] of pieces.entries()) {
      const { batch, labels, lossMask } = await data.rows(first, count);
      const losses = new Float32Array(labels.length);
      model.onBucket = i === pieces.length - 1 ? done : undefined;
      model.engine.gradients(() => model.loss(batch, labels, lossMask, losses));
      tokens += labels.length;
      for (let n = 0; n < labels.length; n++) {
        const counts = lossMask[n] as number;
        weight += counts;
        // A label that does not count may have any loss, infinity included.
        if (counts !== 0) loss += counts * (losses[n] as number);
      }
    }
    // A batch smaller than its shards leaves some of them empty: they add zeros.
    if (pieces.length === 0) for (let bucket = 0; bucket < model.gradientBuckets.length; bucket++) done(bucket);
    return { loss, weight, tokens };
  }

  /** Everyone's reports and sums of squares, added in one order. */
  private exchange(reports: readonly ShardReport[]): Gradients {
    const { parameters, engine } = this.model;
    const { from, to } = this.sum.owned;
    const units: number[] = [];
    for (let at = from; at < to; at += unitElements) {
      const part = parameters.gradients.subarray(at, Math.min(to, at + unitElements));
      units.push(engine.backend.sumOfSquares(part.length, part));
    }
    const squares = this.sum.shardSquares;
    const mine = Float64Array.of(
      reports.length,
      squares.length,
      ...reports.flatMap(({ loss, weight, tokens }) => [loss, weight, tokens]),
      ...squares,
    );
    const bytes = Buffer.concat([bytesOf(mine), bytesOf(Float64Array.from(units))]);
    let loss = 0;
    let weight = 0;
    let tokens = 0;
    let total = 0;
    const shardSquares: number[] = [];
    const shardWeights: number[] = [];
    for (const theirs of this.group.allGather(bytes)) {
      // A copy of its own: a Buffer may be a part of a larger one.
      const values = new Float64Array(Uint8Array.from(theirs).buffer);
      const [count, measured] = [values[0] as number, values[1] as number];
      const at = 2 + 3 * count;
      for (let i = 0; i < count; i++) {
        const [shardLoss, shardWeight, shardTokens] = values.subarray(2 + 3 * i, 5 + 3 * i);
        loss += shardLoss as number;
        weight += shardWeight as number;
        tokens += shardTokens as number;
        shardWeights.push(shardWeight as number);
      }
      for (let i = 0; i < measured; i++) shardSquares.push(values[at + i] as number);
      for (const unit of values.subarray(at + measured)) total += unit;
    }
    return {
      loss: weight > 0 ? loss / weight : loss,
      norm: weight > 0 ? Math.sqrt(total) / weight : Math.sqrt(total),
      weight,
      tokens,
      maskShare: weight / tokens,
      shardSquares: shardSquares.map((square) => (weight > 0 ? square / weight ** 2 : square)),
      shardWeights,
    };
  }
}

function bytesOf(values: Float64Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
