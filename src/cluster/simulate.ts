// A campaign on paper: nodes that fail, detection, restarts, checkpoints, spares, links of a chain; how much time trains.
//
// A discrete-event simulation. Nodes fail one by one (exponential or Weibull lives, stationary from the start) and come
// back repaired; a failure of a node that trains stops everything. Between two events the state follows by arithmetic, so
// thousands of nodes over months take milliseconds. Work is counted in seconds that the full number of nodes would need
// without any trouble; goodput is that work over the time that passed.
//
// Where lives are exponential and nothing else happens, expectedSeconds() is the exact expectation, and the tests compare.
//
// Does not: model the network, steps (a checkpoint can lie anywhere), or failures that come together.
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { Random } from '../base/rng.ts';

const seconds = z.number().min(0);
const positive = z.number().positive();

export const simulationSchema = z
  .strictObject({
    /** Seconds the training would take on all nodes if nothing ever stopped it. */
    workSeconds: positive,
    /** Nodes that train. */
    nodes: z.int().min(1),
    /** Further nodes: in the job of each link (recovery in-job) or in the partition (new-job). */
    spares: z.int().min(0).default(0),
    /** After a failure: start again in the same job on what is healthy in it, or in a new job. */
    recovery: z.enum(['in-job', 'new-job']).default('in-job'),
    /** Which smaller numbers of nodes it may train on: none, halves of the full number, any. */
    shrink: z.enum(['none', 'halves', 'any']).default('none'),
    /** Mean life of one node; `weibullShape` 1 is exponential, below 1 failures come in bunches, above 1 from wear. */
    nodeMtbfSeconds: positive,
    weibullShape: z.number().min(0.2).max(10).default(1),
    /** Mean time between failures that are no node's; null: none. */
    jobMtbfSeconds: positive.nullable().default(null),
    /** Mean time until a failed node is back. */
    repairSeconds: seconds,
    /** From the failure until it is known. */
    detectionSeconds: seconds,
    /** From there to the first new step, in the same job. */
    restartSeconds: seconds,
    /** From the start of a job to its first step. */
    startSeconds: seconds,
    /** Work between two saves, what a save stops training for, and from there until it counts. */
    intervalSeconds: positive,
    stallSeconds: seconds,
    writeSeconds: seconds.default(0),
    /** Time limit of a job and the warning before it; null: no limit. */
    linkSeconds: positive.nullable().default(null),
    warningSeconds: seconds.default(0),
    /** Mean wait of the next job in the queue. */
    queueSeconds: seconds.default(0),
  })
  .superRefine((s, context) => {
    const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (s.linkSeconds === null) return;
    if (s.startSeconds + s.warningSeconds >= s.linkSeconds) refuse('linkSeconds', 'a job ends before it trains');
    if (s.stallSeconds + s.writeSeconds > s.warningSeconds) refuse('warningSeconds', 'shorter than a save');
  });

export type Simulation = z.output<typeof simulationSchema>;
export type SimulationInput = z.input<typeof simulationSchema>;

/** Checks settings and fills in the defaults. */
export function parseSimulation(input: unknown, where: string): Simulation {
  const parsed = simulationSchema.safeParse(input);
  if (parsed.success) return parsed.data;
  throw new UserError(`the simulation ${where} is not valid`, {
    found: z.prettifyError(parsed.error).replaceAll('\n', '\n            '),
    next: 'docs/scale.md has the settings',
  });
}

/** Where the chances of a simulation come from; tests give their own. */
export interface Chances {
  /** Seconds until a node that is there at the start fails. */
  firstLife(node: number): number;
  /** Seconds from its repair until it fails again. */
  life(node: number): number;
  repair(node: number): number;
  queue(): number;
  /** Seconds to the next failure that is no node's. */
  fault(): number;
}

/** What became of the time, in seconds; `kept` to `waiting` add up to `seconds`. */
export interface SimulationResult {
  readonly seconds: number;
  /** Training that counted, and training that had to be done again. */
  readonly kept: number;
  readonly lost: number;
  readonly saving: number;
  readonly detecting: number;
  /** Starts and restarts. */
  readonly starting: number;
  readonly queued: number;
  /** For nodes to come back, with no job. */
  readonly waiting: number;
  readonly failures: number;
  readonly links: number;
  readonly nodeSeconds: number;
  /** 1 where it came to its end, 0 where it was given up since it hardly got on; a mean is a share. */
  readonly finished: number;
  /** Work done over time, and over the time of all nodes that were held. */
  readonly goodput: number;
  readonly nodeGoodput: number;
}

/** Simulates one campaign. The same settings and seed give the same result. */
export function simulate(
  settings: Simulation,
  seed: number,
  chances: Chances = drawn(settings, seed),
): SimulationResult {
  return new Campaign(settings, chances).run();
}

/** Means over seeds 1..runs, and the deviation of the goodput. */
export function simulateMean(
  settings: Simulation,
  runs: number,
): SimulationResult & { readonly runs: number; readonly goodputDeviation: number } {
  const all = Array.from({ length: runs }, (_, index) => simulate(settings, index + 1));
  const mean = (key: keyof SimulationResult): number => all.reduce((sum, result) => sum + result[key], 0) / runs;
  const keys = Object.keys(all[0] as SimulationResult) as (keyof SimulationResult)[];
  const means = Object.fromEntries(keys.map((key) => [key, mean(key)])) as unknown as SimulationResult;
  const squares = all.reduce((sum, { goodput }) => sum + (goodput - means.goodput) ** 2, 0);
  return { ...means, runs, goodputDeviation: runs > 1 ? Math.sqrt(squares / (runs - 1)) : 0 };
}

/**
 * Expected seconds of a training whose failures come as a Poisson process, one every `mtbf` on average, also while it starts
 * again and saves, but not while a failure is being detected: with M = mtbf, (M + D) e^(R/M) (e^((I+C)/M) - 1) for each
 * interval I. J. T. Daly (2006), equation for complete restarts; with the down time D as in Hérault and Robert,
 * Fault-Tolerance Techniques for High-Performance Computing (2015), section 1.3. A save counts when its stall is over.
 */
export function expectedSeconds(facts: {
  readonly workSeconds: number;
  readonly intervalSeconds: number;
  readonly stallSeconds: number;
  readonly detectionSeconds: number;
  readonly restartSeconds: number;
  readonly mtbf: number;
}): number {
  const { workSeconds, intervalSeconds, stallSeconds, detectionSeconds, restartSeconds, mtbf } = facts;
  const one = (work: number): number =>
    (mtbf + detectionSeconds) * Math.exp(restartSeconds / mtbf) * Math.expm1((work + stallSeconds) / mtbf);
  const whole = Math.floor(workSeconds / intervalSeconds + 1e-9);
  const rest = workSeconds - whole * intervalSeconds;
  return whole * one(intervalSeconds) + (rest > 1e-9 * workSeconds ? one(rest) : 0);
}

const sick = 0;
const free = 1;
/** In the job, not training. */
const spare = 2;
const training = 3;

/** A simulation that takes so many times its work is given up. */
const hopeless = 50;

/** Why a stretch of time ended. */
type Stop = 'failure' | 'end';

class Campaign {
  private readonly s: Simulation;
  private readonly chances: Chances;
  private readonly status: Uint8Array;
  private readonly events: EventQueue;
  private now = 0;
  private work = 0;
  private healthyFree = 0;
  private spares = 0;
  private active = 0;
  private nextFault = Number.POSITIVE_INFINITY;
  private kept = 0;
  private lost = 0;
  private saving = 0;
  private detecting = 0;
  private starting = 0;
  private queued = 0;
  private waiting = 0;
  private failures = 0;
  private links = 0;
  private nodeSeconds = 0;

  constructor(settings: Simulation, chances: Chances) {
    this.s = settings;
    this.chances = chances;
    const all = settings.nodes + settings.spares;
    this.status = new Uint8Array(all).fill(free);
    this.healthyFree = all;
    this.events = new EventQueue(all, (node) => chances.firstLife(node));
    if (settings.jobMtbfSeconds !== null) this.nextFault = chances.fault();
  }

  run(): SimulationResult {
    const { workSeconds, nodes } = this.s;
    while (this.work < workSeconds && !this.isHopeless()) this.link();
    const { now, work, kept, lost, saving, detecting, starting, queued, waiting, failures, links, nodeSeconds } = this;
    const [goodput, nodeGoodput] = [work / now, (work * nodes) / Math.max(1, nodeSeconds)];
    const spent = { kept, lost, saving, detecting, starting, queued, waiting };
    const finished = work >= workSeconds ? 1 : 0;
    return { seconds: now, ...spent, failures, links, nodeSeconds, finished, goodput, nodeGoodput };
  }

  /** One job: in the queue, then training until its time is up, it cannot go on, or all is done. */
  private link(): void {
    const { s } = this;
    if (this.links > 0) this.queued += this.idle(this.now + this.chances.queue());
    this.links++;
    let size = this.allocate();
    while (size === 0) {
      // Not enough nodes: the job waits for one to come back.
      this.waiting += this.idle(this.events.time());
      if (this.isHopeless()) return;
      size = this.allocate();
    }
    const began = this.now;
    const held = this.spares + this.active;
    const stop = s.linkSeconds === null ? Number.POSITIVE_INFINITY : began + s.linkSeconds - s.warningSeconds;
    let startSeconds = s.startSeconds;
    for (;;) {
      const end = this.stretch(Math.min(this.now + startSeconds, stop));
      this.starting += end.passed;
      const failed = end.why === 'failure' || (this.now < stop && this.train(stop) === 'failure');
      if (!failed) break;
      this.failures++;
      const known = Math.min(this.now + s.detectionSeconds, Math.max(stop, this.now));
      this.detecting += this.settle(known);
      if (s.recovery === 'new-job' || this.now >= stop) break;
      size = this.usable(Math.min(this.spares + this.active, s.nodes));
      if (size === 0 || this.now + s.restartSeconds >= stop) break;
      this.choose(size);
      startSeconds = s.restartSeconds;
    }
    this.nodeSeconds += held * (this.now - began);
    for (let node = 0; node < this.status.length; node++) if (this.status[node] !== sick) this.status[node] = free;
    this.healthyFree += this.spares + this.active;
    this.spares = 0;
    this.active = 0;
  }

  /** Takes nodes for a job; answers how many will train, 0 where there are too few. */
  private allocate(): number {
    const { nodes, spares, recovery } = this.s;
    const wanted = recovery === 'in-job' ? nodes + spares : nodes;
    const taken = Math.min(wanted, this.healthyFree);
    const size = this.usable(Math.min(taken, nodes));
    if (size === 0) return 0;
    let left = taken;
    for (let node = 0; left > 0; node++) {
      if (this.status[node] !== free) continue;
      this.status[node] = spare;
      left--;
    }
    this.healthyFree -= taken;
    this.spares = taken;
    this.choose(size);
    return size;
  }

  /** Lets `size` nodes of the job train: those that do, then others. */
  private choose(size: number): void {
    const { status } = this;
    for (let node = 0; this.active < size; node++) {
      if (status[node] !== spare) continue;
      status[node] = training;
      this.active++;
      this.spares--;
    }
    for (let node = status.length - 1; this.active > size; node--) {
      if (status[node] !== training) continue;
      status[node] = spare;
      this.active--;
      this.spares++;
    }
  }

  /** The largest number of nodes up to `most` that it may train on; 0 for none. */
  private usable(most: number): number {
    const { nodes, shrink } = this.s;
    if (most >= nodes) return nodes;
    if (shrink === 'none') return 0;
    if (shrink === 'any') return most;
    let size = nodes;
    while (size > most) {
      if (size % 2 !== 0) return 0;
      size /= 2;
    }
    return size;
  }

  /** Trains until something fails or the time is up; then what counts is in `work`. */
  private train(stop: number): Stop {
    const { s } = this;
    const rate = this.active / s.nodes;
    const began = this.now;
    const cycle = s.intervalSeconds / rate + s.stallSeconds;
    const left = s.workSeconds - this.work;
    const stalls = Math.max(0, Math.ceil(left / s.intervalSeconds - 1e-9) - 1);
    const done = began + left / rate + stalls * s.stallSeconds;
    const { why, passed } = this.stretch(Math.min(done, stop));
    // Where it stands now: whole cycles, then training, then perhaps a stall.
    const cycles = why === 'end' && done <= stop ? stalls : Math.floor(passed / cycle + 1e-12);
    const rest = passed - cycles * cycle;
    const trained = Math.min(rest, s.intervalSeconds / rate);
    this.saving += cycles * s.stallSeconds + (rest - trained);
    const trainedSeconds = (cycles * s.intervalSeconds) / rate + trained;
    // Saves that count by now: their stall is over, and so is the writing after it.
    const counted = Math.min(cycles, Math.max(0, Math.floor((passed - s.writeSeconds) / cycle + 1e-12)));
    let keptSeconds = (counted * s.intervalSeconds) / rate;
    let outcome: Stop = why;
    if (why === 'end') {
      // The last save: at the end of the training, or after the warning, and waited for.
      const save = this.stretch(this.now + s.stallSeconds + s.writeSeconds);
      this.saving += save.passed;
      outcome = save.why;
      if (outcome === 'end') keptSeconds = trainedSeconds;
      else {
        const counts = Math.floor((this.now - began - s.writeSeconds) / cycle + 1e-12);
        keptSeconds = (Math.max(counted, Math.min(cycles, counts)) * s.intervalSeconds) / rate;
      }
    }
    this.kept += keptSeconds;
    this.lost += trainedSeconds - keptSeconds;
    // Sums of floating point must not leave a rest of nothing.
    this.work += keptSeconds * rate;
    if (s.workSeconds - this.work < 1e-9 * s.workSeconds) this.work = s.workSeconds;
    return outcome;
  }

  /** Lets time pass up to `until`, or to the first failure that stops a job. */
  private stretch(until: number): { readonly why: Stop; readonly passed: number } {
    const began = this.now;
    for (;;) {
      const next = Math.min(this.events.time(), this.nextFault);
      if (next >= until) {
        this.now = Math.max(until, began);
        return { why: 'end', passed: this.now - began };
      }
      this.now = next;
      const stopsJob = this.nextFault <= this.events.time() ? this.fault() : this.changeNode() === training;
      if (stopsJob) return { why: 'failure', passed: this.now - began };
    }
  }

  /** Lets time pass to the end of `until` while nothing trains: what happens meanwhile makes it no worse. */
  private settle(until: number): number {
    const began = this.now;
    while (Math.min(this.events.time(), this.nextFault) <= until) {
      this.now = Math.min(this.events.time(), this.nextFault);
      if (this.nextFault <= this.events.time()) this.fault();
      else this.changeNode();
    }
    this.now = Math.max(began, until);
    return this.now - began;
  }

  /** Without a job: faults that are no node's do nothing. */
  private idle(until: number): number {
    return this.settle(until);
  }

  /** Nodes that fail faster than they come back could take for ever. */
  private isHopeless(): boolean {
    return this.now > hopeless * this.s.workSeconds;
  }

  private fault(): true {
    this.nextFault = this.now + this.chances.fault();
    return true;
  }

  /** The next node fails or comes back; answers what it was. */
  private changeNode(): number {
    const node = this.events.node();
    const was = this.status[node] as number;
    if (was === sick) {
      this.status[node] = free;
      this.healthyFree++;
      this.events.again(this.now + this.chances.life(node));
      return was;
    }
    if (was === free) this.healthyFree--;
    else if (was === spare) this.spares--;
    else this.active--;
    this.status[node] = sick;
    this.events.again(this.now + this.chances.repair(node));
    return was;
  }
}

/** The next event of every node: a heap over times, smallest first; of equal times the lower node first. */
class EventQueue {
  private readonly times: Float64Array;
  private readonly heap: Int32Array;

  constructor(nodes: number, first: (node: number) => number) {
    this.times = Float64Array.from({ length: nodes }, (_, node) => first(node));
    this.heap = Int32Array.from({ length: nodes }, (_, node) => node);
    for (let at = (nodes >> 1) - 1; at >= 0; at--) this.sink(at);
  }

  time(): number {
    return this.times[this.heap[0] as number] as number;
  }

  node(): number {
    return this.heap[0] as number;
  }

  /** The node of the next event has its next one then. */
  again(time: number): void {
    this.times[this.heap[0] as number] = time;
    this.sink(0);
  }

  private isBefore(a: number, b: number): boolean {
    const difference = (this.times[a] as number) - (this.times[b] as number);
    return difference < 0 || (difference === 0 && a < b);
  }

  private sink(start: number): void {
    const { heap } = this;
    const moving = heap[start] as number;
    let at = start;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.isBefore(heap[child + 1] as number, heap[child] as number)) child++;
      if (!this.isBefore(heap[child] as number, moving)) break;
      heap[at] = heap[child] as number;
      at = child;
    }
    heap[at] = moving;
  }
}

/** Chances drawn from streams of a seed, each of its own, so that one setting does not shift what another draws. */
function drawn(settings: Simulation, seed: number): Chances {
  const { nodeMtbfSeconds: mean, weibullShape: shape, repairSeconds, queueSeconds, jobMtbfSeconds } = settings;
  const [lives, repairs, queues, faults] = ['lives', 'repairs', 'queues', 'faults'].map(
    (name) => new Random(seed, 'simulate', name),
  ) as [Random, Random, Random, Random];
  const exponential = (random: Random, average: number): number => -average * Math.log1p(-random.real());
  const scale = mean / gamma(1 + 1 / shape);
  const life = (): number =>
    shape === 1 ? exponential(lives, mean) : scale * (-Math.log1p(-lives.real())) ** (1 / shape);
  // A node that is met at some moment has a longer life than most, and some of it is over: its whole life to the power of
  // the shape is a gamma variable of 1 + 1/shape, and what is left of it is uniform.
  const firstLife = (): number =>
    shape === 1 ? life() : scale * gammaVariable(lives, 1 + 1 / shape) ** (1 / shape) * (1 - lives.real());
  return {
    firstLife,
    life,
    repair: () => exponential(repairs, repairSeconds),
    queue: () => exponential(queues, queueSeconds),
    fault: () => exponential(faults, jobMtbfSeconds ?? Number.POSITIVE_INFINITY),
  };
}

/** The gamma function above 0 (Lanczos, g 7, 9 terms; 15 digits). */
export function gamma(x: number): number {
  if (x < 0.5) return Math.PI / (Math.sin(Math.PI * x) * gamma(1 - x));
  const terms = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  const z = x - 1;
  const sum = terms.reduce((total, term, index) => total + (index === 0 ? term : term / (z + index)), 0);
  const t = z + 7.5;
  return Math.sqrt(2 * Math.PI) * t ** (z + 0.5) * Math.exp(-t) * sum;
}

/** A gamma variable of a shape of at least 1 (Marsaglia and Tsang, 2000). */
function gammaVariable(random: Random, shape: number): number {
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = random.normal();
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log1p(-random.real()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}
