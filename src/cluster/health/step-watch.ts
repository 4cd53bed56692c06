// What the steps themselves tell about a run: a loss that is no number or jumps, steps that became slow.
//
// Reads the step log of the attempt that runs, which is never cut, from where the last look ended.
//
// Does not: tell the trainer; its guard has judged each step before (train/guard.ts). This is for people.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { ComputedStep } from '../history-files.ts';
import { lowerMedian } from './scores.ts';

export interface StepWatchSettings {
  /** Steps that a loss is compared with. */
  readonly lossWindow: number;
  /** A loss is a spike where it is so many usual deviations above the median of the window. */
  readonly lossDeviations: number;
  /** Steps that throughput is measured over. */
  readonly throughputWindow: number;
  /** Throughput dropped where that of the last window is this share of the usual one, or less. */
  readonly throughputBelow: number;
}

/** What is the matter now; a condition that holds on is told each time. */
export interface StepTrouble {
  readonly notFinite?: { readonly step: number };
  readonly lossSpike?: { readonly step: number; readonly loss: number; readonly usual: number; readonly limit: number };
  readonly throughput?: { readonly step: number; readonly share: number };
}

/** Deviations below this share of the loss are noise of a loss that hardly moves. */
const leastDeviation = 0.005;
/** Windows of throughput that make the usual one. */
const rememberedWindows = 50;

export class StepWatch {
  private readonly path: string;
  private readonly settings: StepWatchSettings;
  private offset = 0;
  private rest = '';
  private losses: number[] = [];
  private rates: number[] = [];
  private pastRates: number[] = [];
  private trouble: StepTrouble = {};

  constructor(path: string, settings: StepWatchSettings) {
    this.path = path;
    this.settings = settings;
  }

  /** Reads what is new. */
  look(): StepTrouble {
    for (const line of this.newLines()) this.add(line);
    return this.trouble;
  }

  private add({ step, seconds, tokens, loss }: ComputedStep): void {
    // A batch that was passed over computed nothing.
    if (seconds === 0) return;
    const { lossWindow, lossDeviations, throughputWindow, throughputBelow } = this.settings;
    let { lossSpike, throughput } = this.trouble;
    if (loss !== undefined) {
      lossSpike = undefined;
      if (this.losses.length >= lossWindow) {
        const usual = lowerMedian(this.losses);
        const deviation = lowerMedian(this.losses.map((one) => Math.abs(one - usual)));
        const limit = usual + lossDeviations * Math.max(1.4826 * deviation, leastDeviation * Math.abs(usual));
        if (loss > limit) lossSpike = { step, loss, usual, limit };
      }
      this.losses.push(loss);
      if (this.losses.length > lossWindow) this.losses.shift();
    }
    if (tokens !== undefined) {
      this.rates.push(tokens / seconds);
      if (this.rates.length >= throughputWindow) {
        const now = lowerMedian(this.rates);
        const usual = this.pastRates.length >= 2 ? lowerMedian(this.pastRates) : now;
        throughput = now <= throughputBelow * usual ? { step, share: now / usual } : undefined;
        this.pastRates.push(now);
        if (this.pastRates.length > rememberedWindows) this.pastRates.shift();
        this.rates = [];
      }
    }
    this.trouble = {
      ...(loss === undefined ? { notFinite: { step } } : {}),
      ...(lossSpike ? { lossSpike } : {}),
      ...(throughput ? { throughput } : {}),
    };
  }

  private newLines(): ComputedStep[] {
    let file: number;
    try {
      file = openSync(this.path, 'r');
    } catch {
      return [];
    }
    try {
      const { size } = fstatSync(file);
      if (size <= this.offset) return [];
      const bytes = Buffer.alloc(Math.min(size - this.offset, 1 << 24));
      const read = readSync(file, bytes, 0, bytes.length, this.offset);
      this.offset += read;
      const lines = (this.rest + bytes.toString('latin1', 0, read)).split('\n');
      this.rest = lines.pop() as string;
      return lines.flatMap((line) => {
        try {
          const step = JSON.parse(line) as ComputedStep | null;
          return typeof step?.step === 'number' && typeof step.seconds === 'number' ? [step] : [];
        } catch {
          return [];
        }
      });
    } finally {
      closeSync(file);
    }
  }
}
