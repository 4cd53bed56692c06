// The controller of a link: the one process of a job that decides. It runs on the first node of the allocation.
//
// In this order: it submits its successor, which waits for this job to end (whatever happens from here on, the chain goes on);
// writes down what a dead predecessor could not; measures the nodes; then starts the training, watches it, and after a
// failure starts it again on the nodes that still answer, or ends and leaves the rest to the successor. It stops the chain
// where the training is over, a user asked, or trying again would be in vain (restart-policy.ts).
//
// A link that was cut off and comes back finds a later one at work, kills what it had started, and leaves: what its ranks
// may still write is refused by the number of their attempt (train/attempt.ts).
//
// Does not: know what trains (engine.ts) or how a job is submitted (scheduler.ts).
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs';
import { constants, hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { appendEvent } from '../base/events.ts';
import { errorText, type Json } from '../base/json.ts';
import { breakLock } from '../base/lock.ts';
import type { Log } from '../base/progress.ts';
import { recordAccounting } from './accounting.ts';
import { attribute } from './attribution.ts';
import {
  CampaignFolder,
  type CampaignFile,
  type Growth,
  type LaunchEndFile,
  type LaunchFile,
  type LinkBeginFile,
  type LinkEndFile,
  type LinkJobFile,
  type Next,
} from './campaign-folder.ts';
import { linkRequest } from './campaign-script.ts';
import { linkShape } from './campaign-spec.ts';
import type { Engine, StepCommand, StepVerdict } from './engine.ts';
import { idleFor, isWorthGrowing, mayGiveWayAtBeginning } from './growth.ts';
import { readCampaignLinks, type Verdict } from './history-files.ts';
import type { Running, Steps } from './job-steps.ts';
import { decide, type Failure } from './restart-policy.ts';
import { batchScript, type Job, type Scheduler, SchedulerError } from './scheduler.ts';
import { type SentinelFile, sentinelName, signOfLife } from './sentinel.ts';
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
  readonly log: Log;
  /** Measures nodes before the first start; absent: not. */
  readonly vet?: (nodes: readonly string[], link: string) => Promise<VetResult>;
  readonly watch?: (place: LaunchPlace) => LinkWatcher;
  /** Last step that the training computed, where its files say. */
  readonly lastStep?: () => number | undefined;
  /** Names of events that it wrote since a Unix second. */
  readonly eventsSince?: (time: number) => readonly string[];
  readonly signal?: AbortSignal;
}

/** Between two looks at what runs. */
const tickMs = 500;
/** How long srun may take to end once ranks said that one is lost: nodes that are gone keep it waiting. */
const lostPatienceMs = 3000;
/** How much longer a node may take to answer that ranks have lost. */
const suspectPatienceMs = 1500;
/** How long nodes of a job that ended may take to become free, before its successor begins, or trains without them. */
const freeingSeconds = 4;
/** Why a node was left that may be well once it answers again. */
const silentWhy = 'does not answer';
const backCauses: ReadonlySet<string> = new Set([silentWhy, 'node-failure', 'lost-peer']);
/** Between two questions whether there are idle nodes for a link that has too few. */
const growthLookMs = 5000;
/** How long the ranks may take to leave when they were told to. */
const leavePatienceMs = 20_000;
/** How long a signal may take that ends the job, once nothing is started in it any more. */
const endingPatienceMs = 2000;
/** Slurm ends a job up to half a minute late, never this much early. */
const timeUpSeconds = 5;
/** Causes that a trainer which ends by itself tells, beside mistakes. */
const ownCauses: readonly string[] = ['not-finite', 'loss-spike', 'disk-full', 'out-of-memory'];
/** How long the scheduler may be away before the link goes on without a successor. */
const submitPatienceMs = 120_000;

const now = (): number => Date.now() / 1000;

/** Runs a link to its end. Returns why it ended. */
export async function runLink(options: LinkOptions): Promise<LinkEndFile> {
  return await new Link(options).run();
}

class Link {
  private readonly options: LinkOptions;
  private readonly folder: CampaignFolder;
  private readonly name: string;
  /** Nodes that are no longer used in this link, and why. */
  private readonly lost = new Map<string, string>();
  private successor: string | undefined;
  private ends: number | undefined;
  /** Set once the training was told to leave, to start on more nodes: here, with nodes that are back, or in a successor. */
  private growing: (Growth & { readonly back: readonly string[] | undefined }) | undefined;
  /** A later link is at work. */
  private isSuperseded = false;
  /** Starts of this link on nodes that were back. */
  private regrown = 0;

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

  async run(): Promise<LinkEndFile> {
    const { folder, options } = this;
    const { log, engine, job } = options;
    const told = await this.tellJob();
    const nodes = told?.nodes.length ? told.nodes : [hostname()];
    this.ends = told?.ends;
    const begin: LinkBeginFile = { time: now(), job, nodes, host: hostname() };
    folder.write(this.name, 'begin.json', begin);
    log.line(`link ${this.name}: job ${job} on ${nodes.join(', ')}`);
    const stopped = folder.stopped();
    if (stopped) return await this.end('stop', `the chain stands: ${stopped.why}`);
    if (engine.progress().isFinished) return await this.finish();
    this.keepAlive();
    this.startSentinels(nodes);
    await this.submitSuccessor();
    await this.settleBefore();
    const past = this.failures();
    const [last] = past.slice(-1);
    if (last) {
      const decision = decide(past, options.campaign.spec.restart);
      if (!decision.restart) return await this.giveUp(decision.why, last.verdict);
    }
    const more = await this.moreAtBeginning(nodes);
    if (more) return await this.giveWay(more);
    const usable = await this.vetted(nodes);
    for (let index = 0; ; index++) {
      const answer = await this.launch(
        index,
        usable.filter((node) => !this.lost.has(node)),
        nodes,
      );
      if (answer) return answer;
    }
  }

  /** This job as the scheduler tells it; undefined where it cannot be asked. */
  private async tellJob(): Promise<Job | undefined> {
    const { scheduler, job } = this.options;
    try {
      return (await scheduler.jobs({ ids: [job] })).find(({ id }) => id === job);
    } catch (error) {
      this.event('scheduler-away', { why: errorText(error) });
      return undefined;
    }
  }

  /** The sign of life that sentinels look for: from a timer, so that it stops with this process and not before. */
  private keepAlive(): void {
    let count = 0;
    const beat = (): void => {
      try {
        signOfLife(this.folder, this.name, count++);
      } catch {
        // The file system is away for a moment.
      }
    };
    beat();
    setInterval(beat, 1000).unref();
  }

  /** Two of the other nodes; where one of them dies the other is left. */
  private startSentinels(nodes: readonly string[]): void {
    const { steps, campaign, job } = this.options;
    for (const node of nodes.filter((each) => each !== nodes[0]).slice(-2)) {
      const argv = [
        ...campaign.belay,
        'campaign',
        'sentinel',
        '--out',
        this.folder.dir,
        '--link',
        this.name,
        '--job',
        job,
      ];
      steps.background(node, argv, this.folder.link(this.name, 'sentinels.txt'));
    }
  }

  /** Before anything else: whatever happens to this job, the chain has a next one. */
  private async submitSuccessor(): Promise<void> {
    const { campaign, site, scheduler, signal } = this.options;
    const { folder } = this;
    const request = linkRequest(campaign, site, folder);
    const deadline = Date.now() + submitPatienceMs;
    for (;;) {
      try {
        const waiting = (await scheduler.jobs({ name: request.name })).find(({ state }) => state === 'pending');
        if (waiting) {
          // A link before this one submitted it, and died.
          this.successor = waiting.id;
          return;
        }
        const name = folder.newLink();
        folder.writeScript(name, batchScript(request));
        this.successor = await scheduler.submit(request);
        folder.write(name, 'job.json', { job: this.successor, submitted: now(), predecessor: this.name });
        this.event('successor', { job: this.successor, link: name });
        return;
      } catch (error) {
        const again = error instanceof SchedulerError && error.retryable && Date.now() < deadline && !signal?.aborted;
        this.event('no-successor', { why: errorText(error), again });
        if (!again) {
          this.options.log.line(`link ${this.name}: no successor: ${errorText(error)}`);
          return;
        }
        await wait(1000);
      }
    }
  }

  /** Writes the ends of links and launches that could not do it themselves. */
  private async settleBefore(): Promise<void> {
    const { folder } = this;
    const before = folder.links().filter((name) => Number(name) < Number(this.name));
    for (const name of before.slice(-3)) {
      const begin = folder.record<LinkBeginFile>(name, 'begin.json');
      if (!begin || folder.record(name, 'end.json')) continue;
      const job = await this.pastJob(begin.job);
      const ended = folder.record<SentinelFile>(name, sentinelName);
      // A job that a sentinel ended was cancelled in the scheduler's words only.
      const outcome = ended ? 'node-failure' : job?.outcome;
      const dead = ended ? [ended.node] : ((await this.downNodes(begin.nodes)) ?? []);
      const over = job?.ended ?? now();
      let said = '';
      for (const launch of folder.launches(name)) {
        const started = folder.record<LaunchFile>(name, 'steps', launch, 'step.json');
        if (!started || folder.record(name, 'steps', launch, 'end.json')) continue;
        said = tail(folder.link(name, 'steps', launch, 'log.txt'));
        const verdict = attribute({
          ...{ exit: null, signal: null, log: said, deadNodes: dead },
          ...(outcome === undefined ? {} : { outcome }),
        });
        const to = this.options.engine.progress().step;
        const lastStep = this.options.lastStep?.();
        folder.write(name, `steps/${launch}/end.json`, {
          ...{
            time: over,
            exit: null,
            outcome: 'failed',
            why: 'the link ended first',
            from: started.from,
            to,
            verdict,
          },
          ...(lastStep === undefined ? {} : { lastStep }),
        } satisfies LaunchEndFile);
      }
      // Where the scheduler does not say yet how the job ended, what was running in it may.
      const verdict = attribute({
        ...{ exit: null, signal: null, log: outcome === undefined ? said : '', deadNodes: dead },
        ...(outcome === undefined ? {} : { outcome }),
      });
      const why =
        ended?.why ??
        `it ended without a word: ${job === undefined ? 'the scheduler does not remember it' : (job.outcome ?? job.raw)}`;
      folder.write(name, 'end.json', { time: over, why, verdict, next: 'successor', by: this.name });
      this.event('settled', { link: name, why, cause: verdict.cause, domain: verdict.domain });
    }
  }

  /** Keeps what the accounts say of links that are over, before they are forgotten. Nothing waits for it. */
  private async recordPast(): Promise<void> {
    const { folder, options } = this;
    try {
      const links = readCampaignLinks(folder.dir);
      const ids = links.flatMap(({ name, job, accounting }) =>
        job === undefined || accounting || Number(name) >= Number(this.name) ? [] : [job],
      );
      if (ids.length === 0) return;
      const kept = recordAccounting({ dir: folder.dir, links }, await options.scheduler.history({ ids }));
      if (kept.length > 0) this.event('accounted', { links: kept });
    } catch (error) {
      // The next link, or a report, asks again.
      this.event('no-accounts', { why: errorText(error) });
    }
  }

  private async pastJob(id: string): Promise<Job | undefined> {
    const { scheduler } = this.options;
    let last: Job | undefined;
    for (const ask of [() => scheduler.jobs({ ids: [id] }), () => scheduler.history({ ids: [id] })]) {
      try {
        const found = (await ask()).find((job) => job.id === id);
        // While it completes the queue does not say how it ended; the accounts may.
        if (found?.state === 'ended') return found;
        last ??= found;
      } catch (error) {
        this.event('scheduler-away', { why: errorText(error) });
      }
    }
    return last;
  }

  /** Nodes of a list that the scheduler calls down; undefined where it cannot be asked. */
  private async downNodes(nodes: readonly string[]): Promise<string[] | undefined> {
    try {
      const known = await this.options.scheduler.nodes();
      return known.filter(({ name, state }) => state === 'down' && nodes.includes(name)).map(({ name }) => name);
    } catch (error) {
      this.event('scheduler-away', { why: errorText(error) });
      return undefined;
    }
  }

  /** Failures since the last start of another kind of end, over links since the user last submitted. */
  private failures(): Failure[] {
    const { folder } = this;
    const first = Number(folder.submissions().at(-1)?.link ?? 0);
    const failures: Failure[] = [];
    for (const name of folder.links()) {
      if (Number(name) < first) continue;
      for (const launch of folder.launches(name)) {
        const end = folder.record<LaunchEndFile>(name, 'steps', launch, 'end.json');
        if (!end) continue;
        if (!end.verdict) {
          failures.length = 0;
          continue;
        }
        const { verdict, from, to, lastStep } = end;
        failures.push({ verdict, from, to, ...(lastStep === undefined ? {} : { lastStep }) });
      }
      const end = folder.record<LinkEndFile>(name, 'end.json');
      if (end?.verdict && folder.launches(name).length === 0) {
        const step = failures.at(-1)?.to ?? 0;
        failures.push({ verdict: end.verdict, from: step, to: step });
      }
    }
    return failures;
  }

  /** Nodes to train on: those of the allocation without the sick ones, if enough are left. */
  private async vetted(nodes: readonly string[]): Promise<readonly string[]> {
    const { vet, campaign, log } = this.options;
    if (!vet) return nodes;
    try {
      const result = await vet(nodes, this.name);
      for (const note of result.notes) this.event('vet-note', { note });
      if (result.refused !== undefined) this.event('vet-refused', { why: result.refused });
      for (const { node, verdict, why, by } of result.verdicts) {
        if (verdict === 'sick') {
          this.event('sick-node', { node, why, by, excluded: result.excluded.includes(node) });
          log.line(`link ${this.name}: ${node} is sick: ${why}`);
        }
      }
      const healthy = nodes.filter((node) => !result.excluded.includes(node));
      if (healthy.length >= campaign.spec.nodes.min) return healthy;
      this.event('vet-refused', {
        why: `without the sick nodes ${healthy.length} would be left of at least ${campaign.spec.nodes.min}`,
      });
      return nodes;
    } catch (error) {
      // The training itself is the better test where the probe cannot run.
      this.event('vet-failed', { why: errorText(error) });
      return nodes;
    }
  }

  /** One start of the training. Returns the end of the link, or undefined to start again. */
  private async launch(
    index: number,
    usable: readonly string[],
    all: readonly string[],
  ): Promise<LinkEndFile | undefined> {
    const { folder, options } = this;
    const { engine, campaign, site, steps, log } = options;
    const { spec } = campaign;
    const cleaned = engine.prepare();
    if (cleaned.unfinished.length > 0) this.event('unfinished', { checkpoints: [...cleaned.unfinished] });
    if (cleaned.stopAsked || folder.isRequested('stop')) return await this.stopByUser();
    const count = engine.nodeCounts(Math.min(usable.length, spec.nodes.max)).find((each) => each >= spec.nodes.min);
    if (count === undefined) {
      const gone = [...this.lost].map(([node, why]) => `${node} (${why})`).join(', ');
      const why = `${usable.length} nodes are left of at least ${spec.nodes.min}${gone === '' ? '' : `: without ${gone}`}`;
      const [node] = this.lost.keys();
      const verdict = {
        domain: 'infrastructure',
        cause: 'too-few-nodes',
        ...(node === undefined ? {} : { node }),
      } as const;
      return await this.end('successor', why, { verdict });
    }
    const nodes = usable.slice(0, count);
    const { tasksPerNode } = linkShape(spec, site);
    const world = nodes.length * tasksPerNode;
    const launch = String(index).padStart(2, '0');
    const place = folder.link(this.name, 'steps', launch);
    mkdirSync(place, { recursive: true });
    const before = engine.progress();
    // The jobs that held it have ended, or this one would not run.
    const holder = breakLock(join(folder.dir, 'run.lock'), this.pastNodes(all));
    if (holder) this.event('lock-broken', { host: holder.host, pid: holder.pid });
    const command = engine.step({ nodes, tasksPerNode, folder: place, job: options.job, index });
    for (const { name, text } of command.files) writeFileSync(join(place, name), text);
    await this.runBefore(command, place);
    const began = now();
    folder.write(this.name, `steps/${launch}/step.json`, { time: began, nodes, world, from: before.step });
    this.event('launch', { launch, nodes: [...nodes], world, from: before.step });
    log.line(`link ${this.name}: start ${launch} on ${nodes.length} nodes, ${world} ranks, from step ${before.step}`);
    // Made first: hearts that beat already are those of others.
    const watcher = options.watch?.({ link: this.name, launch, nodes, world, folder: place });
    const running = await steps.start({
      ...{ nodes, tasksPerNode, command, log: join(place, 'log.txt') },
      env: { BELAY_STARTED_BY: `link ${this.name} step ${launch}` },
    });
    if (index === 0) void this.recordPast();
    const training = { nodes: nodes.length, usable: usable.length, began, before: before.step, looked: 0 };
    const superseded = await this.watchOver(running, watcher, join(place, 'log.txt'), training);
    await watcher?.end();
    const { exit, signal } = await running.ended;
    this.isSuperseded = superseded;
    if (superseded) return await this.end('successor', 'a later link has taken over');
    const verdict = engine.verdict({ exit, signal, before });
    return await this.afterLaunch(launch, verdict, { exit, signal, began, from: before.step, nodes, all, watcher });
  }

  /** Nodes of this link and of those before it. */
  private pastNodes(own: readonly string[]): Set<string> {
    const links = this.folder.links().map((name) => this.folder.record<LinkBeginFile>(name, 'begin.json'));
    return new Set([...own, ...links.flatMap((begin) => (begin ? [...begin.nodes, begin.host] : []))]);
  }

  private async runBefore(command: StepCommand, place: string): Promise<void> {
    for (const { what, argv } of command.before) {
      const ended = await this.options.steps.here(argv, join(place, 'before.txt'));
      if (ended !== 0) this.event('before-failed', { what, exit: ended });
    }
  }

  /** Nodes that are idle for this campaign; none where the scheduler cannot be asked. */
  private async idleNodes(own: readonly string[]): Promise<string[]> {
    const { campaign, site, scheduler } = this.options;
    try {
      const request = linkRequest(campaign, site, this.folder);
      return idleFor(request, await scheduler.nodes()).filter((node) => !own.includes(node));
    } catch (error) {
      this.event('scheduler-away', { why: errorText(error) });
      return [];
    }
  }

  /** Nodes that so many nodes let it train on. */
  private trainable(count: number): number {
    const { min, max } = this.options.campaign.spec.nodes;
    return this.options.engine.nodeCounts(Math.min(count, max)).find((each) => each >= min) ?? 0;
  }

  /** Nodes of this job that did not answer for a while, and do now: a cable mended, or a boot quicker than Slurm's patience. */
  private async nodesBack(): Promise<string[]> {
    const silent = [...this.lost].filter(([, why]) => backCauses.has(why)).map(([node]) => node);
    if (silent.length === 0) return [];
    const own = (await this.tellJob())?.nodes ?? [];
    const asked = silent
      .filter((node) => own.includes(node))
      .map(async (node) => ((await this.options.steps.answers(node)) ? [node] : []));
    return (await Promise.all(asked)).flat();
  }

  /** Links in a row before this one that left for more nodes, and did not get them. */
  private givenWayInVain(): number {
    const { folder } = this;
    const links = folder.links();
    let count = 0;
    for (let i = links.indexOf(this.name) - 1; i >= 0; i--) {
      const growth = folder.record<LinkEndFile>(links[i] as string, 'end.json')?.growth;
      const next = folder.record<LinkBeginFile>(links[i + 1] as string, 'begin.json');
      if (!growth || (next && this.trainable(next.nodes.length) >= growth.to)) break;
      count++;
    }
    return count;
  }

  /** Whether a successor would have more nodes than this link, which has not started anything yet. */
  private async moreAtBeginning(nodes: readonly string[]): Promise<Growth | undefined> {
    const has = this.trainable(nodes.length);
    const { folder } = this;
    if (this.successor === undefined || has >= this.options.campaign.spec.nodes.max) return undefined;
    if (!mayGiveWayAtBeginning(this.givenWayInVain())) return undefined;
    // Slurm may have started this job while nodes of the one before were still being tidied up.
    const previous = folder.links()[folder.links().indexOf(this.name) - 1] ?? '';
    const before = folder.record<LinkBeginFile>(previous, 'begin.json')?.nodes ?? [];
    const deadline = Date.now() + 1000 * freeingSeconds;
    for (;;) {
      const to = this.trainable(nodes.length + (await this.idleNodes(nodes)).length);
      if (to >= this.options.campaign.spec.nodes.max || Date.now() >= deadline || !(await this.areFreed(before, nodes)))
        return to > has ? { from: has, to } : undefined;
      await wait(tickMs);
    }
  }

  /** Whether nodes of the link before, that this one has not, are being tidied up. */
  private async areFreed(before: readonly string[], own: readonly string[]): Promise<boolean> {
    try {
      const known = await this.options.scheduler.nodes();
      return known.some(({ name, raw }) => before.includes(name) && !own.includes(name) && /COMP/i.test(raw));
    } catch {
      return false;
    }
  }

  private async giveWay(growth: Growth): Promise<LinkEndFile> {
    return await this.end('successor', `the next link can have ${growth.to} nodes`, { growth });
  }

  /** Whether the training should leave now for a successor with more nodes. */
  private async moreWhileTraining(training: Training, taken: number): Promise<Link['growing']> {
    const { campaign, engine } = this.options;
    const { nodes, usable, began, before } = training;
    const time = now();
    training.startSeconds ??= taken > 0 ? time - began : undefined;
    if (this.successor === undefined || training.startSeconds === undefined) return undefined;
    if (nodes >= campaign.spec.nodes.max || time - training.looked < growthLookMs / 1000) return undefined;
    training.looked = time;
    const { total } = engine.progress();
    const trainedSeconds = time - began;
    const untilDone =
      total === null
        ? Number.POSITIVE_INFINITY
        : ((total - before - taken) / taken) * (trainedSeconds - training.startSeconds);
    const facts = {
      ...{ nodes, startSeconds: training.startSeconds, trainedSeconds, before: this.givenWayInVain() + this.regrown },
      leftSeconds: Math.min(untilDone, (this.ends ?? Number.POSITIVE_INFINITY) - time),
    };
    // Asked only where all nodes would be worth it.
    if (!isWorthGrowing({ ...facts, possible: this.trainable(campaign.spec.nodes.max) })) return undefined;
    const back = await this.nodesBack();
    const here = this.trainable(usable + back.length);
    const to = this.trainable(usable + back.length + (await this.idleNodes(back)).length);
    if (!isWorthGrowing({ ...facts, possible: to })) return undefined;
    return { from: nodes, to, back: to > here ? undefined : back };
  }

  /** Waits for the training, answers requests. True where a later link has begun, and this one must leave. */
  private async watchOver(
    running: Running,
    watcher: LinkWatcher | undefined,
    logPath: string,
    training: Training,
  ): Promise<boolean> {
    const { engine, signal } = this.options;
    const { folder } = this;
    let killAt = Number.POSITIVE_INFINITY;
    let isOver = false;
    let superseded = false;
    let isStopping = false;
    let looking: Promise<unknown> | undefined;
    let found = this.growing;
    void running.ended.then(() => (isOver = true));
    const log = new Follower(logPath);
    while (!isOver) {
      await Promise.race([running.ended, wait(tickMs)]);
      if (isOver) break;
      if (folder.isRequested('save')) {
        engine.ask('save');
        folder.answered('save');
        this.event('asked', { what: 'save' });
      }
      if (folder.isRequested('stop') && killAt === Number.POSITIVE_INFINITY) {
        engine.ask('stop');
        folder.answered('stop');
        isStopping = true;
        this.event('asked', { what: 'stop' });
      }
      if (!this.growing && !isStopping && killAt === Number.POSITIVE_INFINITY) {
        // Where nothing tells of steps, a new checkpoint does.
        const taken = watcher?.stepsTaken || Math.max(0, engine.progress().step - training.before);
        // Beside the watching: a scheduler that is away takes its time.
        looking ??= this.moreWhileTraining(training, taken)
          .then((growth) => (found = growth))
          .catch((error: unknown) => this.event('growth-failed', { why: errorText(error) }))
          .finally(() => (looking = undefined));
        if (found) {
          this.growing = found;
          const { from, to, back } = found;
          this.event('grow', { from, to, ...(back ? { back: [...back] } : {}) });
          running.pause(this.options.site.slurm.warningSignal);
        }
      }
      const newer = folder
        .links()
        .find((name) => Number(name) > Number(this.name) && folder.record(name, 'begin.json'));
      if (newer !== undefined) {
        superseded = true;
        this.event('superseded', { by: newer });
        await running.kill();
        break;
      }
      if (signal?.aborted && killAt === Number.POSITIVE_INFINITY) killAt = Date.now() + leavePatienceMs;
      if (/\brank \d+(?: on \S+)? was lost\b/.test(log.more())) killAt = Math.min(killAt, Date.now() + lostPatienceMs);
      if (watcher?.hang) killAt = Math.min(killAt, Date.now());
      if (Date.now() >= killAt) {
        this.event('killed', { why: watcher?.hang ? 'it hangs' : 'it did not end by itself' });
        await running.kill();
        killAt = Number.MAX_SAFE_INTEGER;
      }
      try {
        await watcher?.tick();
      } catch (error) {
        // Nobody trains for the sake of being watched.
        this.event('watch-failed', { why: errorText(error) });
      }
    }
    return superseded;
  }

  private async afterLaunch(
    launch: string,
    { outcome, why }: StepVerdict,
    facts: {
      readonly exit: number | null;
      readonly signal: string | null;
      readonly began: number;
      readonly from: number;
      readonly nodes: readonly string[];
      readonly all: readonly string[];
      readonly watcher: LinkWatcher | undefined;
    },
  ): Promise<LinkEndFile | undefined> {
    const { folder, options } = this;
    const { engine, campaign, log } = options;
    const { exit, signal, from, nodes, began, watcher } = facts;
    const to = engine.progress().step;
    const isFailure = outcome === 'failed' || outcome === 'lost-peer' || outcome === 'mistake';
    const lastStep = options.lastStep?.();
    let verdict: Verdict | undefined;
    if (isFailure) {
      const said = tail(folder.link(this.name, 'steps', launch, 'log.txt'));
      // In a job that is being ended no node starts anything any more.
      const silent = options.signal?.aborted ? [] : await this.silentNodes(nodes, facts.all[0], said);
      // Asked again: the nodes took their time, and the job may have been ended meanwhile.
      const isEnding = options.signal?.aborted === true;
      verdict = attribute({
        ...{ exit, signal, log: said, deadNodes: isEnding ? [] : silent },
        events: options.eventsSince?.(began) ?? [],
        ...(watcher?.hang ? { hang: watcher.hang } : {}),
        ...(isEnding ? { ending: this.isTimeUp ? 'time-limit' : 'cancelled' } : {}),
        ...(isEnding && this.isCancelled ? { outcome: 'cancelled' } : {}),
      });
      // The engine knows its own exit codes better than any log tells; what it says of its numbers and of the machine stays.
      if (outcome === 'mistake' && !ownCauses.includes(verdict.cause))
        verdict = { ...verdict, domain: 'workload', cause: 'mistake' };
      if (!isEnding) for (const node of silent) this.lost.set(node, silentWhy);
      if (verdict.domain === 'infrastructure' && verdict.node !== undefined && nodes.includes(verdict.node)) {
        this.lost.set(verdict.node, verdict.cause);
      }
    }
    const number = signal === null ? undefined : constants.signals[signal as NodeJS.Signals];
    folder.write(this.name, `steps/${launch}/end.json`, {
      ...{ time: now(), exit, outcome, why, from, to },
      ...(number === undefined ? {} : { signal: number }),
      ...(lastStep === undefined ? {} : { lastStep }),
      ...(verdict === undefined ? {} : { verdict }),
    } satisfies LaunchEndFile);
    this.event('launch-end', {
      launch,
      outcome,
      why,
      from,
      to,
      ...(verdict ? { verdict: verdict as unknown as Json } : {}),
    });
    log.line(
      `link ${this.name}: start ${launch} ended: ${why}${verdict ? ` (${verdict.domain}, ${verdict.cause})` : ''}`,
    );
    switch (outcome) {
      case 'finished':
        return await this.finish();
      case 'stopped':
        return await this.stopByUser();
      case 'next-phase':
        return undefined;
      case 'paused':
        return await this.afterPause(why);
      default: {
        if (options.signal?.aborted && this.isCancelled) {
          return await this.end('stop', this.folder.stopped()?.why ?? 'cancelled', { verdict });
        }
        const decision = decide(this.failures(), campaign.spec.restart);
        if (!decision.restart) return await this.giveUp(decision.why, verdict);
        if (options.signal?.aborted) return await this.end('successor', 'the job is being ended', { verdict });
        if (this.ends !== undefined && this.ends - now() < linkShape(campaign.spec, options.site).warningSeconds) {
          return await this.end('successor', `${why}; too little time is left to start again`, { verdict });
        }
        return undefined;
      }
    }
  }

  /** Whether the job is as old as it may get. A signal does not say why it came; the clock does. */
  private get isTimeUp(): boolean {
    return this.ends !== undefined && this.ends - now() < timeUpSeconds;
  }

  /** Whether a user ended the whole campaign. */
  private get isCancelled(): boolean {
    return this.folder.stopped()?.by === 'user';
  }

  /** Starts again on nodes that are back, or leaves the rest to the successor. */
  private async afterPause(why: string): Promise<LinkEndFile | undefined> {
    const { growing, options } = this;
    if (!growing) return await this.end('successor', why);
    const { from, to, back } = growing;
    if (!back) return await this.giveWay({ from, to });
    const left = (this.ends ?? Number.POSITIVE_INFINITY) - now();
    if (left <= linkShape(options.campaign.spec, options.site).warningSeconds) return await this.end('successor', why);
    for (const node of back) this.lost.delete(node);
    this.growing = undefined;
    this.regrown++;
    return undefined;
  }

  /** Nodes that do not start a process within seconds. Those that ranks have lost get little more time than the others take. */
  private async silentNodes(nodes: readonly string[], own: string | undefined, said: string): Promise<string[]> {
    const suspects = new Set([...said.matchAll(/\brank \d+ on (\S+) was lost\b/g)].map(([, node]) => node as string));
    const answered = new Set<string>();
    const ask = async (node: string): Promise<void> => {
      if (await this.options.steps.answers(node)) answered.add(node);
    };
    const asked = new Map(nodes.map((node) => [node, ask(node)]));
    await Promise.all(nodes.filter((node) => !suspects.has(node)).map((node) => asked.get(node)));
    await Promise.race([Promise.all(asked.values()), wait(suspectPatienceMs)]);
    const silent = nodes.filter((node) => !answered.has(node));
    if (own === undefined || !silent.includes(own)) return silent;
    // This process runs there. So Slurm starts nothing at all in this job: it is away, or ends the job and will say so at once.
    this.event('no-answers', { nodes: silent });
    const { signal } = this.options;
    await wait(endingPatienceMs, undefined, signal ? { signal } : {}).catch(() => undefined);
    return [];
  }

  private async finish(): Promise<LinkEndFile> {
    this.folder.stop({ time: now(), why: 'trained to the end', by: 'finished', link: this.name });
    return await this.end('stop', 'trained to the end');
  }

  private async stopByUser(): Promise<LinkEndFile> {
    this.folder.answered('stop');
    this.folder.stop({ time: now(), why: 'a user asked it to stop', by: 'user', link: this.name });
    return await this.end('stop', 'a user asked it to stop');
  }

  private async giveUp(why: string, verdict: Verdict | undefined): Promise<LinkEndFile> {
    this.folder.stop({ time: now(), why, by: 'policy', link: this.name });
    this.options.log.line(`link ${this.name}: the chain stops: ${why}`);
    return await this.end('stop', why, { verdict });
  }

  private async end(
    next: Next,
    why: string,
    more: { readonly verdict?: Verdict | undefined; readonly growth?: Growth } = {},
  ): Promise<LinkEndFile> {
    const { verdict, growth } = more;
    if (next === 'stop') await this.cancelSuccessors();
    else if (!this.isSuperseded) await this.delaySuccessor();
    const end: LinkEndFile = {
      ...{ time: now(), why, next },
      ...(verdict ? { verdict } : {}),
      ...(growth ? { growth } : {}),
    };
    // Who took over may have written it.
    if (!existsSync(this.folder.link(this.name, 'end.json'))) this.folder.write(this.name, 'end.json', end);
    this.options.log.line(`link ${this.name}: ${why}`);
    return end;
  }

  /** Slurm starts a job once it has the fewest nodes; those of this one become free one after the other. */
  private async delaySuccessor(): Promise<void> {
    const { campaign, scheduler } = this.options;
    const { min, max } = linkRequest(campaign, this.options.site, this.folder).nodes;
    if (this.successor === undefined || min === max || scheduler.lacks.has('update')) return;
    try {
      await scheduler.update(this.successor, { beginSeconds: freeingSeconds });
    } catch (error) {
      this.event('not-delayed', { why: errorText(error) });
    }
  }

  /** A successor that cannot be taken back finds that the chain stands, and leaves. */
  private async cancelSuccessors(): Promise<void> {
    const { scheduler, campaign, job } = this.options;
    try {
      const waiting = await scheduler.jobs({ name: CampaignFolder.jobName(campaign) });
      for (const { id, state } of waiting) if (state === 'pending' && id !== job) await scheduler.cancel(id);
    } catch (error) {
      this.event('not-cancelled', { why: errorText(error) });
    }
  }

  private event(event: string, fields: Readonly<Record<string, Json>> = {}): void {
    appendEvent(this.folder.link(this.name, 'events.jsonl'), event, fields);
  }
}

/** A start of the training, for the question whether more nodes are worth another one. */
interface Training {
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

/** What a file says since the last look. */
class Follower {
  private readonly path: string;
  private at = 0;

  constructor(path: string) {
    this.path = path;
  }

  more(): string {
    if (!existsSync(this.path)) return '';
    const size = statSync(this.path).size;
    if (size <= this.at) return '';
    // Of a flood only the end.
    const from = Math.max(this.at, size - (1 << 20));
    this.at = size;
    return slice(this.path, from, size);
  }
}

/** The beginning and the end of a log: an error may stand before a flood of the same. */
function tail(path: string): string {
  if (!existsSync(path)) return '';
  const size = statSync(path).size;
  const most = 1 << 20;
  return size <= 2 * most ? readFileSync(path, 'utf8') : `${slice(path, 0, most)}\n${slice(path, size - most, size)}`;
}

function slice(path: string, from: number, to: number): string {
  const bytes = Buffer.alloc(to - from);
  const file = openSync(path, 'r');
  try {
    return bytes.toString('utf8', 0, readSync(file, bytes, 0, bytes.length, from));
  } finally {
    closeSync(file);
  }
}
