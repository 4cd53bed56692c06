// Watches a training from outside: who is slow, whether it hangs and where, what its numbers do.
//
// The controller of a link makes a Watcher when it starts the ranks and lets it look every second or so. What it sees are files:
// beats of the ranks (heartbeat.ts) and the steps of the attempt (step-watch.ts). Clocks of hosts are not compared: what counts
// is when the watcher itself saw a number change.
//
// A hang is no step for many times the usual time. Ranks that beat are asked for their JavaScript stacks; about those that are
// silent the kernel of their node is asked. Everything is kept in `campaign/health/hang-LINK-1.json`; alerts go to
// `campaign/alerts.jsonl`, one line when they begin and one when they are over, and to a webhook.
//
// Does not: act on what it sees. The controller does (it knows the policy).
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { appendEvent } from '../../base/events.ts';
import type { Json } from '../../base/json.ts';
import {
  type Heartbeat,
  readHeartbeats,
  readStackAnswers,
  replaceFile,
  requestStacks,
  type StackAnswer,
} from './heartbeat.ts';
import type { ThreadState } from './process-state.ts';
import { lowerMedian, type RankScore, Scores } from './scores.ts';
import { StepWatch, type StepWatchSettings } from './step-watch.ts';
import type { Webhook } from './webhook.ts';

export interface WatchSettings extends StepWatchSettings {
  /** Between two looks at least; longer where a look takes long, so that looking takes a tenth of the time at most. */
  readonly lookSeconds: number;
  /** Steps that scores are measured over. */
  readonly scoreSteps: number;
  /** A rank whose relative score is less is a straggler. */
  readonly stragglerBelow: number;
  /** A hang is no step for so many times the usual step, and no less than so many seconds. */
  readonly hangFactor: number;
  readonly hangSeconds: number;
  /** The same while ranks start, save or validate. */
  readonly hangSecondsElsewhere: number;
  /** A rank without a beat for so long is silent. */
  readonly silentSeconds: number;
  /** How long stacks are waited for. */
  readonly collectSeconds: number;
}

export const watchDefaults: WatchSettings = {
  lookSeconds: 0.5,
  scoreSteps: 20,
  stragglerBelow: 0.7,
  hangFactor: 10,
  hangSeconds: 60,
  hangSecondsElsewhere: 1800,
  silentSeconds: 15,
  collectSeconds: 5,
  lossWindow: 100,
  lossDeviations: 8,
  throughputWindow: 20,
  throughputBelow: 0.7,
};

export type AlertKind = 'straggler' | 'hang' | 'not-finite' | 'loss-spike' | 'throughput';

/** A line of alerts.jsonl; there it has the time and `event`, which is the kind. */
export interface Alert {
  readonly kind: AlertKind;
  readonly state: 'firing' | 'resolved';
  readonly link: string;
  readonly step: number;
  /** For people. */
  readonly text: string;
  readonly rank?: number;
  readonly node?: string;
  readonly score?: number;
  readonly individual?: number;
  /** Of a hang: the ranks that others wait for, and the file with everything that was collected. */
  readonly ranks?: readonly number[];
  readonly file?: string;
}

/** What is known of a rank in a hang. */
export interface StuckRank {
  readonly rank: number;
  readonly node: string;
  readonly pid: number;
  readonly place: string;
  /** Seconds since its last beat, as the watcher saw it. */
  readonly silentSeconds: number;
  readonly stack?: readonly string[];
  readonly thread?: ThreadState;
  /** Why nothing is known of a silent rank. */
  readonly unknown?: string;
  /** Whether the others wait for it. */
  readonly isCulprit: boolean;
}

/** Asks the kernel of a rank's host about its main thread; rejects where the host does not answer. */
export type Probe = (beat: Heartbeat) => Promise<ThreadState | undefined>;

export interface WatcherOptions {
  /** The campaign folder. */
  readonly dir: string;
  /** Name of the link: `0003`. */
  readonly link: string;
  /** The stage that trains. */
  readonly training?: string;
  readonly settings?: Partial<WatchSettings>;
  readonly probe?: Probe;
  readonly webhook?: Webhook;
  /** Seconds of a clock that only goes forward. */
  readonly clock?: () => number;
}

/** Places in which a rank waits for others: it is not the one that hangs. */
const waitingPlaces = ['exchange', 'between steps', 'ended'];
/** Places in which a step may take as long as it takes. */
const slowPlaces = ['starting', 'saving', 'validating'];

interface Life {
  readonly beat: Heartbeat;
  /** When the watcher saw it first. */
  readonly seen: number;
  /** Whether it was seen to change: what lay there before is no sign of life. */
  readonly isAlive: boolean;
}

interface Collection {
  readonly id: string;
  readonly began: number;
  readonly still: number;
  readonly probed: Map<number, { readonly thread?: ThreadState; readonly unknown?: string }>;
  readonly asked: readonly number[];
}

export class Watcher {
  private readonly options: WatcherOptions;
  private readonly settings: WatchSettings;
  private readonly health: string;
  private readonly clock: () => number;
  /** Attempts up to this one were over when the watch began. */
  private readonly before: number;
  private lives = new Map<number, Life>();
  private attempt = 0;
  private scores: Scores;
  private steps: StepWatch | undefined;
  private progress = { total: -1, seen: 0 };
  private stepSeconds: number[] = [];
  private rememberedAt = 0;
  private slowLooks = new Map<number, number>();
  private readonly open = new Map<string, Alert>();
  private collecting: Collection | undefined;
  private hangs = 0;
  private nextLook = 0;
  private told: Alert[] = [];
  private readonly deliveries = new Set<Promise<void>>();

  constructor(options: WatcherOptions) {
    this.options = options;
    this.settings = { ...watchDefaults, ...options.settings };
    this.health = join(options.dir, 'campaign', 'health');
    this.clock = options.clock ?? (() => performance.now() / 1000);
    this.scores = new Scores(this.settings.scoreSteps);
    const old = readHeartbeats(this.health);
    this.before = Math.max(0, ...old.map(({ attempt }) => attempt));
    const seen = this.clock();
    this.lives = new Map(old.map((beat) => [beat.rank, { beat, seen, isAlive: false }]));
    this.progress.seen = seen;
  }

  /** The scores of now. */
  get rankScores(): readonly RankScore[] {
    return this.scores.get();
  }

  /** Looks, unless it just did; returns the alerts that began or ended. */
  tick(): readonly Alert[] {
    const began = this.clock();
    if (began < this.nextLook) return [];
    this.told = [];
    const beats = this.readBeats();
    const hasStepped = this.noteProgress(beats);
    if (hasStepped) this.judgeSpeed(beats);
    this.judgeSteps();
    this.judgeHang(beats, hasStepped);
    const ended = this.clock();
    this.nextLook = began + Math.max(this.settings.lookSeconds, 10 * (ended - began));
    return this.told;
  }

  /** The ranks are gone: what was wrong with them is over. Waits for the webhook, within reason. */
  async close(): Promise<readonly Alert[]> {
    this.told = [];
    for (const key of [...this.open.keys()]) this.resolve(key, 'the ranks ended');
    await Promise.all(this.deliveries);
    return this.told;
  }

  /** Beats of the attempt that runs, of ranks that were seen alive. */
  private readBeats(): Heartbeat[] {
    const now = this.clock();
    const lives = new Map<number, Life>();
    for (const beat of readHeartbeats(this.health)) {
      if (beat.attempt !== 0 && beat.attempt <= this.before) continue;
      const known = this.lives.get(beat.rank);
      const isSame = known && known.beat.beat === beat.beat && known.beat.pid === beat.pid;
      lives.set(beat.rank, isSame ? known : { beat, seen: now, isAlive: true });
    }
    this.lives = lives;
    const alive = [...lives.values()].filter(({ isAlive }) => isAlive).map(({ beat }) => beat);
    const attempt = Math.max(0, ...alive.map((beat) => beat.attempt));
    if (attempt !== this.attempt) {
      this.attempt = attempt;
      this.scores = new Scores(this.settings.scoreSteps);
      this.slowLooks.clear();
      this.stepSeconds = [];
      this.rememberedAt = 0;
      const { dir, training = 'pretrain' } = this.options;
      const folder = join(dir, training, 'attempts', String(attempt).padStart(4, '0'));
      this.steps = new StepWatch(join(folder, 'steps.jsonl'), this.settings);
    }
    return alive.filter((beat) => beat.attempt === attempt);
  }

  private noteProgress(beats: readonly Heartbeat[]): boolean {
    const total = beats.reduce((sum, { steps, attempt }) => sum + steps + attempt, 0);
    if (total === this.progress.total) return false;
    this.progress = { total, seen: this.clock() };
    const first = beats[0];
    if (first && first.steps > 0) this.stepSeconds.push(first.stepSeconds);
    if (this.stepSeconds.length > 64) this.stepSeconds.shift();
    return true;
  }

  private judgeSpeed(beats: readonly Heartbeat[]): void {
    const { stragglerBelow, scoreSteps } = this.settings;
    for (const beat of beats) this.scores.add(beat);
    const scores = this.scores.get();
    for (const { rank, host, relative, latest, individual, steps } of scores) {
      const key = `straggler ${rank}`;
      // Slow over the window, and not only by a hiccup that is over.
      const isSlow = relative < stragglerBelow && latest < (1 + stragglerBelow) / 2;
      const looks = isSlow ? (this.slowLooks.get(rank) ?? 0) + 1 : 0;
      this.slowLooks.set(rank, looks);
      if (looks >= 2) {
        this.fire(key, {
          kind: 'straggler',
          rank,
          node: host,
          score: round(relative),
          individual: round(individual),
          text: `rank ${rank} on ${host} computes at ${percent(relative)} of the speed of its peers (${percent(individual)} of its own), over ${steps} steps`,
        });
      } else if (relative > stragglerBelow + 0.1) this.resolve(key, `rank ${rank} on ${host} keeps up again`);
    }
    const taken = Math.max(0, ...beats.map(({ steps }) => steps));
    if (taken - this.rememberedAt < scoreSteps || scores.length === 0) return;
    this.rememberedAt = taken;
    const slow = scores.filter(({ relative, individual }) => Math.min(relative, individual) < 0.9);
    appendEvent(join(this.health, 'scores.jsonl'), 'scores', {
      link: this.options.link,
      step: this.step,
      ranks: scores.length,
      secondsPerShard: round(lowerMedian(scores.map(({ secondsPerShard }) => secondsPerShard)), 6),
      slow: slow.map(({ rank, host, relative, individual }) => ({
        rank,
        node: host,
        relative: round(relative),
        individual: round(individual),
      })),
    });
    this.scores.remember();
  }

  private judgeSteps(): void {
    const { notFinite, lossSpike, throughput } = this.steps?.look() ?? {};
    if (notFinite) {
      const text = `the loss of step ${notFinite.step} is not a number`;
      this.fire('not-finite', { kind: 'not-finite', step: notFinite.step, text });
    } else this.resolve('not-finite', 'the loss is a number again');
    if (lossSpike) {
      const { step, loss, usual, limit } = lossSpike;
      const text = `the loss of step ${step} is ${loss.toFixed(3)}; usual are ${usual.toFixed(3)}, at most ${limit.toFixed(3)}`;
      this.fire('loss-spike', { kind: 'loss-spike', step, text });
    } else this.resolve('loss-spike', 'the loss is back');
    if (throughput) {
      const text = `throughput is ${percent(throughput.share)} of the usual one`;
      this.fire('throughput', { kind: 'throughput', step: throughput.step, score: round(throughput.share), text });
    } else this.resolve('throughput', 'throughput is back');
  }

  private judgeHang(beats: readonly Heartbeat[], hasStepped: boolean): void {
    const now = this.clock();
    if (hasStepped) {
      this.collecting = undefined;
      this.resolve('hang', 'it goes on');
    }
    const present = beats.filter(({ place }) => place !== 'ended');
    if (present.length === 0) return;
    const { hangFactor, hangSeconds, hangSecondsElsewhere, silentSeconds, collectSeconds } = this.settings;
    const silent = present.filter(({ rank }) => this.silence(rank) > silentSeconds);
    const still = now - this.progress.seen;
    const usual = lowerMedian(this.stepSeconds);
    const isElsewhere = present.some(({ place, steps }) => slowPlaces.includes(place) || steps === 0);
    const limit = isElsewhere ? hangSecondsElsewhere : Math.max(hangSeconds, hangFactor * usual);
    // Where a rank is silent there is no need to wait as long: only for a step that another may still be at.
    const isHang = still > limit || (silent.length > 0 && still > Math.max(silentSeconds, 3 * usual));
    if (!isHang || this.open.has('hang')) return;
    this.collecting ??= this.collect(present, silent, still);
    const { id, began, asked, probed } = this.collecting;
    const answers = new Map(readStackAnswers(this.health, id).map((answer) => [answer.rank, answer]));
    const isComplete = asked.every((rank) => answers.has(rank)) && silent.every(({ rank }) => probed.has(rank));
    if (isComplete || now - began > collectSeconds) this.reportHang(present, answers);
  }

  /** Asks everyone: those that beat by a file, the kernels of the others by a command. */
  private collect(present: readonly Heartbeat[], silent: readonly Heartbeat[], still: number): Collection {
    const id = randomBytes(8).toString('hex');
    requestStacks(this.health, id);
    const probed: Collection['probed'] = new Map();
    for (const beat of silent) {
      const { probe } = this.options;
      if (!probe) {
        probed.set(beat.rank, { unknown: 'nobody can ask its node' });
        continue;
      }
      void probe(beat).then(
        (thread) => void probed.set(beat.rank, thread ? { thread } : { unknown: 'the process is gone' }),
        () => void probed.set(beat.rank, { unknown: 'its node does not answer' }),
      );
    }
    const asked = present.filter((beat) => !silent.includes(beat)).map(({ rank }) => rank);
    return { id, began: this.clock(), still, probed, asked };
  }

  private reportHang(present: readonly Heartbeat[], answers: ReadonlyMap<number, StackAnswer>): void {
    const { link } = this.options;
    const { probed, still } = this.collecting as Collection;
    const ranks = present.map((beat): StuckRank => {
      const { rank, host, pid, place } = beat;
      const silence = this.silence(rank);
      const isSilent = silence > this.settings.silentSeconds;
      const answer = answers.get(rank);
      const known = isSilent ? (probed.get(rank) ?? { unknown: 'its node does not answer' }) : answer;
      return {
        rank,
        node: host,
        pid,
        place: answer?.place ?? place,
        silentSeconds: round(silence, 1),
        ...(answer?.stack ? { stack: answer.stack } : {}),
        ...(known?.thread ? { thread: known.thread } : {}),
        ...(isSilent && 'unknown' in (known ?? {}) ? { unknown: (known as { readonly unknown: string }).unknown } : {}),
        isCulprit: isSilent || !waitingPlaces.includes(answer?.place ?? place),
      };
    });
    const culprits = ranks.filter(({ isCulprit }) => isCulprit);
    const absent = range(Math.max(...present.map(({ world }) => world))).filter((rank) => !this.lives.has(rank));
    const file = join('health', `hang-${link}-${++this.hangs}.json`);
    const seconds = round(still, 1);
    replaceFile(join(this.options.dir, 'campaign', file), { link, step: this.step, seconds, ranks, absent });
    const first = culprits[0];
    this.fire('hang', {
      kind: 'hang',
      ...(first ? { rank: first.rank, node: first.node } : {}),
      ranks: [...culprits.map(({ rank }) => rank), ...absent],
      file,
      text: `no step for ${seconds} s after step ${this.step}: ${causes(culprits, absent)}`,
    });
    this.collecting = undefined;
  }

  private silence(rank: number): number {
    const life = this.lives.get(rank);
    return life ? this.clock() - life.seen : 0;
  }

  /** Steps that the ranks that live have computed since their attempt began. */
  get stepsTaken(): number {
    return Math.max(0, ...[...this.lives.values()].filter(({ isAlive }) => isAlive).map(({ beat }) => beat.steps));
  }

  private get step(): number {
    return Math.max(0, ...[...this.lives.values()].filter(({ isAlive }) => isAlive).map(({ beat }) => beat.step));
  }

  private fire(key: string, what: Omit<Alert, 'state' | 'link' | 'step'> & { readonly step?: number }): void {
    if (this.open.has(key)) return;
    const alert: Alert = { step: this.step, ...what, state: 'firing', link: this.options.link };
    this.open.set(key, alert);
    this.tell(alert);
  }

  private resolve(key: string, text: string): void {
    const alert = this.open.get(key);
    if (!alert) return;
    this.open.delete(key);
    this.tell({ ...alert, state: 'resolved', step: this.step, text });
  }

  private tell(alert: Alert): void {
    const { dir, webhook } = this.options;
    const path = join(dir, 'campaign', 'alerts.jsonl');
    const { kind, ...fields } = alert;
    appendEvent(path, kind, fields as unknown as Readonly<Record<string, Json>>);
    this.told.push(alert);
    if (!webhook) return;
    const delivery = webhook.send({ time: new Date().toISOString(), ...alert }).then((problem) => {
      if (problem !== undefined) appendEvent(path, 'undelivered', { of: kind, state: alert.state, problem });
      this.deliveries.delete(delivery);
    });
    this.deliveries.add(delivery);
  }
}

/** In words, the first few of each. */
function causes(culprits: readonly StuckRank[], absent: readonly number[]): string {
  const never = absent.length > 0 ? [`of all ranks ${absent.length} never came, the first of them ${absent[0]}`] : [];
  const words = [...never, ...culprits.slice(0, 4).map(describe)];
  return words.length > 0 ? words.join('; ') : 'all ranks wait for each other';
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

function describe({ rank, node, place, stack, thread, unknown, silentSeconds }: StuckRank): string {
  const who = `rank ${rank} on ${node}`;
  if (unknown !== undefined) return `${who} is silent for ${silentSeconds} s, ${unknown}`;
  if (stack) return `${who} is in ${stack[0] ?? 'no function'}`;
  if (thread) return `${who} (${place}) is ${thread.state}${thread.waitsIn === '' ? '' : ` in ${thread.waitsIn}`}`;
  return `${who} is at ${place}`;
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

function round(value: number, digits = 3): number {
  return Number(value.toFixed(digits));
}
