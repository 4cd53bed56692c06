// The controller of a link: the one process of a job that decides. It runs on the first node of the allocation.
//
// In this order: it submits its successors, which wait for this job to end (whatever happens from here on, the chain goes on);
// writes down what a dead predecessor could not; measures the nodes; then starts the training, watches it, and after a
// failure starts it again on the nodes that still answer, or ends and leaves the rest to the successor. It stops the chain
// where the training is over, a user asked, or trying again would be in vain (restart-policy.ts).
//
// Where the node of this process dies, a sentinel on another one takes over in the same job (sentinel.ts). A controller that was
// only silent, and wakes up, finds that and stands by.
//
// A link that was cut off and comes back finds a later one at work, kills what it had started, and leaves: what its ranks
// may still write is refused by the number of their attempt (train/attempt.ts).
//
// Does not: know what trains (engine.ts) or how a job is submitted (scheduler.ts).
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { constants, hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { UserError } from '../base/errors.ts';
import { errorText, type Json } from '../base/json.ts';
import { breakLock } from '../base/lock.ts';
import { attribute } from './attribution.ts';
import {
  CampaignFolder,
  type Growth,
  type LaunchEndFile,
  type LaunchFile,
  type LinkBeginFile,
  type LinkEndFile,
  type Next,
  type TakeoverFile,
} from './campaign-folder.ts';
import { linkRequest } from './campaign-script.ts';
import { linkShape } from './campaign-spec.ts';
import type { StepCommand, StepVerdict } from './engine.ts';
import type { Verdict } from './history-files.ts';
import type { Running } from './job-steps.ts';
import { LinkContext, type LinkOptions, type LinkWatcher, now } from './link-context.ts';
import { type Found, freeingSeconds, LinkGrowth, silentWhy, type Training } from './link-growth.ts';
import { failures, linkNodes, recordPast, settleBefore, settleLaunches } from './link-past.ts';
import { Follower, tail } from './log-tail.ts';
import { decide } from './restart-policy.ts';
import { batchScript, type JobRequest, SchedulerError } from './scheduler.ts';
import { keepWatch, signOfLife } from './sentinel.ts';

/** Between two looks at what runs. */
const tickMs = 500;
/** How long srun may take to end once ranks said that one is lost: nodes that are gone keep it waiting. */
const lostPatienceMs = 3000;
/** How much longer a node may take to answer that ranks have lost. */
const suspectPatienceMs = 1500;
/** How long the ranks may take to leave when they were told to. */
const leavePatienceMs = 20_000;
/** How long a signal may take that ends the job, once nothing is started in it any more. */
const endingPatienceMs = 2000;
/** Slurm ends a job up to half a minute late, never this much early. */
const timeUpSeconds = 5;
/** Causes that a trainer which ends by itself tells, beside mistakes. */
const ownCauses: readonly string[] = ['not-finite', 'loss-spike', 'disk-full', 'out-of-memory'];
/** How long the scheduler may be away before the link starts without a successor, and asks again while it trains. */
const submitPatienceMs = 120_000;
/** Between two attempts to submit it while the link trains; doubled after each. */
const submitAgainMs = { first: 5000, most: 300_000 };

/** Behind both sentinels: a controller that slept has slept once. */
const standByPlace = 2;

/** Runs a link to its end. Returns why it ended. */
export async function runLink(options: LinkOptions): Promise<LinkEndFile> {
  const link = new Link(options);
  try {
    return await link.run();
  } catch (error) {
    link.failed(error);
    throw error;
  }
}

class Link {
  private readonly link: LinkContext;
  private readonly options: LinkOptions;
  private readonly folder: CampaignFolder;
  private readonly name: string;
  private readonly growth: LinkGrowth;
  /** Nodes that are no longer used in this link, and why. */
  private readonly lost = new Map<string, string>();
  private successor: string | undefined;
  /** The one after it. */
  private reserve: string | undefined;
  /** The folder that was made for a job that could not be submitted yet. */
  private successorName: string | undefined;
  private submitting: Promise<void> | undefined;
  private ends: number | undefined;
  /** Set once the training was told to leave, to start on more nodes: here, with nodes that are back, or in a successor. */
  private growing: Found | undefined;
  /** A later link is at work. */
  private isSuperseded = false;

  constructor(options: LinkOptions) {
    this.link = new LinkContext(options);
    this.options = options;
    this.folder = options.folder;
    this.name = this.link.name;
    this.growth = new LinkGrowth(this.link, this.lost);
  }

  async run(): Promise<LinkEndFile> {
    const { folder, options } = this;
    const { log, engine, job, takeover } = options;
    const told = await this.link.tellJob();
    const began = takeover ? folder.record<LinkBeginFile>(this.name, 'begin.json')?.time : undefined;
    // Where nobody tells: the job began moments before its controller did.
    this.ends = told?.ends ?? (began ?? now()) + linkShape(options.campaign.spec, options.site).timeSeconds;
    if (takeover) return await this.goOn(takeover);
    const nodes = [told?.nodes, options.allocated, [hostname()]].find((each) => each?.length) as readonly string[];
    const begin: LinkBeginFile = { time: now(), job, nodes, host: hostname() };
    await this.writeBegin(begin);
    log.line(`link ${this.name}: job ${job} on ${nodes.join(', ')}`);
    const stopped = folder.stopped();
    if (stopped) return await this.end('stop', `the chain stands: ${stopped.why}`);
    if (engine.progress().isFinished) return await this.finish();
    this.keepAlive();
    this.startSentinels(nodes, nodes[0]);
    await this.submitSuccessor();
    await settleBefore(this.link);
    const inVain = await this.stopIfInVain();
    if (inVain) return inVain;
    const more = this.successor === undefined ? undefined : await this.growth.atBeginning(nodes);
    if (more) return await this.giveWay(more);
    return await this.train(await this.vetted(nodes), nodes);
  }

  /**
   * Waits for room where the disk is full: without this file nobody knows that the link runs, and a link that ended here would
   * be the last one, since nothing is submitted yet.
   */
  private async writeBegin(begin: LinkBeginFile): Promise<void> {
    const { log, signal } = this.options;
    for (let isTold = false; ; isTold = true) {
      try {
        this.folder.write(this.name, 'begin.json', begin);
        return;
      } catch (error) {
        // Rights that are missing do not come by waiting.
        if (signal?.aborted || error instanceof UserError) throw error;
        if (!isTold) log.line(`link ${this.name}: it waits until it can write: ${errorText(error)}`);
        await wait(1000);
      }
    }
  }

  /** Leaves a word where this process ends by an exception, so that neither the next link nor a person has to guess. */
  failed(error: unknown): void {
    const why = `its controller failed: ${errorText(error)}`;
    this.link.event('controller-failed', { why: errorText(error) });
    try {
      if (this.link.isTakenOver || existsSync(this.folder.link(this.name, 'end.json'))) return;
      const verdict = { domain: 'unknown', cause: 'controller', line: errorText(error) } as const;
      const end: LinkEndFile = { time: now(), why, next: 'successor', verdict };
      this.folder.write(this.name, 'end.json', end);
    } catch {
      // The disk that it failed for. The next link asks the scheduler.
    }
  }

  /** Goes on in the same job for a controller that fell silent, on the nodes that it trained on, without its own. */
  private async goOn({ from, why, time }: TakeoverFile): Promise<LinkEndFile> {
    const { folder, options, name } = this;
    const nodes = folder.record<LinkBeginFile>(name, 'begin.json')?.nodes ?? [];
    options.log.line(`link ${name}: ${hostname()} takes over: ${why}`);
    this.link.event('takeover', { from, why });
    this.keepAlive();
    // Ranks of other trainers may wait for those that are gone for long, and hold their memory.
    await options.steps.endOthers();
    const last = folder.launches(name).at(-1);
    const trained = last === undefined ? undefined : folder.record<LaunchFile>(name, 'steps', last, 'step.json');
    // What they were left for is not known here, so they stay out until the next link.
    for (const node of nodes) if (trained && !trained.nodes.includes(node)) this.lost.set(node, 'left before');
    this.lost.set(from, 'node-failure');
    this.startSentinels(
      nodes.filter((node) => !this.lost.has(node)),
      options.takeover?.host,
    );
    await this.submitSuccessor();
    await settleBefore(this.link);
    settleLaunches(this.link, name, {
      over: time,
      dead: [from],
      outcome: undefined,
      why: 'the controller fell silent',
    });
    const inVain = await this.stopIfInVain();
    if (inVain) return inVain;
    if (this.isTooLate) return await this.end('successor', `${why}; too little time is left to start again`);
    return await this.train(nodes, nodes);
  }

  private async stopIfInVain(): Promise<LinkEndFile | undefined> {
    const past = failures(this.link);
    const last = past.at(-1);
    if (!last) return undefined;
    const decision = decide(past, this.options.campaign.spec.restart);
    return decision.restart ? undefined : await this.giveUp(decision.why, last.verdict);
  }

  /** Starts the training until the link is over. */
  private async train(usable: readonly string[], all: readonly string[]): Promise<LinkEndFile> {
    for (let index = this.folder.launches(this.name).length; ; index++) {
      const answer = await this.launch(
        index,
        usable.filter((node) => !this.lost.has(node)),
        all,
      );
      if (answer) return answer;
    }
  }

  /** The link that was begun after this one, where there is one: this job is over, and its controller did not notice. */
  private get laterLink(): string | undefined {
    const { folder, name } = this;
    return folder.links().find((each) => Number(each) > Number(name) && folder.record(each, 'begin.json'));
  }

  /** The end of this link where somebody else decides by now, who must find everything as they left it. */
  private async ousted(): Promise<LinkEndFile | undefined> {
    if (this.link.isTakenOver) return await this.standBy();
    const { laterLink } = this;
    if (laterLink === undefined) return undefined;
    this.isSuperseded = true;
    this.link.event('superseded', { by: laterLink });
    return await this.end('successor', 'a later link has taken over');
  }

  /** Not enough time for a start and a save. */
  private get isTooLate(): boolean {
    const { campaign, site } = this.options;
    return this.ends !== undefined && this.ends - now() < linkShape(campaign.spec, site).warningSeconds;
  }

  /**
   * Somebody has taken over, in this job. It would be over for them, too, if this process ended, once its node is back: Slurm
   * waits for the batch script. It keeps watch, for they may be the last one that does.
   */
  private async standBy(): Promise<LinkEndFile> {
    const { folder, options, name } = this;
    const { scheduler, campaign, signal, host = hostname() } = options;
    this.link.event('stands-by', { host });
    const takeover = await keepWatch({
      ...{ folder, link: name, scheduler, host, silenceSeconds: campaign.spec.silenceSeconds },
      place: standByPlace,
      ...(signal ? { signal } : {}),
    });
    if (takeover) return await runLink({ ...options, takeover });
    const end = folder.record<LinkEndFile>(name, 'end.json');
    return end ?? { time: now(), why: 'another has taken over', next: 'successor' };
  }

  /** The sign of life that sentinels look for: from a timer, so that it stops with this process and not before. */
  private keepAlive(): void {
    let count = 0;
    const beat = (): void => {
      try {
        if (this.link.isTakenOver) clearInterval(timer);
        else signOfLife(this.folder, this.name, `${process.pid} ${count++}`);
      } catch {
        // The file system is away for a moment.
      }
    };
    const timer = setInterval(beat, 1000).unref();
    beat();
  }

  /** On two of these nodes, if they are others; where one of them dies the other is left. */
  private startSentinels(nodes: readonly string[], own: string | undefined): void {
    const { steps, campaign, job } = this.options;
    for (const [place, node] of nodes
      .filter((each) => each !== own)
      .slice(-2)
      .entries()) {
      const argv = [
        ...[...campaign.belay, 'campaign', 'sentinel', '--out', this.folder.dir],
        ...['--link', this.name, '--job', job, '--place', `${place}`],
      ];
      try {
        steps.background(node, argv, this.folder.link(this.name, 'sentinels.txt'));
      } catch (error) {
        // A full disk has no room for its log. The job may do without; the chain may not do without what follows.
        this.link.event('no-sentinel', { node, why: errorText(error) });
      }
    }
  }

  /**
   * Before anything else: whatever happens to this job, the chain has a next one; and one after that, for a job can end before
   * its controller runs: its node dies, or a prolog fails.
   */
  private async submitSuccessor(patienceMs = submitPatienceMs): Promise<void> {
    const { campaign, site, scheduler, signal, job } = this.options;
    const request = linkRequest(campaign, site, this.folder);
    const deadline = Date.now() + patienceMs;
    for (;;) {
      try {
        const waiting = (await scheduler.jobs({ name: request.name }))
          .filter(({ id, state }) => state === 'pending' && id !== job)
          .map(({ id }) => id)
          .sort((a, b) => Number(a) - Number(b));
        // Those that wait were submitted by a link before this one.
        this.successor = waiting[0] ?? (await this.submitNext(request));
        this.reserve = waiting[1] ?? (await this.submitReserve(request));
        return;
      } catch (error) {
        const again = error instanceof SchedulerError && error.retryable && Date.now() < deadline && !signal?.aborted;
        this.link.event('no-successor', { why: errorText(error), again });
        if (!again) {
          this.options.log.line(`link ${this.name}: no successor: ${errorText(error)}`);
          return;
        }
        await wait(1000);
      }
    }
  }

  /** Nodes to train on: those of the allocation without the sick ones, if enough are left. */
  private async vetted(nodes: readonly string[]): Promise<readonly string[]> {
    const { vet, campaign, log } = this.options;
    if (!vet) return nodes;
    try {
      const result = await vet(nodes, this.name);
      for (const note of result.notes) this.link.event('vet-note', { note });
      if (result.refused !== undefined) this.link.event('vet-refused', { why: result.refused });
      for (const { node, verdict, why, by } of result.verdicts) {
        if (verdict === 'sick') {
          this.link.event('sick-node', { node, why, by, excluded: result.excluded.includes(node) });
          log.line(`link ${this.name}: ${node} is sick: ${why}`);
        }
      }
      const healthy = nodes.filter((node) => !result.excluded.includes(node));
      if (healthy.length >= campaign.spec.nodes.min) return healthy;
      this.link.event('vet-refused', {
        why: `without the sick nodes ${healthy.length} would be left of at least ${campaign.spec.nodes.min}`,
      });
      return nodes;
    } catch (error) {
      // The training itself is the better test where the probe cannot run.
      this.link.event('vet-failed', { why: errorText(error) });
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
    const ousted = await this.ousted();
    if (ousted) return ousted;
    const cleaned = engine.prepare();
    if (cleaned.unfinished.length > 0) this.link.event('unfinished', { checkpoints: [...cleaned.unfinished] });
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
    const holder = breakLock(join(folder.dir, 'run.lock'), linkNodes(this.link, all));
    if (holder) this.link.event('lock-broken', { host: holder.host, pid: holder.pid });
    const command = engine.step({ nodes, tasksPerNode, folder: place, job: options.job, index });
    for (const { name, text } of command.files) writeFileSync(join(place, name), text);
    await this.runBefore(command, place);
    const began = now();
    folder.write(this.name, `steps/${launch}/step.json`, { time: began, nodes, world, from: before.step });
    this.link.event('launch', { launch, nodes: [...nodes], world, from: before.step });
    log.line(`link ${this.name}: start ${launch} on ${nodes.length} nodes, ${world} ranks, from step ${before.step}`);
    // Made first: hearts that beat already are those of others.
    const watcher = options.watch?.({ link: this.name, launch, nodes, world, folder: place });
    const running = await steps.start({
      ...{ nodes, tasksPerNode, command, log: join(place, 'log.txt') },
      env: { BELAY_STARTED_BY: `link ${this.name} step ${launch}` },
    });
    if (index === 0) void recordPast(this.link);
    const training = { nodes: nodes.length, usable: usable.length, began, before: before.step, looked: 0 };
    await this.watchOver(running, watcher, join(place, 'log.txt'), training);
    await watcher?.end();
    const { exit, signal } = await running.ended;
    const oustedMeanwhile = await this.ousted();
    if (oustedMeanwhile) return oustedMeanwhile;
    const verdict = engine.verdict({ exit, signal, before });
    return await this.afterLaunch(launch, verdict, { exit, signal, began, from: before.step, nodes, all, watcher });
  }

  private async runBefore(command: StepCommand, place: string): Promise<void> {
    for (const { what, argv } of command.before) {
      const ended = await this.options.steps.here(argv, join(place, 'before.txt'));
      if (ended !== 0) this.link.event('before-failed', { what, exit: ended });
    }
  }

  private async giveWay(growth: Growth): Promise<LinkEndFile> {
    return await this.end('successor', `the next link can have ${growth.to} nodes`, { growth });
  }

  /** Waits for the training, answers requests. Ends it where somebody else decides by now. */
  private async watchOver(
    running: Running,
    watcher: LinkWatcher | undefined,
    logPath: string,
    training: Training,
  ): Promise<void> {
    const { engine, signal } = this.options;
    const { folder } = this;
    let killAt = Number.POSITIVE_INFINITY;
    let isOver = false;
    let isStopping = false;
    let looking: Promise<unknown> | undefined;
    let found = this.growing;
    void running.ended.then(() => (isOver = true));
    let submitAt = Date.now() + submitAgainMs.first;
    let submitEvery = submitAgainMs.first;
    const log = new Follower(logPath);
    const told = new Set<string>();
    const tellOnce = (event: string, error: unknown): void => {
      const why = errorText(error);
      if (!told.has(`${event} ${why}`)) this.link.event(event, { why });
      told.add(`${event} ${why}`);
    };
    while (!isOver) {
      await Promise.race([running.ended, wait(tickMs)]);
      if (isOver) break;
      try {
        if (this.link.isTakenOver || this.laterLink !== undefined) {
          await running.kill();
          break;
        }
        if (/\brank \d+(?: on \S+)? was lost\b/.test(log.more()))
          killAt = Math.min(killAt, Date.now() + lostPatienceMs);
        if (folder.isRequested('save')) {
          engine.ask('save');
          folder.answered('save');
          this.link.event('asked', { what: 'save' });
        }
        if (folder.isRequested('stop') && killAt === Number.POSITIVE_INFINITY) {
          engine.ask('stop');
          folder.answered('stop');
          isStopping = true;
          this.link.event('asked', { what: 'stop' });
        }
        if (this.reserve === undefined && !this.submitting && !isStopping && Date.now() >= submitAt) {
          submitEvery = Math.min(2 * submitEvery, submitAgainMs.most);
          // Beside the watching, too.
          this.submitting = this.submitSuccessor(0).finally(() => {
            this.submitting = undefined;
            submitAt = Date.now() + submitEvery;
          });
        }
        if (!this.growing && this.successor !== undefined && !isStopping && killAt === Number.POSITIVE_INFINITY) {
          // Where nothing tells of steps, a new checkpoint does.
          const taken = watcher?.stepsTaken || Math.max(0, engine.progress().step - training.before);
          // Beside the watching: a scheduler that is away takes its time.
          looking ??= this.growth
            .whileTraining(training, taken, this.ends)
            .then((growth) => (found = growth))
            .catch((error: unknown) => this.link.event('growth-failed', { why: errorText(error) }))
            .finally(() => (looking = undefined));
          if (found) {
            this.growing = found;
            const { from, to, back } = found;
            this.link.event('grow', { from, to, ...(back ? { back: [...back] } : {}) });
            running.pause(this.options.site.slurm.warningSignal);
          }
        }
      } catch (error) {
        // A file system that is away, a file that is being written: the next look finds more.
        tellOnce('look-failed', error);
      }
      if (signal?.aborted && killAt === Number.POSITIVE_INFINITY) killAt = Date.now() + leavePatienceMs;
      if (watcher?.hang) killAt = Math.min(killAt, Date.now());
      if (Date.now() >= killAt) {
        this.link.event('killed', { why: watcher?.hang ? 'it hangs' : 'it did not end by itself' });
        await running.kill();
        killAt = Number.MAX_SAFE_INTEGER;
      }
      try {
        await watcher?.tick();
      } catch (error) {
        // Nobody trains for the sake of being watched.
        tellOnce('watch-failed', error);
      }
    }
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
      const silent = options.signal?.aborted
        ? []
        : await this.silentNodes(nodes, options.takeover?.host ?? facts.all[0], said);
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
      // The questions took their time; whoever took over in it has settled this start already.
      const ousted = await this.ousted();
      if (ousted) return ousted;
    }
    const number = signal === null ? undefined : constants.signals[signal as NodeJS.Signals];
    folder.write(this.name, `steps/${launch}/end.json`, {
      ...{ time: now(), exit, outcome, why, from, to },
      ...(number === undefined ? {} : { signal: number }),
      ...(lastStep === undefined ? {} : { lastStep }),
      ...(verdict === undefined ? {} : { verdict }),
    } satisfies LaunchEndFile);
    this.link.event('launch-end', {
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
        const decision = decide(failures(this.link), campaign.spec.restart);
        if (!decision.restart) return await this.giveUp(decision.why, verdict);
        if (options.signal?.aborted) return await this.end('successor', 'the job is being ended', { verdict });
        if (this.isTooLate) {
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
    const { growing } = this;
    if (!growing) return await this.end('successor', why);
    const { from, to, back } = growing;
    if (!back) return await this.giveWay({ from, to });
    if (this.isTooLate) return await this.end('successor', why);
    for (const node of back) this.lost.delete(node);
    // Where a node was switched off nobody keeps watch there any more.
    const first = this.folder.record<LinkBeginFile>(this.name, 'begin.json')?.nodes[0];
    this.startSentinels(back, this.options.takeover?.host ?? first);
    this.growing = undefined;
    this.growth.regrown++;
    return undefined;
  }

  /** Nodes that do not start a process within seconds. Those that ranks have lost get little more time than the others take. */
  private async silentNodes(nodes: readonly string[], own: string | undefined, said: string): Promise<string[]> {
    const suspects = new Set([...said.matchAll(/\brank \d+ on (\S+) was lost\b/g)].map(([, node]) => node as string));
    const answered = new Set<string>();
    const ask = async (node: string): Promise<void> => {
      if (await this.options.steps.answers(node)) answered.add(node);
    };
    const all = own === undefined ? nodes : [...new Set([...nodes, own])];
    const asked = new Map(all.map((node) => [node, ask(node)]));
    await Promise.all(all.filter((node) => !suspects.has(node)).map((node) => asked.get(node)));
    await Promise.race([Promise.all(asked.values()), wait(suspectPatienceMs)]);
    const silent = nodes.filter((node) => !answered.has(node));
    if (silent.length === 0 || own === undefined || answered.has(own)) return silent;
    // Its own node may be one that is not trained on, because it is sick; those that answer say that Slurm does.
    if (!nodes.includes(own) && answered.size > 0) return silent;
    // This process runs there. So Slurm starts nothing at all in this job: it is away, or ends the job and will say so at once.
    this.link.event('no-answers', { nodes: silent });
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
    if (this.link.isTakenOver) return await this.standBy();
    await this.submitting;
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
    // The last moment in which the chain can be kept from ending with this job.
    if (next === 'successor' && !this.isSuperseded && this.successor === undefined) await this.submitSuccessor();
    return end;
  }

  private async submitNext(request: JobRequest): Promise<string> {
    const { folder } = this;
    this.successorName ??= folder.newLink();
    const link = this.successorName;
    folder.writeScript(link, batchScript(request));
    const job = await this.options.scheduler.submit(request);
    this.successorName = undefined;
    folder.write(link, 'job.json', { job, submitted: now(), predecessor: this.name });
    this.link.event('successor', { job, link });
    return job;
  }

  /** Some sites let a user queue few jobs: the chain does without. */
  private async submitReserve(request: JobRequest): Promise<string | undefined> {
    try {
      return await this.submitNext(request);
    } catch (error) {
      this.link.event('no-reserve', { why: errorText(error) });
      return undefined;
    }
  }

  /** Slurm starts a job once it has the fewest nodes; those of this one become free one after the other. */
  private async delaySuccessor(): Promise<void> {
    const { campaign, scheduler } = this.options;
    const { min, max } = linkRequest(campaign, this.options.site, this.folder).nodes;
    if (this.successor === undefined || min === max || scheduler.lacks.has('update')) return;
    try {
      await scheduler.update(this.successor, { beginSeconds: freeingSeconds });
    } catch (error) {
      this.link.event('not-delayed', { why: errorText(error) });
    }
  }

  /** A successor that cannot be taken back finds that the chain stands, and leaves. */
  private async cancelSuccessors(): Promise<void> {
    const { scheduler, campaign, job } = this.options;
    try {
      const waiting = await scheduler.jobs({ name: CampaignFolder.jobName(campaign) });
      for (const { id, state } of waiting) if (state === 'pending' && id !== job) await scheduler.cancel(id);
    } catch (error) {
      this.link.event('not-cancelled', { why: errorText(error) });
    }
  }
}
