// belay's own training as an engine of campaigns: `belay pretrain` on every task of a job step.
//
// Its exit codes say all but one thing: whether it paused for a signal, after which the chain goes on, or for the trigger
// `exit`, which ends the chain. The event log tells.
//
// Does not: train (commands/pretrain.ts), or clean up after a killed save, which every attempt does for itself.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { exitCodes } from '../base/errors.ts';
import { readLines } from '../base/events.ts';
import {
  type CleanUp,
  clearForStart,
  type Engine,
  endText,
  type Progress,
  type StepCommand,
  type StepEnd,
  type StepVerdict,
} from './engine.ts';
import { pullTriggers } from './triggers.ts';
import { belayCheckpoints } from './unfinished.ts';

export interface BelayEngineOptions {
  /** The run folder. */
  readonly dir: string;
  /** How belay is called on a node, up to the verb. */
  readonly belay: readonly string[];
  /** Further arguments of `belay pretrain`: recipe, --set, --heartbeat. */
  readonly flags: readonly string[];
  /** Steps of the run where they are known. */
  readonly steps: number | null;
}

/** belay's own training. */
export function belayEngine({ dir, belay, flags, steps }: BelayEngineOptions): Engine {
  const run = join(dir, 'pretrain');
  const checkpoints = join(run, 'checkpoints');
  // The manifest is written last (docs/run-folder.md), so it alone says that the stage is whole.
  const isFinished = (): boolean => existsSync(join(run, 'manifest.json'));
  return {
    name: 'belay',
    progress(): Progress {
      const done = isFinished();
      const step = belayCheckpoints(checkpoints).whole.at(-1) ?? 0;
      return { step: done && steps !== null ? steps : step, total: steps, phase: null, isFinished: done };
    },
    // Gradients are summed over shards that do not depend on the ranks.
    nodeCounts: (most) => Array.from({ length: Math.max(0, most) }, (_, index) => most - index),
    ask(what) {
      pullTriggers(run, what === 'save' ? ['save'] : ['exit']);
    },
    prepare(): CleanUp {
      return { stopAsked: clearForStart(run), unfinished: belayCheckpoints(checkpoints).unfinished };
    },
    // Ranks that pause leave one after the other with a code that is not 0, while the first may still save; one that is gone ends
    // the others, since they lose it.
    step(): StepCommand {
      return {
        files: [],
        before: [],
        srun: ['--kill-on-bad-exit=0'],
        argv: [...belay, 'pretrain', '--out', dir, ...flags],
      };
    },
    verdict(end: StepEnd): StepVerdict {
      const text = endText(end);
      if (end.signal !== null) return { outcome: 'failed', why: text };
      switch (end.exit) {
        case exitCodes.finished:
          if (isFinished()) return { outcome: 'finished', why: 'trained to the end' };
          return { outcome: 'failed', why: `${text} without a manifest` };
        case exitCodes.paused:
          if (lastPause(run) === 'trigger') return { outcome: 'stopped', why: 'saved and left: the trigger exit' };
          // SIGTERM: whoever sent it does not want it to go on here, and the steps since the last checkpoint are lost.
          if (lastPause(run) === 'exit-now')
            return { outcome: 'failed', why: 'told to end at once: left without saving' };
          return { outcome: 'paused', why: 'saved and left: it was asked by a signal' };
        case exitCodes.lost:
          return { outcome: 'lost-peer', why: 'another rank was lost' };
        case exitCodes.user:
          return { outcome: 'mistake', why: 'a mistake in recipe, flags or files' };
        default:
          return { outcome: 'failed', why: text };
      }
    },
  };
}

/** Why the newest attempt paused; undefined where it did not. */
function lastPause(run: string): string | undefined {
  const events = readLines<{ readonly event: string; readonly by?: string }>(join(run, 'events.jsonl'));
  const last = events.findLast(({ event }) => ['start', 'resume', 'paused', 'finished'].includes(event));
  return last?.event === 'paused' ? last.by : undefined;
}
