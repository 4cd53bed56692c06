// Which of two nodes a slow exchange speaks against.
//
// A pair that is quick speaks for both its nodes. A node is guilty where it was slow with two partners, each of whom was
// quick with somebody and slow less often than this one; so its partners are not blamed for it, and two sick nodes that
// met are both found as long as each had healthy partners too. What no such node explains remains: one of the two, nobody knows which.
//
// Does not: say what slow is.

export interface JudgedPair {
  readonly nodes: readonly [string, string];
  readonly slow: boolean;
}

export interface Guilt {
  readonly guilty: ReadonlySet<string>;
  /** Slow pairs of two nodes that are not guilty. */
  readonly unexplained: readonly (readonly [string, string])[];
}

export function whoIsSlow(pairs: readonly JudgedPair[]): Guilt {
  const slowPartners = new Map<string, Set<string>>();
  const quick = new Set<string>();
  for (const { nodes, slow } of pairs) {
    for (const [node, partner] of [nodes, [nodes[1], nodes[0]]] as const) {
      if (!slowPartners.has(node)) slowPartners.set(node, new Set());
      if (slow) slowPartners.get(node)?.add(partner);
      else quick.add(node);
    }
  }
  const timesSlow = (node: string): number => slowPartners.get(node)?.size ?? 0;
  const guilty = new Set(
    [...slowPartners].flatMap(([node, partners]) => {
      const witnesses = [...partners].filter((partner) => quick.has(partner) && timesSlow(partner) < timesSlow(node));
      return witnesses.length >= 2 ? [node] : [];
    }),
  );
  const unexplained = pairs.filter(({ nodes, slow }) => slow && !nodes.some((node) => guilty.has(node)));
  return { guilty, unexplained: unexplained.map(({ nodes }) => nodes) };
}
