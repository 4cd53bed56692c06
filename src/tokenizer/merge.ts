// Byte-pair merging of one piece: repeatedly join the adjacent pair with the lowest rank, leftmost first.
//
// Short pieces are scanned again after each merge (quadratic, but with the smallest constant); long ones use a heap
// over a linked list, O(n log n), so that a megabyte of one letter takes a second and not a day. Both give the same
// ids.
//
// Does not: cache; bpe.ts does.
import type { PairTable } from './pair-table.ts';

/** Merges of a vocabulary: pair -> rank, and rank -> the id it makes. */
export interface MergeRules {
  readonly ranks: PairTable;
  /** [merges] */
  readonly made: Int32Array;
}

/** Pieces up to this many bytes are merged by scanning; measured, the curves cross between 48 and 128. */
const shortLength = 64;

const scratchIds = new Int32Array(shortLength);
const scratchRanks = new Int32Array(shortLength);

/** The ids of a piece given as the ids of its bytes [n]. */
export function mergePiece(ids: Int32Array, rules: MergeRules): Int32Array {
  return ids.length <= shortLength ? mergeShort(ids, rules) : mergeLong(ids, rules);
}

const none = 0x7fffffff;

function mergeShort(input: Int32Array, { ranks, made }: MergeRules): Int32Array {
  const ids = scratchIds;
  const pairRanks = scratchRanks;
  let length = input.length;
  ids.set(input);
  for (let i = 0; i + 1 < length; i++) pairRanks[i] = rankOf(ranks, ids[i] as number, ids[i + 1] as number);
  for (;;) {
    let best = none;
    let at = -1;
    for (let i = 0; i + 1 < length; i++) {
      if ((pairRanks[i] as number) < best) {
        best = pairRanks[i] as number;
        at = i;
      }
    }
    if (at < 0) return ids.slice(0, length);
    ids[at] = made[best] as number;
    ids.copyWithin(at + 1, at + 2, length);
    pairRanks.copyWithin(at + 1, at + 2, length - 1);
    length--;
    if (at > 0) pairRanks[at - 1] = rankOf(ranks, ids[at - 1] as number, ids[at] as number);
    if (at + 1 < length) pairRanks[at] = rankOf(ranks, ids[at] as number, ids[at + 1] as number);
  }
}

function rankOf(ranks: PairTable, left: number, right: number): number {
  const rank = ranks.get(left, right);
  return rank < 0 ? none : rank;
}

/** Heap keys are rank * 2^32 + position: lowest rank first, then leftmost. */
const positions = 4294967296;

/** Exported for the test that compares the two ways. */
export function mergeLong(input: Int32Array, { ranks, made }: MergeRules): Int32Array {
  const n = input.length;
  const ids = input.slice();
  const next = new Int32Array(n);
  const previous = new Int32Array(n);
  // One entry per pair at the start and at most two per merge.
  const heap = new Float64Array(3 * n);
  let size = 0;

  const push = (at: number): void => {
    const right = next[at] as number;
    if (right >= n) return;
    const rank = ranks.get(ids[at] as number, ids[right] as number);
    if (rank < 0) return;
    const key = rank * positions + at;
    let hole = size++;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if ((heap[parent] as number) <= key) break;
      heap[hole] = heap[parent] as number;
      hole = parent;
    }
    heap[hole] = key;
  };
  const pop = (): number => {
    const top = heap[0] as number;
    const key = heap[--size] as number;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= size) break;
      if (child + 1 < size && (heap[child + 1] as number) < (heap[child] as number)) child++;
      if ((heap[child] as number) >= key) break;
      heap[hole] = heap[child] as number;
      hole = child;
    }
    heap[hole] = key;
    return top;
  };

  for (let i = 0; i < n; i++) {
    next[i] = i + 1;
    previous[i] = i - 1;
  }
  for (let i = 0; i + 1 < n; i++) push(i);
  while (size > 0) {
    const key = pop();
    const rank = Math.floor(key / positions);
    const at = key - rank * positions;
    // Stale when either side was merged meanwhile; -1 marks a place that was swallowed.
    const right = next[at] as number;
    if (ids[at] === -1 || right >= n || ranks.get(ids[at] as number, ids[right] as number) !== rank) continue;
    ids[at] = made[rank] as number;
    ids[right] = -1;
    const after = next[right] as number;
    next[at] = after;
    if (after < n) previous[after] = at;
    const before = previous[at] as number;
    if (before >= 0) push(before);
    push(at);
  }
  return ids.filter((id) => id !== -1);
}
