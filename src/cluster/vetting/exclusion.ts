// Who is left out: the nodes that stand convicted, unless they are too many to be believed.
//
// A broken environment fails every node alike; excluding what fails would walk through the whole machine. So there is a
// cap, and beyond it nobody is excluded: a person has to look.
//
// Does not: talk to a scheduler.

export interface Exclusion {
  readonly excluded: readonly string[];
  /** Why nobody is excluded although nodes stand convicted; absent where all is well. */
  readonly refused?: string;
}

/** `convicted`: node -> why. `cap`: share of `nodes` that may be excluded; one may be in any case. */
export function exclude(nodes: readonly string[], convicted: ReadonlyMap<string, string>, cap: number): Exclusion {
  const most = Math.max(1, Math.floor(cap * nodes.length));
  const excluded = nodes.filter((node) => convicted.has(node));
  if (excluded.length <= most) return { excluded };
  const [first = ''] = excluded;
  return {
    excluded: [],
    refused:
      `${excluded.length} of ${nodes.length} nodes stand convicted and no more than ${most} may be excluded, ` +
      `so the probe or the environment may be at fault (${first}: ${convicted.get(first)})`,
  };
}
