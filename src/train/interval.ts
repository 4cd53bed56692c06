// When to save: often enough that a failure costs little, rarely enough that saving does.
//
// Does not: save, or count failures; the recipe says how often they come.

/**
 * Seconds of work between two checkpoints that lose the least time, for `saveSeconds` that one costs the run and
 * failures that come as a Poisson process. J. T. Daly, "A higher order estimate of the optimum checkpoint interval for
 * restart dumps", Future Generation Computer Systems 22 (2006):
 * sqrt(2dM) (1 + sqrt(d/2M)/3 + d/2M/9) - d for d < 2M, and M for d >= 2M, where saving takes so long that it does not
 * pay more often. Its first term is J. W. Young, "A first order approximation to the optimum checkpoint interval",
 * Communications of the ACM 17 (1974).
 */
export function youngDaly(saveSeconds: number, meanSecondsBetweenFailures: number): number {
  const [d, M] = [saveSeconds, meanSecondsBetweenFailures];
  if (!(d >= 0) || !(M > 0)) throw new Error(`youngDaly: got ${d} and ${M}, expected seconds >= 0 and > 0`);
  if (d >= 2 * M) return M;
  const x = d / (2 * M);
  return Math.sqrt(2 * d * M) * (1 + Math.sqrt(x) / 3 + x / 9) - d;
}

/** Mean seconds between failures of a run, from the rate of one device: whichever fails first stops all. */
export function meanSecondsBetweenFailures(failuresPerDeviceHour: number, devices: number): number {
  return 3600 / (failuresPerDeviceHour * devices);
}

export interface SaveIntervalOptions {
  /** Save every so many steps; null: by `youngDaly`. */
  readonly everySteps: number | null;
  /** Of the whole run; see `meanSecondsBetweenFailures`. */
  readonly meanSecondsBetweenFailures: number;
}

/**
 * Decides when to save. Told of every step and every save; the answer depends on measured times, so one rank asks and
 * tells the others. What is saved does not depend on when.
 */
export class SaveInterval {
  private readonly options: SaveIntervalOptions;
  /** Seconds of work since the last save began. */
  private sinceSave = 0;
  private stepSeconds: number | undefined;
  private saveSeconds: number | undefined;

  constructor(options: SaveIntervalOptions) {
    this.options = options;
  }

  /** A step took so long (without what a save stalled it). */
  stepTaken(seconds: number): void {
    this.sinceSave += seconds;
    // An average over some ten steps: steps of phases differ, and one slow step says little.
    this.stepSeconds = this.stepSeconds === undefined ? seconds : 0.9 * this.stepSeconds + 0.1 * seconds;
  }

  /** A save began now. */
  saveBegan(): void {
    this.sinceSave = 0;
  }

  /**
   * A save is through: it took `saveSeconds` from start to commit. That is what it is taken to cost, though training goes
   * on meanwhile: it takes memory bandwidth and a core from training, and a failure during it loses it.
   */
  saved(saveSeconds: number): void {
    this.saveSeconds = saveSeconds;
  }

  /** Seconds between two saves now; undefined before the first step. Before the first save it is taken to cost a step. */
  get seconds(): number | undefined {
    const cost = this.saveSeconds ?? this.stepSeconds;
    if (cost === undefined) return undefined;
    // A save that begins before the one before it is through would wait for it.
    return Math.max(youngDaly(cost, this.options.meanSecondsBetweenFailures), this.saveSeconds ?? 0);
  }

  /** Whether to save after step `step`. */
  isDue(step: number): boolean {
    const { everySteps } = this.options;
    if (everySteps !== null) return step > 0 && step % everySteps === 0;
    const { seconds } = this;
    // Half a step early is nearer than half a step late.
    return seconds !== undefined && this.sinceSave + (this.stepSeconds as number) / 2 >= seconds;
  }
}
