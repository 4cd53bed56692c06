// Sums the gradients of a step over logical shards and ranks, while the backward pass still runs.
//
// Each rank adds the gradients of its shards along the fixed tree (tree.ts). What it cannot add itself, the sums of the
// largest nodes it holds, goes to the owner of each range (layout.ts), bucket by bucket as the backward pass completes
// them; owners add the nodes of all ranks up to the root. So a rank sends and receives each gradient about once, and the
// transfers of early buckets overlap with the computation of later ones.
//
// The caller computes shard after shard into one buffer:
//   begin(); for each shard { startShard(); backward ... bucketDone(range) for each bucket; endShard() } finish();
//
// Memory: a copy of the gradients for each sum that waits for its neighbour in the tree (about log2 of the shards of a
// rank), and on each owner one buffer of its range for every node of every other rank.
//
// Does not: know what the numbers are, or clip and update.
import type { Group, Transfer } from './group.ts';
import { overlap, ownedRange, type Range, share } from './layout.ts';
import { completedBy, nodesOf, splitOf } from './tree.ts';

/** What sums need of a backend. */
export interface Adder {
  allocate(bytes: number): ArrayBuffer;
  fill(count: number, value: number, out: Float32Array): void;
  add(count: number, a: Float32Array, b: Float32Array, out: Float32Array): void;
  sumOfSquares(count: number, x: Float32Array): number;
}

export interface GradientSumOptions {
  readonly group: Group;
  readonly backend: Adder;
  /** [size] where backward passes add their gradients, and where the sum of the owned range is left. */
  readonly gradients: Float32Array;
  /** Logical shards of a step. */
  readonly shards: number;
  /** Ranges that backward passes complete one after the other; together the whole buffer. */
  readonly buckets: readonly Range[];
}

interface Waiting {
  readonly node: Range;
  readonly values: Float32Array;
}

/** First tag of the messages of sums; each node and bucket has its own. */
const firstTag = 1 << 16;

export class GradientSum {
  /** Shards this rank computes. */
  readonly mine: Range;
  /** Elements whose sum this rank is left with. */
  readonly owned: Range;
  private readonly options: GradientSumOptions;
  /** Nodes of each rank that it sends. */
  private readonly nodes: readonly (readonly Range[])[];
  private readonly spare: Float32Array[] = [];
  /** [rank][node] what the others send, for the owned range. */
  private readonly staged: readonly (readonly Float32Array[])[];
  private shard = 0;
  /** Sums of nodes that wait for their right neighbour, or for finish(). */
  private waiting: Waiting[] = [];
  private transfers: Transfer[] = [];
  /** Sum of squares of each own shard's gradient; filled where `measure` was asked for. */
  private squares: number[] = [];
  private measure = false;

  constructor(options: GradientSumOptions) {
    this.options = options;
    const { group, backend, gradients, shards } = options;
    const { rank, world } = group;
    this.mine = share(shards, rank, world);
    this.owned = ownedRange(gradients.length, rank, world);
    this.nodes = Array.from({ length: world }, (_, r) => nodesOf(shards, share(shards, r, world)));
    const { from, to } = this.owned;
    this.staged = this.nodes.map((nodes, r) =>
      r === rank ? [] : nodes.map(() => new Float32Array(backend.allocate(4 * (to - from)), 0, to - from)),
    );
  }

  /** Begins a step. `measure`: note the sum of squares of each shard's gradient. */
  begin(measure = false): void {
    const { group } = this.options;
    this.measure = measure;
    this.squares = [];
    this.shard = this.mine.from;
    this.staged.forEach((buffers, from) => {
      buffers.forEach((into, node) => {
        for (const { tag, range } of this.pieces(from, node, this.owned)) {
          const part = into.subarray(range.from - this.owned.from, range.to - this.owned.from);
          this.transfers.push(group.receive(from, tag, part));
        }
      });
    });
  }

  /** Before the backward passes of a shard: the buffer is zero from here. */
  startShard(): void {
    const { backend, gradients } = this.options;
    backend.fill(gradients.length, 0, gradients);
    if (this.measure) this.squares.push(0);
  }

  /** The gradients of this range are complete for the shard. */
  bucketDone(range: Range): void {
    const { backend, gradients } = this.options;
    const part = gradients.subarray(range.from, range.to);
    if (this.measure) {
      this.squares[this.squares.length - 1] = (this.squares.at(-1) as number) + backend.sumOfSquares(part.length, part);
    }
    const ready = completedBy(this.shard, this.nodeNow());
    for (let i = 0; i < ready.length; i++) {
      const { values } = this.waiting.at(-1 - i) as Waiting;
      backend.add(part.length, values.subarray(range.from, range.to), part, part);
    }
    if (this.shard === this.mine.to - 1) this.sendOut(this.nodeIndex(), gradients, range);
  }

  /** After the last bucket of a shard. */
  endShard(): void {
    const { gradients } = this.options;
    for (const _ of completedBy(this.shard, this.nodeNow())) this.spare.push((this.waiting.pop() as Waiting).values);
    if (this.shard < this.mine.to - 1) {
      // The buffer is needed for the next shard; what stands in it waits in a copy.
      const top = this.nodeNow();
      const from = completedBy(this.shard, top).at(-1)?.from ?? this.shard;
      const values = this.spare.pop() ?? this.newBuffer();
      values.set(gradients);
      const node = { from, to: this.shard + 1 };
      this.waiting.push({ node, values });
      if (node.from === top.from && node.to === top.to) this.sendOut(this.nodeIndex(), values);
    }
    this.shard++;
  }

  /** Waits for the other ranks; the owned range of `gradients` then holds the sum over all shards. */
  finish(): void {
    const { group, backend, gradients, shards } = this.options;
    const { from, to } = this.owned;
    group.wait(this.transfers);
    this.transfers = [];
    const sums = new Map<number, { readonly to: number; readonly values: Float32Array }>();
    this.nodes.forEach((nodes, rank) => {
      nodes.forEach((node, i) => {
        let values = this.staged[rank]?.[i];
        if (rank === group.rank) {
          const kept =
            i === nodes.length - 1 ? gradients : this.waiting.find((one) => one.node.from === node.from)?.values;
          values = kept?.subarray(from, to);
        }
        sums.set(node.from, { to: node.to, values: values as Float32Array });
      });
    });
    const sumOf = (node: Range): Float32Array => {
      const whole = sums.get(node.from);
      if (whole && whole.to === node.to) return whole.values;
      const middle = splitOf(node);
      const left = sumOf({ from: node.from, to: middle });
      const right = sumOf({ from: middle, to: node.to });
      backend.add(left.length, left, right, left);
      return left;
    };
    const own = gradients.subarray(from, to);
    const sum = sumOf({ from: 0, to: shards });
    if (sum.buffer !== own.buffer || sum.byteOffset !== own.byteOffset) own.set(sum);
    for (const { values } of this.waiting) this.spare.push(values);
    this.waiting = [];
  }

  /** Sum of squares of the gradient of each own shard, where begin() was asked to measure. */
  get shardSquares(): readonly number[] {
    return this.squares;
  }

  /** Index among this rank's nodes of the one that the present shard is in. */
  private nodeIndex(): number {
    const own = this.nodes[this.options.group.rank] as readonly Range[];
    return own.findIndex(({ from, to }) => this.shard >= from && this.shard < to);
  }

  private nodeNow(): Range {
    return (this.nodes[this.options.group.rank] as readonly Range[])[this.nodeIndex()] as Range;
  }

  /** Sends a node's sum to the owners; only the pieces that lie in `within`, if given. */
  private sendOut(node: number, values: Float32Array, within?: Range): void {
    const { group, gradients } = this.options;
    for (let to = 0; to < group.world; to++) {
      if (to === group.rank) continue;
      const owned = ownedRange(gradients.length, to, group.world);
      for (const { tag, range } of this.pieces(group.rank, node, owned)) {
        if (within && (range.from < within.from || range.to > within.to)) continue;
        this.transfers.push(group.send(to, tag, values.subarray(range.from, range.to)));
      }
    }
  }

  /** How a node's sum of the owned range travels: whole, or, for the last node of a rank, bucket by bucket. */
  private pieces(from: number, node: number, owned: Range): { readonly tag: number; readonly range: Range }[] {
    const { buckets } = this.options;
    const count = (this.nodes[from] as readonly Range[]).length;
    if (owned.from === owned.to) return [];
    const tag = firstTag + node * (buckets.length + 1);
    if (node < count - 1) return [{ tag, range: owned }];
    return buckets.flatMap((bucket, i) => {
      const range = overlap(bucket, owned);
      return range ? [{ tag: tag + 1 + i, range }] : [];
    });
  }

  private newBuffer(): Float32Array {
    const { backend, gradients } = this.options;
    return new Float32Array(backend.allocate(4 * gradients.length), 0, gradients.length);
  }
}

/** Sends the own range of `values` to every rank and receives theirs: afterwards all hold the same numbers. */
export function gatherOwned(group: Group, values: Float32Array): void {
  const { rank, world } = group;
  if (world === 1) return;
  const tag = firstTag - 1;
  const transfers: Transfer[] = [];
  for (let other = 0; other < world; other++) {
    const { from, to } = ownedRange(values.length, other, world);
    if (other !== rank && from < to) transfers.push(group.receive(other, tag, values.subarray(from, to)));
  }
  const { from, to } = ownedRange(values.length, rank, world);
  for (let other = 0; other < world && from < to; other++) {
    if (other !== rank) transfers.push(group.send(other, tag, values.subarray(from, to)));
  }
  group.wait(transfers);
}
