// The campaign's part of a run folder: where its files are, and their records.
//
// A campaign is a run folder with `campaign/` in it (docs/run-folder.md). Every file has one writer: whoever submits writes
// campaign.json and submissions.jsonl; the controller of a link writes the folder of its link, the job.json of its
// successor, and what a predecessor that died could not write itself.
//
// Does not: read it back for a history (history-files.ts), or decide anything.
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync, linkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { writeFileAtomic, writeJsonAtomic, writeJsonShared } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { readLines } from '../base/events.ts';
import { readJson } from '../base/json.ts';
import { type CampaignSpec, parseCampaignSpec } from './campaign-spec.ts';
import type { Verdict } from './history-files.ts';

export const campaignFormat = 'belay-campaign-1';

/** campaign.json. */
export interface CampaignFile {
  readonly format: typeof campaignFormat;
  readonly name: string;
  /** Tells this campaign from another one of the same name; part of the jobs' name. */
  readonly id: string;
  readonly created: string;
  readonly spec: CampaignSpec;
  /** Hash of the spec, in history and metrics. */
  readonly specHash: string;
  /** `slurm`, or `local`. */
  readonly scheduler: string;
  /** How belay is called on the nodes. */
  readonly belay: readonly string[];
  /** Of the code. */
  readonly version: string;
}

export interface LinkJobFile {
  readonly job: string;
  readonly submitted: number;
  readonly predecessor: string | null;
}

export interface LinkBeginFile {
  readonly time: number;
  readonly job: string;
  readonly nodes: readonly string[];
  readonly host: string;
}

/** What becomes of the chain after a link. */
export type Next = 'successor' | 'stop';

/** That a link left so that its successor would train on more nodes. */
export interface Growth {
  readonly from: number;
  readonly to: number;
}

export interface LinkEndFile {
  readonly time: number;
  readonly why: string;
  readonly verdict?: Verdict;
  readonly next: Next;
  readonly growth?: Growth;
  /** The link that wrote it, where this one could not. */
  readonly by?: string;
}

/** That a sentinel decides from here on, because the controller before it fell silent. */
export interface TakeoverFile {
  readonly time: number;
  readonly host: string;
  /** Where the silent one ran. */
  readonly from: string;
  readonly why: string;
}

export interface LaunchFile {
  readonly time: number;
  readonly nodes: readonly string[];
  readonly world: number;
  /** Step of the newest whole checkpoint before it. */
  readonly from: number;
}

export interface LaunchEndFile {
  readonly time: number;
  readonly exit: number | null;
  /** Number of the signal that ended srun. */
  readonly signal?: number;
  readonly outcome: string;
  readonly why: string;
  readonly from: number;
  readonly to: number;
  /** The last step it computed. */
  readonly lastStep?: number;
  /** Of an end that is a failure. */
  readonly verdict?: Verdict;
}

/** Why the chain stands; written when it stops, removed when it is submitted again. */
export interface StoppedFile {
  readonly time: number;
  readonly why: string;
  readonly by: 'finished' | 'user' | 'policy';
  readonly link?: string;
}

function writeOnce(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

export type RequestName = 'save' | 'stop';

export class CampaignFolder {
  /** The run folder, absolute. */
  readonly dir: string;
  readonly campaign: string;

  constructor(dir: string) {
    this.dir = resolve(dir);
    this.campaign = join(this.dir, 'campaign');
  }

  get exists(): boolean {
    return existsSync(join(this.campaign, 'campaign.json'));
  }

  read(): CampaignFile {
    if (!this.exists) {
      throw new UserError(`${this.dir} has no campaign`, {
        expected: join(this.campaign, 'campaign.json'),
        next: 'belay campaign submit --spec campaign.json --out DIR',
      });
    }
    const file = readJson(join(this.campaign, 'campaign.json'), 'campaign') as CampaignFile;
    if (file.format !== campaignFormat) {
      throw new UserError(`${this.campaign} is of another format`, {
        found: `${file.format}`,
        expected: campaignFormat,
      });
    }
    return { ...file, spec: parseCampaignSpec(file.spec, join(this.campaign, 'campaign.json')) };
  }

  create(file: CampaignFile): void {
    for (const name of ['links', 'logs', 'requests']) mkdirSync(join(this.campaign, name), { recursive: true });
    writeJsonAtomic(join(this.campaign, 'campaign.json'), file);
  }

  /** Name of its jobs: one for each campaign, since `singleton` goes by it. */
  static jobName({ name, id }: Pick<CampaignFile, 'name' | 'id'>): string {
    return `belay-${name}-${id}`;
  }

  /** Names of links in their order. */
  links(): string[] {
    const links = join(this.campaign, 'links');
    if (!existsSync(links)) return [];
    return readdirSync(links)
      .filter((name) => /^\d{4,}$/.test(name))
      .sort((a, b) => Number(a) - Number(b));
  }

  link(name: string, ...path: string[]): string {
    return join(this.campaign, 'links', name, ...path);
  }

  /** The folder of a link that nobody has yet; claimed by making it. */
  newLink(): string {
    for (let number = Number(this.links().at(-1) ?? 0) + 1; ; number++) {
      const name = String(number).padStart(4, '0');
      mkdirSync(join(this.campaign, 'links'), { recursive: true });
      try {
        mkdirSync(this.link(name));
        return name;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
    }
  }

  /** A record of a link; undefined where it is missing or torn. */
  record<T>(link: string, ...path: string[]): T | undefined {
    const file = this.link(link, ...path);
    if (!existsSync(file)) return undefined;
    try {
      return readJson(file) as T;
    } catch {
      return undefined;
    }
  }

  write(
    link: string,
    name: string,
    value: LinkJobFile | LinkBeginFile | LinkEndFile | LaunchFile | LaunchEndFile,
  ): void {
    const path = this.link(link, name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeJsonShared(path, value);
  }

  /** Takeovers of a link, the first one first. */
  takeovers(link: string): TakeoverFile[] {
    const all: TakeoverFile[] = [];
    for (;;) {
      const file = this.record<TakeoverFile>(link, 'takeovers', `${all.length + 1}.json`);
      if (!file) return all;
      all.push(file);
    }
  }

  /** Takes a link over, unless somebody else did so first. */
  takeOver(link: string, file: TakeoverFile): boolean {
    const path = this.link(link, 'takeovers', `${this.takeovers(link).length + 1}.json`);
    const draft = `${path}.${file.host}-${process.pid}`;
    mkdirSync(join(path, '..'), { recursive: true });
    try {
      // Whole or not at all, and by one alone.
      writeFileSync(draft, JSON.stringify(file));
      linkSync(draft, path);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') return false;
      if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw error;
      // A file system without hard links.
      return writeOnce(path, JSON.stringify(file));
    } finally {
      rmSync(draft, { force: true });
    }
  }

  writeScript(link: string, script: string): void {
    writeFileAtomic(this.link(link, 'script.sh'), script);
  }

  /** Launches of a link, in their order: names such as `00`. */
  launches(link: string): string[] {
    const steps = this.link(link, 'steps');
    if (!existsSync(steps)) return [];
    return readdirSync(steps)
      .filter((name) => /^\d{2,}$/.test(name))
      .sort((a, b) => Number(a) - Number(b));
  }

  get stoppedPath(): string {
    return join(this.campaign, 'stopped.json');
  }

  stopped(): StoppedFile | undefined {
    return existsSync(this.stoppedPath) ? (readJson(this.stoppedPath) as StoppedFile) : undefined;
  }

  /** The first reason stays: what follows from it comes later. */
  stop(file: StoppedFile): void {
    if (!existsSync(this.stoppedPath)) writeJsonShared(this.stoppedPath, file);
  }

  goOn(): void {
    rmSync(this.stoppedPath, { force: true });
  }

  /** The first link of each submission by a user. */
  submissions(): { readonly time: number; readonly link: string }[] {
    return readLines(join(this.campaign, 'submissions.jsonl'));
  }

  addSubmission(link: string): void {
    appendFileSync(join(this.campaign, 'submissions.jsonl'), `${JSON.stringify({ time: Date.now() / 1000, link })}\n`);
  }

  request(name: RequestName): void {
    mkdirSync(join(this.campaign, 'requests'), { recursive: true });
    writeFileSync(join(this.campaign, 'requests', name), '');
  }

  isRequested(name: RequestName): boolean {
    return existsSync(join(this.campaign, 'requests', name));
  }

  answered(name: RequestName): void {
    rmSync(join(this.campaign, 'requests', name), { force: true });
  }
}
