// The numbers of a training run, written once: metrics.jsonl for programs and people, tb/ for TensorBoard.
//
// One table says what a number is called in each. A step is written at most once: whatever an earlier attempt left
// from the first written step on is cut off before. Tags are those of Apertus' Megatron-LM where it logs the same
// number (spec section 3.3), so that curves of both can be laid over each other.
//
// Does not: measure; telemetry.ts and the loop do.
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { cutLines } from '../base/events.ts';
import { cutEventFiles, EventFileWriter } from '../base/tensorboard.ts';

/** Names in a run folder. */
export const metricsName = 'metrics.jsonl';
export const eventFilesName = 'tb';

/** Field of metrics.jsonl -> tag in TensorBoard. docs/run-folder.md says what each one means. */
export const metricTags = {
  samples: 'consumed-samples',
  tokens: 'consumed-tokens',
  skippedSamples: 'skipped-train-samples',
  phase: 'phase',
  loss: 'lm loss',
  validationLoss: 'lm loss validation',
  lr: 'learning-rate',
  batchSize: 'batch-size',
  gradientNorm: 'grad-norm',
  clip: 'grad-clip',
  maskShare: 'loss-mask-share',
  gradientNoiseScale: 'gradient-noise-scale',
  parameterNorm: 'params-norm',
  ranks: 'world-size',
  secondsPerStep: 'iteration-time',
  tokensPerSecond: 'tokens-per-sec',
  flopPerSecond: 'flop-per-sec',
  peakShare: 'peak-share',
  etaSeconds: 'eta-seconds',
} as const;

/** Fields that hold one number per parameter -> what stands before the parameter's name in the tag. */
export const metricGroups = {
  parameterNorms: 'params-norm/',
  gradientNorms: 'grad-norm/',
} as const;

/** What can be written for a step; a field that is left out or not finite is written nowhere. */
export type MetricFields = { readonly [field in keyof typeof metricTags]?: number | undefined } & {
  readonly [field in keyof typeof metricGroups]?: Readonly<Record<string, number>> | undefined;
};

export class MetricsLog {
  private readonly dir: string;
  private file: number | undefined;
  private events: EventFileWriter | undefined;
  private last = 0;

  /** For the run folder `dir`. Files are opened with the first number. */
  constructor(dir: string) {
    this.dir = dir;
  }

  /** One line and one TensorBoard record. Steps must grow; to go back, cut first. */
  write(step: number, fields: MetricFields): void {
    if (this.file === undefined) this.open(step);
    if (step <= this.last) throw new Error(`metrics: got step ${step} after ${this.last}, expected a later one`);
    this.last = step;
    const line: Record<string, unknown> = { step };
    const scalars: Record<string, number> = {};
    for (const [field, value] of Object.entries(fields)) {
      const tag = metricTags[field as keyof typeof metricTags] as string | undefined;
      const group = metricGroups[field as keyof typeof metricGroups] as string | undefined;
      if (typeof value === 'number' && tag !== undefined) {
        if (!Number.isFinite(value)) continue;
        line[field] = value;
        scalars[tag] = value;
      } else if (value !== null && typeof value === 'object' && group !== undefined) {
        const finite = Object.entries(value).filter(([, number]) => Number.isFinite(number));
        line[field] = Object.fromEntries(finite);
        for (const [name, number] of finite) scalars[`${group}${name}`] = number;
      } else if (value !== undefined) {
        throw new Error(`metrics: got ${field} = ${typeof value}, expected a field of metricTags or metricGroups`);
      }
    }
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.file as number, bytes, at);
    this.events?.scalars(step, scalars);
  }

  /** Removes everything beyond `lastStep`: after a resume, and when the run is rolled back. 0 removes all. */
  cut(lastStep: number): void {
    this.close();
    cutLines<{ step: number }>(join(this.dir, metricsName), (line) => line.step <= lastStep);
    cutEventFiles(join(this.dir, eventFilesName), lastStep);
    this.last = lastStep;
  }

  /** To the disk; called before a checkpoint, so that a power cut leaves no gap before it. */
  flush(): void {
    if (this.file !== undefined) fsyncSync(this.file);
    this.events?.flush();
  }

  close(): void {
    if (this.file !== undefined) closeSync(this.file);
    this.events?.close();
    this.file = undefined;
    this.events = undefined;
  }

  private open(step: number): void {
    mkdirSync(this.dir, { recursive: true });
    if (existsSync(join(this.dir, metricsName)) || existsSync(join(this.dir, eventFilesName))) {
      this.cut(Math.max(this.last, step - 1));
    }
    this.file = openSync(join(this.dir, metricsName), 'a');
    this.events = new EventFileWriter(join(this.dir, eventFilesName), { firstStep: step });
  }
}
