// Watches the controller of a link from another node of its job, and goes on for it where it falls silent.
//
// A job that outlives its nodes outlives the one its script runs on, too, and then nobody decides any more. So one or two
// other nodes look whether the controller gives a sign of life. Where it is silent, or the scheduler calls its node down, one of
// them takes over: the nodes that are left train again at once, without another wait in the queue. Who may is settled by a file that
// only one can make.
//
// Does not: anything else; link.ts decides what becomes of the training.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import type { CampaignFolder, LinkBeginFile, TakeoverFile } from './campaign-folder.ts';
import type { Scheduler } from './scheduler.ts';

export const aliveName = 'alive';

/** The controller's sign of life: a word that changes. */
export function signOfLife(folder: CampaignFolder, link: string, word: string): void {
  writeFileSync(folder.link(link, aliveName), word);
}

export interface SentinelOptions {
  readonly folder: CampaignFolder;
  readonly link: string;
  readonly scheduler: Pick<Scheduler, 'nodes'>;
  /** This node. */
  readonly host: string;
  /** Silence after which the controller is taken for dead. */
  readonly silenceSeconds: number;
  /** 0 for the sentinel that is first to take over; the next one waits longer. */
  readonly place: number;
  readonly signal?: AbortSignal;
}

/** Between two looks, and between two questions to the scheduler. */
const lookMs = 500;
const askMs = 4000;
/** A look takes this long only where something stood still. */
const stalledMs = 2500;
/** How much longer the second sentinel waits. */
const placeSeconds = 3;

/** Returns the takeover that is this process's to carry out, or undefined when the link is over. */
export async function keepWatch(options: SentinelOptions): Promise<TakeoverFile | undefined> {
  const { folder, link, scheduler, silenceSeconds, place, signal } = options;
  const begin = folder.record<LinkBeginFile>(link, 'begin.json');
  const controller = (): string => folder.takeovers(link).at(-1)?.host ?? begin?.nodes[0] ?? '';
  let last = '';
  let changed = performance.now();
  let asked = performance.now();
  let asking: Promise<unknown> | undefined;
  let down: string | undefined;
  // A later link is at work: this job is over, and its controller was right to leave.
  let isOver = false;
  const takeOver = (why: string): TakeoverFile | undefined => {
    const file: TakeoverFile = { time: Date.now() / 1000, host: options.host, from: controller(), why };
    // Whoever was quicker, or a file system that is away, gets another while.
    changed = performance.now();
    try {
      isOver = folder.links().some((name) => Number(name) > Number(link) && folder.record(name, 'begin.json'));
      return !isOver && folder.takeOver(link, file) ? file : undefined;
    } catch {
      return undefined;
    }
  };
  let looked = performance.now();
  while (!signal?.aborted && !isOver && !existsSync(folder.link(link, 'end.json'))) {
    await wait(lookMs);
    // A file system that was away for both, or this process was: the controller gets its time from here on.
    if (performance.now() - looked > stalledMs) changed = performance.now();
    looked = performance.now();
    const found = read(folder.link(link, aliveName));
    if (found !== undefined && found !== last) {
      last = found;
      changed = performance.now();
    }
    const silent = (performance.now() - changed) / 1000;
    if (silent > silenceSeconds + place * placeSeconds) {
      const taken = takeOver(`the controller on ${controller()} was silent for ${silent.toFixed(0)} s`);
      if (taken) return taken;
    }
    if (down !== undefined && down === controller()) {
      const taken = takeOver(`the scheduler calls ${down} down, where the controller runs`);
      if (taken) return taken;
    }
    down = undefined;
    if (asking || performance.now() - asked < askMs + 1000 * place * placeSeconds) continue;
    const host = controller();
    // Beside the looks: a scheduler that takes its time must not pass for a file system that stood still.
    asking = scheduler.nodes().then(
      (nodes) => {
        if (nodes.find(({ name }) => name === host)?.state === 'down') down = host;
        [asked, asking] = [performance.now(), undefined];
      },
      () => {
        [asked, asking] = [performance.now(), undefined];
      },
    );
  }
  return undefined;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
