// The sum over all ranks of an array that every rank has: each rank sums one range, then all get all ranges.
//
// Sums are taken in a fixed binary tree over the ranks (a node of n leaves splits after the largest power of two below
// n), so the bits do not depend on who was first. Work goes in pieces that fit a processor's cache: while one is summed,
// the next ones arrive.
//
// Does not: sum itself; the caller passes `add`. The gradients of training have a tree of their own, over logical shards.
import { firstOwnTag, type Group, type Transfer } from './messages.ts';

/** The two highest tags that callers may use; messages of a sum in progress must not be mixed with others. */
const tags = { parts: firstOwnTag - 2, sums: firstOwnTag - 1 } as const;

/** Elements of a piece: 512 KiB, half of what a core's second cache holds today. */
const pieceLength = 1 << 17;
/** Pieces under way per peer. */
const depth = 4;

/**
 * data[i] = sum over ranks of data[i], in place; blocks. All ranks call it with the same length.
 * `add(into, from)`: into[i] += from[i], rounded as usual, so that a + b has the bits of b + a.
 */
export function allReduce(
  group: Group,
  data: Float32Array,
  add: (into: Float32Array, from: Float32Array) => void,
): void {
  const { rank, world } = group;
  if (world === 1 || data.length === 0) return;
  const others = Array.from({ length: world }, (_, peer) => peer).filter((peer) => peer !== rank);
  const piecesOf = (owner: number): Float32Array[] => pieces(data, owner, world);

  const own = piecesOf(rank);
  const length = own[0]?.length ?? 0;
  const scratch = scratchOf(group, Math.min(depth, own.length) * others.length * length);
  const slotOf = (index: number, part: number): Float32Array => {
    const at = ((index % depth) * others.length + part) * length;
    return scratch.subarray(at, at + (own[index]?.length as number));
  };
  const receiveParts = (index: number): Transfer[] =>
    others.map((peer, part) => group.receive(peer, tags.parts, slotOf(index, part)));

  const arriving = Array.from({ length: Math.min(depth, own.length) }, (_, index) => receiveParts(index));
  const started: Transfer[] = [];
  // Round by round, not peer by peer, so that nobody's first piece waits for another's last.
  const theirs = others.map((peer) => ({ peer, list: piecesOf(peer) }));
  for (let index = 0; theirs.some(({ list }) => index < list.length); index++) {
    for (const { peer, list } of theirs) {
      const piece = list[index];
      if (!piece) continue;
      started.push(group.send(peer, tags.parts, piece));
      // Written only after `peer` summed this piece, that is, after it has our part of it.
      started.push(group.receive(peer, tags.sums, piece));
    }
  }
  own.forEach((mine, index) => {
    group.wait(arriving[index] as Transfer[]);
    const parts = Array.from({ length: world }, () => mine);
    for (const [part, peer] of others.entries()) parts[peer] = slotOf(index, part);
    sumOf(parts, mine, add);
    for (const peer of others) started.push(group.send(peer, tags.sums, mine));
    if (index + depth < own.length) arriving.push(receiveParts(index + depth));
  });
  group.wait(started);
}

const scratches = new WeakMap<Group, Float32Array>();

/** Memory for arriving parts; kept with the group, because fresh pages cost more than the sum. */
function scratchOf(group: Group, length: number): Float32Array {
  let scratch = scratches.get(group);
  if (!scratch || scratch.length < length) {
    scratch = new Float32Array(length);
    scratches.set(group, scratch);
  }
  return scratch;
}

/** The pieces of what `owner` sums. */
function pieces(data: Float32Array, owner: number, world: number): Float32Array[] {
  const from = Math.floor((owner * data.length) / world);
  const to = Math.floor(((owner + 1) * data.length) / world);
  const count = Math.ceil((to - from) / pieceLength);
  return Array.from({ length: count }, (_, i) =>
    data.subarray(from + i * pieceLength, Math.min(from + (i + 1) * pieceLength, to)),
  );
}

/** Sums parts in the tree; the sum is in the array that is returned: `mine` where it is one of them. */
function sumOf(
  parts: readonly Float32Array[],
  mine: Float32Array,
  add: (into: Float32Array, from: Float32Array) => void,
): Float32Array {
  if (parts.length === 1) return parts[0] as Float32Array;
  let split = 1;
  while (split * 2 < parts.length) split *= 2;
  const left = sumOf(parts.slice(0, split), mine, add);
  const right = sumOf(parts.slice(split), mine, add);
  const into = right === mine ? right : left;
  add(into, into === left ? right : left);
  return into;
}
