// Growing back: whether a link that has fewer nodes than it may have should leave the rest to a successor with more.
//
// Slurm starts a job as soon as it can have the fewest nodes, and gives a running job none. So a campaign that lost a node
// would stay small until its time limit, long after the node is back; and a successor may begin moments before the last
// nodes of its predecessor are free. Two looks cure that: at its beginning, before anything was started, a link gives way
// as soon as idle nodes would let it train on more; while it trains it does so once that is worth a save and a start.
//
// Idle does not mean for us: a node may be kept for somebody else's job. So links that gave way in a row count, each one
// doubles the patience of the next, and at the beginning two are enough.
//
// Does not: ask the scheduler, or stop the training (link.ts).
import type { ClusterNode, JobRequest } from './scheduler.ts';
import { expandNodes } from './schedulers/slurm-parse.ts';

/** Links in a row that may give way before they have started anything. */
const mostAtBeginning = 2;
/** A link trains so many times as long as a start takes before it gives way. */
const startsOfPatience = 4;
/** What is gained must be so many times what a save and a start cost. */
const leastGain = 2;

/** Nodes that are idle and, as far as can be told, such as the request asks for. */
export function idleFor(request: JobRequest, nodes: readonly ClusterNode[]): string[] {
  const { partition, constraint, exclude = [], extra = [], gpusPerNode = 0 } = request;
  const excluded = new Set([...exclude, ...optionNodes(extra, '--exclude', '-x')]);
  const only = optionNodes(extra, '--nodelist', '-w');
  // Words with other signs between them are Slurm's to understand.
  const wanted = constraint !== undefined && /^[\w&,-]+$/.test(constraint) ? constraint.split(/[&,]/) : [];
  return nodes
    .filter(
      ({ name, state, partitions, features, gres }) =>
        state === 'idle' &&
        !excluded.has(name) &&
        (only.length === 0 || only.includes(name)) &&
        (partition === undefined || partitions.length === 0 || partitions.includes(partition)) &&
        wanted.every((feature) => features.includes(feature)) &&
        (gpusPerNode === 0 || gres.includes('gpu')),
    )
    .map(({ name }) => name);
}

/** Nodes that further options of sbatch name: `--exclude=n[1-3]`. */
function optionNodes(extra: readonly string[], ...names: readonly string[]): string[] {
  return extra.flatMap((option) => {
    const [, name = '', list = ''] = /^(-{1,2}[a-z]+)[= ]?(.*)$/s.exec(option) ?? [];
    if (!names.includes(name)) return [];
    try {
      return expandNodes(list);
    } catch {
      return [];
    }
  });
}

/** Whether a link may give way before it starts anything; `before` links in a row have done so already. */
export function mayGiveWayAtBeginning(before: number): boolean {
  return before < mostAtBeginning;
}

export interface GrowthFacts {
  /** Nodes it trains on, and those it could. */
  readonly nodes: number;
  readonly possible: number;
  /** What a start takes, up to its first step; undefined where that step has not come. */
  readonly startSeconds: number | undefined;
  /** Since this start. */
  readonly trainedSeconds: number;
  /** Until the link must end, or until the training would be over, where that can be told. */
  readonly leftSeconds: number;
  /** Links in a row before this one that gave way. */
  readonly before: number;
}

/** Seconds after a start from which on a link may give way. */
export function growthPatience(startSeconds: number, before: number): number {
  return startsOfPatience * startSeconds * 2 ** before;
}

/** Whether a successor on more nodes gets further in the time that is left, by enough to be worth it. */
export function isWorthGrowing(facts: GrowthFacts): boolean {
  const { nodes, possible, startSeconds, trainedSeconds, leftSeconds, before } = facts;
  if (startSeconds === undefined || possible <= nodes) return false;
  if (trainedSeconds < growthPatience(startSeconds, before)) return false;
  // The same work on more nodes takes nodes/possible of the time, at best.
  return leftSeconds * (1 - nodes / possible) > leastGain * startSeconds;
}
