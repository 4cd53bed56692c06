// Trigger files: how anybody who may write to a run's folder asks its training to save or to leave.
//
// `triggers/save` and `triggers/exit` are the names that Megatron-LM polls and that belay's own loop reads after every
// step (docs/run-folder.md). Slurm lets only a job's owner signal it; a file can be made by any member of a team.
//
// Does not: know what a training does when it is asked (engine-*.ts).
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const triggerNames = ['save', 'exit'] as const;
export type Trigger = (typeof triggerNames)[number];

/** The folder of a training's triggers; `run` is the folder that has its checkpoints. */
export function triggersFolder(run: string): string {
  return join(run, 'triggers');
}

export function isTriggered(run: string, trigger: Trigger): boolean {
  return existsSync(join(triggersFolder(run), trigger));
}

/** Makes trigger files, in the order given: who reads them between two sees the first. */
export function pullTriggers(run: string, triggers: readonly Trigger[]): void {
  mkdirSync(triggersFolder(run), { recursive: true });
  for (const trigger of triggers) writeFileSync(join(triggersFolder(run), trigger), '');
}

/** Takes trigger files away; returns those that were there. */
export function clearTriggers(run: string, triggers: readonly Trigger[] = triggerNames): Trigger[] {
  return triggers.filter((trigger) => {
    const there = isTriggered(run, trigger);
    if (there) rmSync(join(triggersFolder(run), trigger), { force: true });
    return there;
  });
}
