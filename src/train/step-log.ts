// What every attempt computed, step by step: `attempts/0001/steps.jsonl`, which is never cut.
//
// metrics.jsonl has each step once, as the run counts it; a resume and a rollback cut it. What they cut was computed all
// the same, and its time and energy were spent: this log keeps that, so that a history can say which steps were lost, and
// whether a step that was taken again gave the same loss. Rank 0 of the attempt is its one writer.
//
// Does not: hold what can be read from metrics.jsonl; or flush to the disk, since what a power cut takes is a second.
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Name in the folder of an attempt. */
export const stepLogName = 'steps.jsonl';

/** A line of it. */
export interface StepLine {
  readonly step: number;
  /** Unix seconds at the end of the step. */
  readonly time: number;
  /** Tokens read; left out where its batch was passed over. */
  readonly tokens?: number;
  /** What it took; 0 where its batch was passed over without computing. */
  readonly seconds: number;
  /** Before the update; left out where it is not finite. */
  readonly loss?: number;
}

export class StepLog {
  private readonly file: number;

  /** In the folder of an attempt. */
  constructor(attemptDir: string) {
    this.file = openSync(join(attemptDir, stepLogName), 'a');
  }

  write(step: number, seconds: number, computed?: { readonly loss: number; readonly tokens: number }): void {
    const line: StepLine = {
      step,
      time: Date.now() / 1000,
      seconds: Math.round(seconds * 1e6) / 1e6,
      ...(computed ? { tokens: computed.tokens } : {}),
      ...(computed && Number.isFinite(computed.loss) ? { loss: computed.loss } : {}),
    };
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.file, bytes, at);
  }

  close(): void {
    closeSync(this.file);
  }
}
