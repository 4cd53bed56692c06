// The looks of a link for more nodes than it has: at its beginning, and while it trains.
//
// Does not: decide what is worth it (growth.ts), or stop the training (link.ts).
import { setTimeout as wait } from 'node:timers/promises';
import { errorText } from '../base/json.ts';
import type { Growth, LinkBeginFile, LinkEndFile } from './campaign-folder.ts';
import { linkRequest } from './campaign-script.ts';
import { idleFor, isWorthGrowing, mayGiveWayAtBeginning } from './growth.ts';
import { type LinkContext, now } from './link-context.ts';

/** How long nodes of a job that ended may take to become free, before its successor begins, or trains without them. */
export const freeingSeconds = 4;
/** Between two looks whether nodes are free by now. */
const freeingLookMs = 500;
/** Between two questions whether there are idle nodes for a link that has too few. */
const growthLookSeconds = 5;
/** Why a node was left that may be well once it answers again. */
export const silentWhy = 'does not answer';
const backCauses: ReadonlySet<string> = new Set([silentWhy, 'node-failure', 'lost-peer']);

/** More nodes for this campaign. */
export interface Found extends Growth {
  /** Nodes of this job that are back; absent where a successor is to have others. */
  readonly back: readonly string[] | undefined;
}

/** A start of the training, for the question whether more nodes are worth another one. */
export interface Training {
  readonly nodes: number;
  /** Nodes that it could have been started on. */
  readonly usable: number;
  /** Unix seconds. */
  readonly began: number;
  /** Steps in the newest checkpoint before it. */
  readonly before: number;
  /** Until its first step was seen. */
  startSeconds?: number | undefined;
  /** When idle nodes were asked for last. */
  looked: number;
}

export class LinkGrowth {
  /** Starts of this link on nodes that were back. */
  regrown = 0;
  private readonly link: LinkContext;
  /** Nodes that are no longer used in this link, and why. */
  private readonly lost: ReadonlyMap<string, string>;

  constructor(link: LinkContext, lost: ReadonlyMap<string, string>) {
    this.link = link;
    this.lost = lost;
  }

  /** Nodes that are idle for this campaign; none where the scheduler cannot be asked. */
  private async idleNodes(own: readonly string[]): Promise<string[]> {
    const { campaign, site, scheduler } = this.link.options;
    try {
      const request = linkRequest(campaign, site, this.link.folder);
      return idleFor(request, await scheduler.nodes()).filter((node) => !own.includes(node));
    } catch (error) {
      this.link.event('scheduler-away', { why: errorText(error) });
      return [];
    }
  }

  /** Nodes that so many nodes let it train on. */
  private trainable(count: number): number {
    const { min, max } = this.link.options.campaign.spec.nodes;
    return this.link.options.engine.nodeCounts(Math.min(count, max)).find((each) => each >= min) ?? 0;
  }

  /** Nodes of this job that did not answer for a while, and do now: a cable mended, or a boot quicker than Slurm's patience. */
  private async nodesBack(): Promise<string[]> {
    const silent = [...this.lost].filter(([, why]) => backCauses.has(why)).map(([node]) => node);
    if (silent.length === 0) return [];
    const own = (await this.link.tellJob())?.nodes ?? [];
    const asked = silent
      .filter((node) => own.includes(node))
      .map(async (node) => ((await this.link.options.steps.answers(node)) ? [node] : []));
    return (await Promise.all(asked)).flat();
  }

  /** Links in a row before this one that left for more nodes, and did not get them. */
  private givenWayInVain(): number {
    const { folder } = this.link;
    const links = folder.links();
    let count = 0;
    for (let i = links.indexOf(this.link.name) - 1; i >= 0; i--) {
      const growth = folder.record<LinkEndFile>(links[i] as string, 'end.json')?.growth;
      const next = folder.record<LinkBeginFile>(links[i + 1] as string, 'begin.json');
      if (!growth || (next && this.trainable(next.nodes.length) >= growth.to)) break;
      count++;
    }
    return count;
  }

  /** Whether a successor would have more nodes than this link, which has not started anything yet. */
  async atBeginning(nodes: readonly string[]): Promise<Growth | undefined> {
    const has = this.trainable(nodes.length);
    const { folder } = this.link;
    if (has >= this.link.options.campaign.spec.nodes.max) return undefined;
    if (!mayGiveWayAtBeginning(this.givenWayInVain())) return undefined;
    // Slurm may have started this job while nodes of the one before were still being tidied up.
    const previous = folder.links()[folder.links().indexOf(this.link.name) - 1] ?? '';
    const before = folder.record<LinkBeginFile>(previous, 'begin.json')?.nodes ?? [];
    const deadline = Date.now() + 1000 * freeingSeconds;
    for (;;) {
      const to = this.trainable(nodes.length + (await this.idleNodes(nodes)).length);
      if (
        to >= this.link.options.campaign.spec.nodes.max ||
        Date.now() >= deadline ||
        !(await this.areFreed(before, nodes))
      )
        return to > has ? { from: has, to } : undefined;
      await wait(freeingLookMs);
    }
  }

  /** Whether nodes of the link before, that this one has not, are being tidied up. */
  private async areFreed(before: readonly string[], own: readonly string[]): Promise<boolean> {
    try {
      const known = await this.link.options.scheduler.nodes();
      return known.some(({ name, raw }) => before.includes(name) && !own.includes(name) && /COMP/i.test(raw));
    } catch {
      return false;
    }
  }

  /** Whether the training should leave now for a successor with more nodes. */
  async whileTraining(training: Training, taken: number, ends: number | undefined): Promise<Found | undefined> {
    const { campaign, engine } = this.link.options;
    const { nodes, usable, began, before } = training;
    const time = now();
    training.startSeconds ??= taken > 0 ? time - began : undefined;
    if (training.startSeconds === undefined) return undefined;
    if (nodes >= campaign.spec.nodes.max || time - training.looked < growthLookSeconds) return undefined;
    training.looked = time;
    const { total } = engine.progress();
    const trainedSeconds = time - began;
    const untilDone =
      total === null
        ? Number.POSITIVE_INFINITY
        : ((total - before - taken) / taken) * (trainedSeconds - training.startSeconds);
    const facts = {
      ...{ nodes, startSeconds: training.startSeconds, trainedSeconds, before: this.givenWayInVain() + this.regrown },
      leftSeconds: Math.min(untilDone, (ends ?? Number.POSITIVE_INFINITY) - time),
    };
    // Asked only where all nodes would be worth it.
    if (!isWorthGrowing({ ...facts, possible: this.trainable(campaign.spec.nodes.max) })) return undefined;
    const back = await this.nodesBack();
    const here = this.trainable(usable + back.length);
    const to = this.trainable(usable + back.length + (await this.idleNodes(back)).length);
    if (!isWorthGrowing({ ...facts, possible: to })) return undefined;
    return { from: nodes, to, back: to > here ? undefined : back };
  }
}
