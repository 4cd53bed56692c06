// What the parts of a link's controller share: its options, its folder, what it writes down, and what it asks the scheduler.
//
// Does not: decide anything (link.ts).
import { appendEvent } from '../base/events.ts';
import { errorText, type Json } from '../base/json.ts';
import type { Log } from '../base/progress.ts';
import type { CampaignFile, CampaignFolder, LinkJobFile, TakeoverFile } from './campaign-folder.ts';
import type { Engine } from './engine.ts';
import type { Steps } from './job-steps.ts';
import type { Job, Scheduler } from './scheduler.ts';
import type { Site } from './site.ts';
import type { VetResult } from './vetting/vet-nodes.ts';

/** What watches a training while it runs; ticked about once a second. */
export interface LinkWatcher {
  tick(): Promise<void>;
  /** A hang that it found, for the verdict. */
  readonly hang?: { readonly node?: string; readonly line: string } | undefined;
  /** Steps that this start of the training has computed, as far as it tells. */
  readonly stepsTaken: number;
  end(): Promise<void>;
}

/** Where one start of the training runs, for a watcher. */
export interface LaunchPlace {
  readonly link: string;
  readonly launch: string;
  readonly nodes: readonly string[];
  readonly world: number;
  readonly folder: string;
}

export interface LinkOptions {
  readonly folder: CampaignFolder;
  readonly campaign: CampaignFile;
  readonly site: Site;
  readonly engine: Engine;
  readonly scheduler: Scheduler;
  /** Starts things on nodes of this job. */
  readonly steps: Steps;
  /** Id of the job that this process runs in. */
  readonly job: string;
  /** The node that this process runs on, as the scheduler calls it. */
  readonly host?: string;
  /** Its nodes as its environment names them, for where the scheduler cannot be asked. */
  readonly allocated?: readonly string[];
  readonly log: Log;
  /** Where this process goes on for another that fell silent. */
  readonly takeover?: TakeoverFile;
  /** Measures nodes before the first start; absent: not. */
  readonly vet?: (nodes: readonly string[], link: string) => Promise<VetResult>;
  readonly watch?: (place: LaunchPlace) => LinkWatcher;
  /** Last step that the training computed, where its files say. */
  readonly lastStep?: () => number | undefined;
  /** Names of events that it wrote since a Unix second. */
  readonly eventsSince?: (time: number) => readonly string[];
  readonly signal?: AbortSignal;
}

/** Unix seconds. */
export const now = (): number => Date.now() / 1000;

export class LinkContext {
  readonly options: LinkOptions;
  readonly folder: CampaignFolder;
  readonly name: string;

  constructor(options: LinkOptions) {
    this.options = options;
    this.folder = options.folder;
    this.name = this.claim();
  }

  /** The folder that whoever submitted this job made, or a new one. */
  private claim(): string {
    const { folder, options } = this;
    const names = folder.links();
    const own = names.find((name) => folder.record<LinkJobFile>(name, 'job.json')?.job === options.job);
    if (own !== undefined) return own;
    // Who submitted it died before it could write down the number it got.
    const newest = names.at(-1);
    const isOpen = newest !== undefined && !folder.record(newest, 'job.json') && !folder.record(newest, 'begin.json');
    const name = isOpen ? newest : folder.newLink();
    folder.write(name, 'job.json', {
      job: options.job,
      submitted: now(),
      predecessor: names.at(isOpen ? -2 : -1) ?? null,
    });
    return name;
  }

  /** Whether somebody else decides by now: this process was silent, and did not know it. */
  get isTakenOver(): boolean {
    const newest = this.folder.takeovers(this.name).at(-1);
    return newest !== undefined && newest.time !== this.options.takeover?.time;
  }

  /** This job as the scheduler tells it; undefined where it cannot be asked. */
  async tellJob(): Promise<Job | undefined> {
    const { scheduler, job } = this.options;
    try {
      return (await scheduler.jobs({ ids: [job] })).find(({ id }) => id === job);
    } catch (error) {
      this.event('scheduler-away', { why: errorText(error) });
      return undefined;
    }
  }

  /** Nodes of a list that the scheduler calls down; undefined where it cannot be asked. */
  async downNodes(nodes: readonly string[]): Promise<string[] | undefined> {
    try {
      const known = await this.options.scheduler.nodes();
      return known.filter(({ name, state }) => state === 'down' && nodes.includes(name)).map(({ name }) => name);
    } catch (error) {
      this.event('scheduler-away', { why: errorText(error) });
      return undefined;
    }
  }

  event(event: string, fields: Readonly<Record<string, Json>> = {}): void {
    try {
      appendEvent(this.folder.link(this.name, 'events.jsonl'), event, fields);
    } catch (error) {
      // A full disk: no reason to stop what still trains.
      this.options.log.line(`link ${this.name}: ${event} ${JSON.stringify(fields)}: not kept: ${errorText(error)}`);
    }
  }
}
