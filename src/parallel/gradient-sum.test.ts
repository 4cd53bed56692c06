import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Random } from '../base/rng.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { GradientSum, gatherOwned } from './gradient-sum.ts';
import type { Group, Transfer } from './group.ts';
import { ownedRange, type Range, share, unitElements } from './layout.ts';
import { mostWaiting, nodesOf, splitOf } from './tree.ts';

/** Ranks in one thread: a send is delivered when the receiver waits, which must come after it. */
class Mailboxes {
  private readonly sent = new Map<string, Float32Array[]>();
  bytes = 0;

  group(rank: number, world: number): Group {
    const due: (() => void)[] = [];
    const key = (from: number, to: number, tag: number): string => `${from}>${to}#${tag}`;
    return {
      rank,
      world,
      hosts: Array.from({ length: world }, () => 'here'),
      send: (to, tag, data) => {
        const box = key(rank, to, tag);
        // By reference: what is sent must not change before it is received.
        this.sent.set(box, [...(this.sent.get(box) ?? []), data as Float32Array]);
        this.bytes += data.byteLength;
        return { id: 0 };
      },
      receive: (from, tag, into) => {
        due.push(() => {
          const data = this.sent.get(key(from, rank, tag))?.shift();
          assert.ok(data, `rank ${rank} waits for a message of ${from} that was not sent`);
          assert.equal(data.length, into.length);
          into.set(data);
        });
        return { id: 0 };
      },
      wait: (_transfers: readonly Transfer[]) => {
        for (const take of due.splice(0)) take();
      },
      allGather: () => [],
      barrier: () => undefined,
      close: () => undefined,
    };
  }

  get left(): number {
    return [...this.sent.values()].reduce((sum, box) => sum + box.length, 0);
  }
}

/** The gradient of a shard: any numbers, the same whoever computes it. */
function shardGradient(size: number, step: number, shard: number): Float32Array {
  const random = new Random(7, 'gradient', step, shard);
  return Float32Array.from({ length: size }, () => random.normal() * 10 ** random.integer(4));
}

/** The sum in the fixed tree, plainly. */
function treeSum(size: number, step: number, node: Range): Float32Array {
  if (node.to - node.from === 1) return shardGradient(size, step, node.from);
  const middle = splitOf(node);
  const left = treeSum(size, step, { from: node.from, to: middle });
  const right = treeSum(size, step, { from: middle, to: node.to });
  return left.map((value, i) => value + (right[i] as number));
}

/** Two steps over all ranks; the gathered sums of each step. */
function sumOver(size: number, shards: number, world: number, buckets: readonly Range[]): Float32Array[] {
  const backend = jsBackend();
  const mail = new Mailboxes();
  const ranks = Array.from({ length: world }, (_, rank) => {
    const group = mail.group(rank, world);
    const gradients = new Float32Array(size);
    return { group, gradients, sum: new GradientSum({ group, backend, gradients, shards, buckets }) };
  });
  return [0, 1].map((step) => {
    for (const { sum } of ranks) sum.begin(true);
    for (const { sum, gradients } of ranks) {
      for (let shard = sum.mine.from; shard < sum.mine.to; shard++) {
        sum.startShard();
        assert.ok(gradients.every((value) => value === 0));
        const values = shardGradient(size, step, shard);
        for (const bucket of buckets) {
          for (let i = bucket.from; i < bucket.to; i++) gradients[i] = values[i] as number;
          sum.bucketDone(bucket);
        }
        sum.endShard();
      }
    }
    for (const { sum } of ranks) sum.finish();
    const out = new Float32Array(size);
    for (const { sum, gradients } of ranks) {
      out.set(gradients.subarray(sum.owned.from, sum.owned.to), sum.owned.from);
      sum.shardSquares.forEach((squares, i) => {
        const exact = shardGradient(size, step, sum.mine.from + i).reduce((total, g) => total + g * g, 0);
        assert.ok(Math.abs(squares - exact) <= 1e-9 * exact);
      });
    }
    assert.equal(mail.left, 0, 'every message was received');
    return out;
  });
}

test('the nodes of any part are whole, disjoint, in order and as few as the tree allows', () => {
  assert.deepEqual(nodesOf(12, { from: 3, to: 12 }), [
    { from: 3, to: 4 },
    { from: 4, to: 8 },
    { from: 8, to: 12 },
  ]);
  assert.deepEqual(nodesOf(6, { from: 0, to: 6 }), [{ from: 0, to: 6 }]);
  assert.deepEqual(nodesOf(4, { from: 2, to: 2 }), []);
  assert.deepEqual([1, 2, 3, 4, 8, 12].map(mostWaiting), [0, 1, 1, 2, 3, 3]);
});

test('sums are those of the fixed tree, bit for bit, for any number of ranks, shards and buckets', () => {
  const sizes = [1, 100, unitElements, 3 * unitElements + 17];
  fc.assert(
    fc.property(
      fc.constantFrom(...sizes),
      fc.integer({ min: 1, max: 13 }),
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 1, max: 5 }),
      (size, shards, world, parts) => {
        const buckets = Array.from({ length: parts }, (_, i) => share(size, parts - 1 - i, parts)).filter(
          ({ from, to }) => from < to,
        );
        sumOver(size, shards, world, buckets).forEach((sum, step) => {
          assert.deepEqual(sum, treeSum(size, step, { from: 0, to: shards }));
        });
      },
    ),
    { numRuns: 60 },
  );
});

test('what a bucket of the last shard completes is under way before the next one is computed', () => {
  const size = 4 * unitElements;
  const mail = new Mailboxes();
  const gradients = new Float32Array(size);
  const buckets = [share(size, 1, 2), share(size, 0, 2)] as const;
  const sum = new GradientSum({ group: mail.group(1, 2), backend: jsBackend(), gradients, shards: 4, buckets });
  sum.begin();
  const sent: number[] = [];
  for (let shard = 2; shard < 4; shard++) {
    sum.startShard();
    for (const bucket of buckets) {
      sum.bucketDone(bucket);
      sent.push(mail.bytes);
    }
    sum.endShard();
  }
  // Rank 0 owns the first half, which the second bucket completes; nothing goes out before the sum of both shards is there.
  assert.deepEqual(sent, [0, 0, 0, 2 * size]);
  const first = new GradientSum({ group: mail.group(0, 2), backend: jsBackend(), gradients, shards: 2, buckets });
  const before = mail.bytes;
  first.begin();
  first.startShard();
  first.bucketDone(buckets[0]);
  assert.equal(mail.bytes - before, 2 * size, 'the second half went to its owner while the first is still to come');
});

test('owned ranges cover the buffer once', () => {
  for (const size of [1, 5 * unitElements, 5 * unitElements + 1]) {
    for (let world = 1; world <= 7; world++) {
      let at = 0;
      for (let rank = 0; rank < world; rank++) {
        const { from, to } = ownedRange(size, rank, world);
        assert.equal(from, at);
        at = to;
      }
      assert.equal(at, size);
    }
  }
});

test('gathering brings every owned range to every rank', () => {
  const world = 3;
  const size = 4 * unitElements + 5;
  const mail = new Mailboxes();
  const values = Array.from({ length: world }, (_, rank) => new Float32Array(size).fill(-1 - rank));
  values.forEach((own, rank) => {
    const { from, to } = ownedRange(size, rank, world);
    own.fill(rank, from, to);
  });
  // The first two see nothing yet; a second round delivers (mailboxes do not block).
  const waits: (() => void)[] = [];
  values.forEach((own, rank) => {
    const group = mail.group(rank, world);
    gatherOwned({ ...group, wait: (transfers) => void waits.push(() => group.wait(transfers)) }, own);
  });
  for (const wait of waits) wait();
  for (const own of values) {
    for (let rank = 0; rank < world; rank++) {
      const { from, to } = ownedRange(size, rank, world);
      assert.ok(own.subarray(from, to).every((value) => value === rank));
    }
  }
});
