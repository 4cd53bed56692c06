// The history of a campaign for the tools that draw runs: TensorBoard and Weights & Biases.
//
// Whatever was killed and taken again, each step is there once, with the numbers and the time of the attempt that counts.
//
// Does not: know what a metric is called elsewhere; whoever calls brings the table of names (train/metrics-log.ts).
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../base/errors.ts';
import { EventFileWriter } from '../base/tensorboard.ts';
import type { Json } from '../base/json.ts';
import type { History } from './history.ts';
import type { CampaignFiles } from './history-files.ts';
import { type WandbRow, writeWandbRun } from './wandb.ts';

/** Field of metrics.jsonl -> name elsewhere; for fields that hold a number per parameter, what stands before its name. */
export interface MetricNames {
  readonly tags: Readonly<Record<string, string>>;
  readonly groups: Readonly<Record<string, string>>;
}

/** Every step of metrics.jsonl with its time and its numbers under their names elsewhere, in the order of steps. */
export function metricRows(files: CampaignFiles, history: History, { tags, groups }: MetricNames): WandbRow[] {
  const times = new Map(history.steps.filter(({ fate }) => fate === 'kept').map(({ step, time }) => [step, time]));
  let time = history.links.find(({ began }) => began !== undefined)?.began ?? history.attempts[0]?.started ?? 0;
  return files.metrics.map((line) => {
    // A log that was torn by a kill lacks a step now and then.
    const took = line['secondsPerStep'];
    time = times.get(line.step) ?? time + (typeof took === 'number' ? took : 0);
    const values: Record<string, number> = {};
    for (const [field, value] of Object.entries(line)) {
      const tag = tags[field];
      const group = groups[field];
      if (typeof value === 'number' && tag !== undefined) values[tag] = value;
      else if (group !== undefined && value !== null && typeof value === 'object') {
        for (const [name, one] of Object.entries(value)) if (typeof one === 'number') values[`${group}${name}`] = one;
      }
    }
    return { step: line.step, time, values };
  });
}

/** Replaces the event files in `dir` by one for TensorBoard. A folder that holds anything else is not ours to empty. */
export function exportTensorBoard(dir: string, rows: readonly WandbRow[]): string {
  const there = existsSync(dir) ? readdirSync(dir) : [];
  const others = there.filter((name) => !name.startsWith('events.out.tfevents.'));
  if (others.length > 0) {
    throw new UserError(`${dir} holds other things than event files, which are replaced`, {
      found: others.slice(0, 3).join(', '),
      expected: 'a folder of its own',
    });
  }
  for (const name of there) rmSync(join(dir, name));
  const writer = new EventFileWriter(dir);
  for (const { step, time, values } of rows) writer.scalars(step, values, time);
  writer.flush();
  writer.close();
  return writer.path;
}

/**
 * Writes the campaign as an offline run of W&B below `dir` and returns its folder; `wandb sync FOLDER` uploads it, and
 * again under the same id when the campaign went on.
 */
export function exportWandb(
  dir: string,
  history: History,
  rows: readonly WandbRow[],
  run: { readonly project: string; readonly config: Readonly<Record<string, Json>>; readonly exitCode?: number },
): string {
  const { project, config, exitCode } = run;
  const { id, name, summary } = history;
  const started = history.links.find(({ began }) => began !== undefined)?.began ?? rows[0]?.time ?? 0;
  const numbers = Object.entries(summary).filter((entry): entry is [string, number] => typeof entry[1] === 'number');
  return writeWandbRun(
    dir,
    { id: id.replace(/[^A-Za-z0-9]/g, '').slice(0, 32) || 'campaign', project, name, started, config },
    rows,
    exitCode,
    Object.fromEntries(numbers.map(([key, value]) => [`campaign/${key}`, value])),
  );
}
