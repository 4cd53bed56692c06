// The ranks of `belay pretrain`: rank 0 runs the line, the others wait for it and train with it.
//
// With --ranks N this process is rank 0 and starts N - 1 copies of itself when training begins. Under srun or mpirun all
// ranks are there from the start; every one but the first waits until rank 0 comes to the training, or tells it that
// there is none. They meet through a file in the run folder.
//
// Does not: train; pretrain-stage.ts does, on every rank.
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { makeFolder } from '../base/atomic.ts';
import { exitCodes, Paused, UserError } from '../base/errors.ts';
import { hashJson } from '../base/hashing.ts';
import type { Json } from '../base/json.ts';
import { type Log, silentLog } from '../base/progress.ts';
import { version } from '../base/version.ts';
import { connectGroup, type Group, LostPeer, soloGroup } from '../parallel/group.ts';
import { type LocalRanks, type RankPlace, ranksFromEnvironment, spawnRanks } from '../parallel/local-group.ts';
import { selectedBackend } from '../tensor/backend-select.ts';
import { loadRun, type Run, stageFolders } from './run-folder.ts';
import { control } from './signals.ts';

export type Transport = 'tcp' | 'mpi';

/** What rank 0 tells the others, each time they wait for it. */
type Order =
  | { readonly do: 'train'; readonly recipe: string; readonly allowOtherTarget: boolean }
  /** Nothing more is to be trained; they leave with rank 0's exit code. */
  | { readonly do: 'end'; readonly code: number };

/** What a rank other than the first does when there is something to train. */
export type Follow = (run: Run, group: Group) => Promise<void>;

export interface RanksOptions {
  /** The run folder. */
  readonly out: string;
  /** --ranks; 1 where nobody asked. */
  readonly ranks: number;
  readonly transport: Transport;
  readonly heartbeatSeconds: number;
  readonly log: Log;
}

/** Names of rendezvous files in a run folder: parts of no artefact, even where a killed run left one. */
const rendezvousName = { before: '.ranks-', after: '.json' };

export function isRendezvous(name: string): boolean {
  return name.startsWith(rendezvousName.before) && name.endsWith(rendezvousName.after);
}

/** How long ranks of one command wait for each other to start. */
const patienceSeconds = 300;

/** The ranks as rank 0 sees them. */
export class Ranks {
  private readonly options: RanksOptions;
  private readonly place: RankPlace | undefined;
  private group: Group | undefined;
  private local: LocalRanks | undefined;
  private isTraining = false;

  private constructor(options: RanksOptions, place: RankPlace | undefined, group?: Group) {
    this.options = options;
    this.place = place;
    this.group = group;
  }

  /** On rank 0, or where there is one rank: the others are here, or will be started when they are needed. */
  static async first(options: RanksOptions, place: RankPlace | undefined): Promise<Ranks> {
    return new Ranks(options, place, place && (await connect(options, place)));
  }

  get world(): number {
    return this.place?.world ?? this.options.ranks;
  }

  /** The group, with every rank ready to train the run in its folder. */
  async begin(run: Run): Promise<Group> {
    if (this.world === 1) return soloGroup();
    if (!this.group) this.group = await this.start();
    hearSignalsToTheEnd();
    tell(this.group, {
      do: 'train',
      recipe: hashJson(run.recipe as unknown as Json),
      allowOtherTarget: run.allowOtherTarget,
    });
    this.isTraining = true;
    return this.group;
  }

  /** Training is over: the others wait for the next order. */
  trained(): void {
    this.isTraining = false;
  }

  /** What went wrong, in the words of the rank that it happened to. */
  async explain(error: unknown): Promise<unknown> {
    if (!(error instanceof LostPeer)) return error;
    return (await this.local?.explain()) ?? error;
  }

  /** Lets the others go: nothing more is to be trained. */
  async end(): Promise<void> {
    if (!this.group) return;
    tell(this.group, { do: 'end', code: exitCodes.finished });
    this.group.close();
    this.group = undefined;
    process.off('SIGUSR2', pause);
    await this.local?.ended();
  }

  /** After an error here. Ranks that wait for an order are told; others end by themselves, as they have lost us. */
  async abandon(error: unknown): Promise<void> {
    if (this.group && !this.isTraining && !(error instanceof LostPeer)) {
      tell(this.group, { do: 'end', code: error instanceof UserError ? error.exitCode : exitCodes.bug });
    }
    this.group?.close();
    this.group = undefined;
    // A rank that was paused with us exits by itself; one that hangs is ended.
    await Promise.race([this.local?.ended().catch(() => undefined), setTimeout(5000, undefined, { ref: false })]);
    this.local?.kill();
  }

  private async start(): Promise<Group> {
    const { options } = this;
    const { ranks: world, out, log } = options;
    const logs = join(resolve(out), stageFolders.pretrain, 'attempts');
    mkdirSync(logs, { recursive: true });
    const local = spawnRanks({
      world,
      command: process.execPath,
      args: [...process.execArgv, process.argv[1] as string, ...process.argv.slice(2)],
      logFor: (rank) => join(logs, `rank-${rank}.log`),
    });
    this.local = local;
    // Kernels are not running yet: this process takes its share of the cores, as the others do.
    const { backend } = selectedBackend();
    if (process.env['BELAY_THREADS'] === undefined) backend.threads = local.threads;
    log.line(
      `${world} ranks on this machine, ${local.threads} thread${local.threads === 1 ? '' : 's'} each; their logs are in ${logs}`,
    );
    const place = { rank: 0, world, rendezvous: local.rendezvous, host: undefined };
    const connecting = new AbortController();
    local.casualty.catch(() => connecting.abort());
    const group = connect(options, place, connecting.signal);
    group.catch(() => undefined);
    return await Promise.race([group, local.casualty]);
  }
}

/** Runs `lead` where this process is rank 0 or alone, and follows rank 0 anywhere else. */
export async function withRanks(
  options: RanksOptions,
  lead: (ranks: Ranks) => Promise<void>,
  follow: Follow,
): Promise<void> {
  const place = ranksFromEnvironment(process.env);
  if (place && options.ranks !== 1 && options.ranks !== place.world) {
    throw new UserError(`--ranks ${options.ranks} is not the number of processes that were started`, {
      found: `${place.world} processes`,
      next: 'leave out --ranks, or start so many',
    });
  }
  if (place && place.rank > 0) {
    await followFirst(options, place, follow);
    return;
  }
  const ranks = await Ranks.first(options, place);
  try {
    await lead(ranks);
    await ranks.end();
  } catch (error) {
    const why = await ranks.explain(error);
    await ranks.abandon(error);
    throw why;
  }
}

async function followFirst(options: RanksOptions, place: RankPlace, follow: Follow): Promise<void> {
  // Ranks of srun and mpirun share one output, where rank 0 already says it all; ours have log files.
  const log = process.env['BELAY_RANK'] === undefined ? silentLog : options.log;
  const group = await connect(options, place);
  try {
    for (;;) {
      const order = JSON.parse(Buffer.from(group.allGather(Buffer.alloc(0))[0] as Uint8Array).toString()) as Order;
      if (order.do === 'end') {
        if (order.code !== exitCodes.finished) process.exitCode = order.code;
        return;
      }
      hearSignalsToTheEnd();
      const run = loadRun(options.out, { log, allowOtherTarget: order.allowOtherTarget });
      if (hashJson(run.recipe as unknown as Json) !== order.recipe) {
        throw new UserError(`rank ${place.rank} reads another recipe in ${options.out} than rank 0`, {
          next: 'the run folder must be the same on all hosts; a shared file system may lag behind: run again',
        });
      }
      await follow(run, group);
    }
  } catch (error) {
    // Rank 0 says why the run was paused; here only the exit code counts.
    if (error instanceof Paused) process.exitCode = exitCodes.paused;
    else throw error;
  } finally {
    group.close();
  }
}

/**
 * The ranks of a job get SIGUSR2 one after the other, on many hosts over a while. All pause when one of them heard it, so
 * another may get it when it has saved and no training looks any more; it must not die of it then.
 */
function hearSignalsToTheEnd(): void {
  if (!process.listeners('SIGUSR2').includes(pause)) process.on('SIGUSR2', pause);
}

function pause(): void {
  control.request ??= 'save-and-exit';
}

async function connect(
  { out, transport, heartbeatSeconds }: RanksOptions,
  place: RankPlace,
  signal?: AbortSignal,
): Promise<Group> {
  const { backend } = selectedBackend();
  const { rank, world, rendezvous, host } = place;
  const dir = resolve(out);
  makeFolder(dir);
  return await connectGroup({
    rank,
    world,
    transport,
    rendezvous: { file: join(dir, `${rendezvousName.before}${rendezvous}${rendezvousName.after}`) },
    token: rendezvous,
    hello: { version, target: backend.target },
    heartbeatSeconds,
    timeoutSeconds: patienceSeconds,
    ...(host === undefined ? {} : { host }),
    ...(signal ? { signal } : {}),
  });
}

function tell(group: Group, order: Order): void {
  group.allGather(Buffer.from(JSON.stringify(order)));
}
