// The fixed binary tree in which the gradients of logical shards are added.
//
// A node covers shards [lo, hi); one of n > 1 leaves splits after the largest power of two below n. Floating-point sums
// depend on the order of additions, so this order depends on the number of shards alone: whoever computes which part of
// it, the bits at the root are the same.
//
// Does not: add; gradient-sum.ts does.
import type { Range } from './layout.ts';

/** Where a node of at least two leaves splits. */
export function splitOf({ from, to }: Range): number {
  let half = 1;
  while (half * 2 < to - from) half *= 2;
  return from + half;
}

/** The largest nodes of the tree over `leaves` that together are exactly [part.from, part.to), in order. */
export function nodesOf(leaves: number, part: Range): Range[] {
  const nodes: Range[] = [];
  const walk = (node: Range): void => {
    if (node.to <= part.from || node.from >= part.to) return;
    if (node.from >= part.from && node.to <= part.to) {
      nodes.push(node);
      return;
    }
    const middle = splitOf(node);
    walk({ from: node.from, to: middle });
    walk({ from: middle, to: node.to });
  };
  if (leaves > 0 && part.from < part.to) walk({ from: 0, to: leaves });
  return nodes;
}

/** Nodes below `top` whose right half ends with leaf `leaf`: they can be added once it is there, innermost first. */
export function completedBy(leaf: number, top: Range): Range[] {
  const nodes: Range[] = [];
  const walk = (node: Range): void => {
    if (node.to - node.from < 2) return;
    const middle = splitOf(node);
    if (leaf < middle) walk({ from: node.from, to: middle });
    else walk({ from: middle, to: node.to });
    if (node.to === leaf + 1) nodes.push(node);
  };
  walk(top);
  return nodes;
}

/** Most sums that wait at once for their right neighbours, where one process goes through all leaves in order. */
export function mostWaiting(leaves: number): number {
  let most = 0;
  let waiting = 0;
  for (let leaf = 0; leaf < leaves - 1; leaf++) {
    waiting += 1 - completedBy(leaf, { from: 0, to: leaves }).length;
    most = Math.max(most, waiting);
  }
  return most;
}
