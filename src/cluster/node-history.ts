// What each node did in a campaign: how long it was allocated, when it was slow, what it failed at, how vetting found it.
//
// Does not: decide about nodes; vetting/ does.
import { join } from 'node:path';
import type { History } from './history.ts';
import type { CampaignFiles } from './history-files.ts';
import { readHistory } from './vetting/history.ts';

/** A time in which a rank on the node was a straggler. */
export interface SlowTime {
  readonly link: string;
  readonly rank: number;
  readonly fromStep: number;
  /** Undefined where nothing says that it ended. */
  readonly toStep: number | undefined;
  /** Its speed by that of its peers when it was noticed. */
  readonly score: number;
}

export interface NodeHistory {
  readonly node: string;
  readonly links: readonly string[];
  readonly allocatedSeconds: number;
  readonly slow: readonly SlowTime[];
  /** In hangs, ranks on it that others waited for. */
  readonly hangs: number;
  /** Ends that were blamed on it. */
  readonly failures: number;
  /** The last verdict of vetting, if it was vetted. */
  readonly vetting: string | undefined;
  /** Whether anything is wrong with it. */
  readonly isMarked: boolean;
}

/** All nodes that were allocated or complained of; those that are marked come first. */
export function nodeHistories(files: CampaignFiles, { links }: History): NodeHistory[] {
  const { entries } = readHistory(join(files.dir, 'campaign', 'nodes.jsonl'));
  const vetted = new Map(entries.map(({ node, verdict }) => [node, verdict]));
  const slow = slowTimes(files);
  const hangs = new Map<string, number>();
  for (const { event, state, node } of files.alerts) {
    if (event === 'hang' && state === 'firing' && typeof node === 'string') hangs.set(node, (hangs.get(node) ?? 0) + 1);
  }
  const failures = new Map<string, number>();
  const blame = (node: string | undefined): void => {
    if (node !== undefined) failures.set(node, (failures.get(node) ?? 0) + 1);
  };
  for (const { end, launches } of files.links) {
    for (const { verdict } of launches) if (verdict?.domain === 'infrastructure') blame(verdict.node);
    // What the link says of its last launch is no second failure.
    const last = launches.at(-1)?.verdict;
    if (end?.verdict?.domain === 'infrastructure' && last?.node !== end.verdict.node) blame(end.verdict.node);
  }
  const names = new Set([...links.flatMap(({ nodes }) => nodes), ...slow.keys(), ...hangs.keys(), ...failures.keys()]);
  const all = [...names].map((node): NodeHistory => {
    const own = links.filter(({ nodes }) => nodes.includes(node));
    const facts = {
      slow: slow.get(node) ?? [],
      hangs: hangs.get(node) ?? 0,
      failures: failures.get(node) ?? 0,
      vetting: vetted.get(node),
    };
    return {
      node,
      links: own.map(({ name }) => name),
      allocatedSeconds: own.reduce((sum, { seconds }) => sum + seconds.allocated, 0),
      ...facts,
      isMarked: facts.slow.length + facts.hangs + facts.failures > 0 || facts.vetting === 'sick',
    };
  });
  return all.sort(
    (a, b) => Number(b.isMarked) - Number(a.isMarked) || a.node.localeCompare(b.node, 'en', { numeric: true }),
  );
}

function slowTimes({ alerts }: CampaignFiles): Map<string, SlowTime[]> {
  const byNode = new Map<string, SlowTime[]>();
  for (const { event, state, node, rank, link, step, score } of alerts) {
    if (event !== 'straggler' || typeof node !== 'string' || typeof rank !== 'number' || typeof step !== 'number')
      continue;
    const times = byNode.get(node) ?? [];
    byNode.set(node, times);
    if (state === 'firing') {
      const known = typeof score === 'number' ? score : Number.NaN;
      times.push({ link: String(link), rank, fromStep: step, toStep: undefined, score: known });
      continue;
    }
    const open = times.findLastIndex((time) => time.rank === rank && time.toStep === undefined);
    const time = times[open];
    if (time) times[open] = { ...time, toStep: step };
  }
  return byNode;
}
