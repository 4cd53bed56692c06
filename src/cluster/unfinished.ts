// Checkpoint folders as they lie on the disk: which are whole, which is the newest, and which a killed save left behind.
//
// Two layouts. belay renames a checkpoint into its place when it is whole, so what is there is whole, and what is being
// written has another name, which the next attempt takes away under its fencing (train/attempt.ts). Megatron writes into
// the place itself and says only afterwards, in latest_checkpointed_iteration.txt, that it is done: whatever is newer than
// that number is unfinished, and a start must take it away, since saving again writes between what is there.
//
// Does not: read what is in a checkpoint, or decide when to clean (engine-*.ts).
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../base/errors.ts';

export interface Checkpoints {
  /** Steps of whole checkpoints, rising. */
  readonly whole: readonly number[];
  /** Names in the folder of what is not whole. */
  readonly unfinished: readonly string[];
}

/** Checkpoints of belay's own training. */
export function belayCheckpoints(dir: string): Checkpoints {
  const whole: number[] = [];
  const unfinished: string[] = [];
  for (const name of namesIn(dir)) {
    const [, step] = /^step-(\d{9})$/.exec(name) ?? [];
    if (step !== undefined) whole.push(Number(step));
    else if (/^step-\d{9}\.attempt-\d{4,}\.(partial|swept-\d{4,})$/.test(name)) unfinished.push(name);
  }
  return { whole: whole.sort((a, b) => a - b), unfinished };
}

export const megatronTracker = 'latest_checkpointed_iteration.txt';

/** `iter_0000250`; wider from ten million on. */
export function megatronFolder(iteration: number): string {
  return `iter_${String(iteration).padStart(7, '0')}`;
}

/** Checkpoints of a Megatron run. A UserError where its files contradict each other. */
export function megatronCheckpoints(dir: string): Checkpoints {
  const folders = namesIn(dir).flatMap((name) => {
    const [, digits] = /^iter_(\d{7,})$/.exec(name) ?? [];
    return digits === undefined ? [] : [{ name, iteration: Number(digits) }];
  });
  folders.sort((a, b) => a.iteration - b.iteration);
  const latest = readTracker(join(dir, megatronTracker));
  if (latest === undefined) {
    // Nothing is deleted on the word of a file that is missing, unless it can only be the first save that was cut off.
    if (folders.length > 1) {
      throw new UserError(`${dir} has ${folders.length} checkpoints and no ${megatronTracker}`, {
        expected: 'the number of the newest whole one in that file',
        next: `write it: echo ITERATION > ${join(dir, megatronTracker)} (there are ${folders.map(({ iteration }) => iteration).join(', ')})`,
      });
    }
    return { whole: [], unfinished: folders.map(({ name }) => name) };
  }
  const whole = folders.filter(({ iteration }) => iteration <= latest).map(({ iteration }) => iteration);
  if (latest > 0 && whole.at(-1) !== latest) {
    throw new UserError(`${join(dir, megatronTracker)} names a checkpoint that is not there`, {
      found: `${latest}`,
      expected: whole.length > 0 ? `one of ${whole.slice(-5).join(', ')}` : `a folder ${megatronFolder(latest)}`,
      next: 'write the number of the one to go on from into that file, or bring the folder back',
    });
  }
  return { whole, unfinished: folders.filter(({ iteration }) => iteration > latest).map(({ name }) => name) };
}

/** The iteration in a tracker file; 0 for `release` (converted weights), undefined without a file. */
function readTracker(path: string): number | undefined {
  if (!existsSync(path)) return undefined;
  const text = readFileSync(path, 'utf8').trim();
  if (text === 'release') return 0;
  if (!/^\d+$/.test(text) || Number(text) === 0) {
    throw new UserError(`${path} does not name a checkpoint`, {
      found: JSON.stringify(text.slice(0, 40)),
      expected: 'an iteration, or release',
    });
  }
  return Number(text);
}

/** Deletes unfinished checkpoints. Killed half-way it does the rest the next time, since they stay unfinished. */
export function removeUnfinished(dir: string, { unfinished }: Checkpoints): void {
  for (const name of unfinished) rmSync(join(dir, name), { recursive: true, force: true, maxRetries: 3 });
}

function namesIn(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir) : [];
}
