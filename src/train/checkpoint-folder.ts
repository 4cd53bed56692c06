// Where checkpoints lie and how their files are called.
//
// Does not: say what is in them (checkpoint-state.ts). It is apart from that, so that the thread which saves starts
// without a schema library.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

export const checkpointFormat = 'belay-checkpoint-2';
export const stateName = 'checkpoint.json';
export const weightsName = 'weights.safetensors';
/** Names the folder of the newest checkpoint that was committed, for people and other programs. */
export const latestName = 'latest';

/** `step-000000200` */
export function folderName(step: number): string {
  return `step-${String(step).padStart(9, '0')}`;
}

/** The step of a folder's name. */
export function stepOf(folder: string): number {
  return Number(/step-(\d{9})/.exec(folder)?.[1] ?? Number.NaN);
}

/** `optimizer-00000-of-00002.safetensors` */
export function optimizerName(rank: number, ranks: number): string {
  return `optimizer-${String(rank).padStart(5, '0')}-of-${String(ranks).padStart(5, '0')}.safetensors`;
}

/** Checkpoint folders below `dir`, newest first; neither what is being saved nor what was set aside. */
export function checkpointFolders(dir: string): string[] {
  return foldersLike(dir, /^step-\d{9}$/);
}

/** Folders that were set aside: damaged ones, and those that a rollback left behind; newest first. */
export function asideFolders(dir: string): string[] {
  return foldersLike(dir, /^step-\d{9}\.(damaged|abandoned)$/);
}

function foldersLike(dir: string, pattern: RegExp): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => pattern.test(name))
    .sort()
    .reverse()
    .map((name) => join(dir, name));
}
