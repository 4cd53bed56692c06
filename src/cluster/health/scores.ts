// How fast each rank computes, as a number from 0 to 1: beside the others, and beside its own past.
//
// A step ends on all ranks together, so steps tell nothing apart. What does is the time in which a rank computed its own
// shards, by shard, since ranks may have one more or less. The two scores are those of NVIDIA's resiliency extension: the
// relative one says that a rank is slower than its peers (one sick node), the individual one that it is slower than it was
// (all of them, where the storage or the network is sick).
//
// Does not: raise alarms; watcher.ts does.
import type { Heartbeat } from './heartbeat.ts';

export interface RankScore {
  readonly rank: number;
  readonly host: string;
  /** Steps it is measured over. */
  readonly steps: number;
  readonly secondsPerShard: number;
  /** The median's seconds by its own, at most 1. */
  readonly relative: number;
  /** The same of the steps since the beat before the last: one hiccup stays in a window, but not in this. */
  readonly latest: number;
  /** Its own usual seconds by those of now, at most 1; 1 until it has a past. */
  readonly individual: number;
}

interface Sample {
  readonly steps: number;
  readonly busySeconds: number;
  readonly shards: number;
}

interface Rank {
  readonly host: string;
  samples: Sample[];
  /** Seconds per shard of windows that are over. */
  past: number[];
}

/** Past windows that are remembered, and how many make a past. */
const remembered = 100;
const enough = 4;

export class Scores {
  private readonly window: number;
  private readonly ranks = new Map<number, Rank>();

  /** Scores are of the last `window` steps or a little more. */
  constructor(window: number) {
    this.window = window;
  }

  /** A beat of the attempt that is watched. */
  add({ rank, host, steps, busySeconds, shards }: Heartbeat): void {
    let known = this.ranks.get(rank);
    const last = known?.samples.at(-1);
    if (!known || (last && last.steps > steps)) {
      known = { host, samples: [], past: [] };
      this.ranks.set(rank, known);
    }
    if (last && last.steps === steps) return;
    known.samples.push({ steps, busySeconds, shards });
    // The oldest that is kept is the youngest that is a window away.
    while (known.samples.length > 2 && steps - (known.samples[1] as Sample).steps >= this.window) known.samples.shift();
  }

  /** Of all ranks that took half a window of steps and compute anything. */
  get(): RankScore[] {
    const now = [...this.ranks].flatMap(([rank, { host, samples, past }]) => {
      const [first, last] = [samples[0], samples.at(-1)];
      if (!first || !last) return [];
      const steps = last.steps - first.steps;
      const shards = last.shards - first.shards;
      if (steps < this.window / 2 || shards === 0) return [];
      const before = samples.at(-2) as Sample;
      const latest = (last.busySeconds - before.busySeconds) / Math.max(1, last.shards - before.shards);
      return [{ rank, host, steps, past, latest, secondsPerShard: (last.busySeconds - first.busySeconds) / shards }];
    });
    // Of two the faster one, or half of a pair could never be told from the other.
    const median = lowerMedian(now.map(({ secondsPerShard }) => secondsPerShard));
    return now
      .sort((a, b) => a.rank - b.rank)
      .map(({ rank, host, steps, past, latest, secondsPerShard }) => ({
        rank,
        host,
        steps,
        secondsPerShard,
        relative: score(median, secondsPerShard),
        latest: score(median, latest),
        individual: past.length < enough ? 1 : score(lowerMedian(past), secondsPerShard),
      }));
  }

  /** What was measured now becomes the past; called once a window. */
  remember(): void {
    for (const { rank, secondsPerShard } of this.get()) {
      const { past } = this.ranks.get(rank) as Rank;
      past.push(secondsPerShard);
      if (past.length > remembered) past.shift();
    }
  }
}

function score(usual: number, now: number): number {
  return now > 0 ? Math.min(1, usual / now) : 1;
}

/** The middle value, of an even number the lower of the two; 0 of none. */
export function lowerMedian(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[(values.length - 1) >> 1] ?? 0;
}
