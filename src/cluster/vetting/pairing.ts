// Who exchanges with whom: rounds of disjoint pairs, each round with other partners.
//
// A slow exchange says that one of two nodes is slow, not which. After a second round the slow node has been slow with
// two partners, and each of these has been quick with somebody else; so rounds are never fewer than two where there
// are enough nodes. Within a round all pairs run at once: the whole takes as long for ten thousand nodes as for four.
//
// Does not: measure, or judge.

/** Two numbers of nodes, the smaller first. */
export type Pair = readonly [number, number];

/**
 * Rounds of disjoint pairs of `count` nodes; no pair comes twice. Three rounds: two sick nodes that meet each other in one
 * of them still have two healthy partners. With an odd count one node sits out in each round, another one each time.
 */
export function pairingRounds(count: number, rounds = 3): Pair[][] {
  if (count < 2) return [];
  // The circle method: the last one stands still, the others walk around it; with an odd count it is nobody.
  const even = count + (count % 2);
  return Array.from({ length: Math.min(rounds, even - 1) }, (_, round) => {
    const at = (place: number): number => (place === even - 1 ? place : (place + round) % (even - 1));
    return Array.from({ length: even / 2 }, (_, i): Pair => {
      const [a, b] = [at(i), at(even - 1 - i)];
      return a < b ? [a, b] : [b, a];
    }).filter(([, later]) => later < count);
  });
}
