// A save, step by step: write and flush the files, wait for the other ranks, commit, move `latest`, let old ones go.
//
// All ranks write into one folder, `step-000000200.attempt-0003.partial/`; ranks say nothing to each other but leave
// `saved-00001.json` there when their files are flushed. Rank 0 waits for all of them, writes checkpoint.json and
// renames. Nothing is deleted or replaced in place: it is renamed first, out of or into something of this attempt's own,
// which the next attempt takes away before it reads (attempt.ts). So a kill at any line leaves the old state or the new
// one, and an attempt that was overtaken changes nothing. Runs in the writer's thread; blocks.
//
// Does not: copy from the model (checkpoint-writer.ts) or load (checkpoint-reader.ts).
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { syncFolder } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { errorText, readJson } from '../base/json.ts';
import { type Attempt, moved } from './attempt.ts';
import {
  asideFolders,
  checkpointFolders,
  checkpointFormat,
  folderName,
  latestName,
  stateName,
  stepOf,
} from './checkpoint-folder.ts';
import type { CheckpointFile, CheckpointState, NewCheckpointState, Retention } from './checkpoint-state.ts';

/** A file to write: its bytes are those of `pieces` one after the other. */
export interface NewFile {
  readonly path: string;
  readonly pieces: readonly Uint8Array[];
}

/** What one rank has to do for one save. */
export interface SaveJob {
  /** `.../checkpoints` */
  readonly dir: string;
  readonly attempt: Attempt;
  readonly rank: number;
  readonly ranks: number;
  readonly retention: Retention;
  /** Number of the save in this attempt, the same on all ranks: tells what a save before this one left behind. */
  readonly save: number;
  readonly state: NewCheckpointState;
  readonly files: readonly NewFile[];
  /** Elements of the flat buffer whose moments this rank writes, and how many there are in all. */
  readonly from: number;
  readonly to: number;
  readonly size: number;
  /** How long rank 0 waits for the other ranks after its own files are flushed. */
  readonly patienceMs: number;
}

/** What a rank leaves in the folder when its part is flushed, or when it failed. */
interface Marker {
  readonly save: number;
  readonly from: number;
  readonly to: number;
  readonly files: readonly CheckpointFile[];
  readonly error?: string;
}

/** Hashed and written at a time: large enough for the disk, small enough to be hashed while in the cache. */
const pieceBytes = 1 << 22;

/** Does this rank's part of a save. Rank 0 commits and returns the folder; the others return undefined. */
export function saveCheckpointFiles(job: SaveJob): string | undefined {
  const { dir, attempt, rank, save, from, to } = job;
  const aside = attempt.aside(join(dir, folderName(job.state.step)));
  const leave = (marker: Marker): void => {
    const path = join(aside, markerName(rank));
    writeSynced(`${path}.partial`, `${JSON.stringify(marker)}\n`);
    renameSync(`${path}.partial`, path);
  };
  try {
    attempt.assertCurrent();
    // Also before: whoever was killed between commit and here, again and again, must not fill the disk.
    if (rank === 0) retire(dir, attempt, job.retention);
    mkdirSync(aside, { recursive: true });
    const files = job.files.map(({ path, pieces }) => ({ path, ...writeHashed(join(aside, path), pieces) }));
    if (rank === 0) return commit(job, aside, { save, from, to, files });
    syncFolder(aside);
    leave({ save, from, to, files });
    return undefined;
  } catch (error) {
    // As in `Attempt.unlessOvertaken`.
    attempt.assertCurrent();
    if (rank === 0) tryTo(() => rmSync(aside, { recursive: true, force: true }));
    else tryTo(() => leave({ save, from, to, files: [], error: errorText(error) }));
    throw asUserError(error, job.state.step);
  }
}

function commit(job: SaveJob, aside: string, own: Marker): string {
  const { dir, attempt, ranks } = job;
  const markers = [own];
  const started = performance.now();
  for (let rank = 1; rank < ranks; rank++) markers.push(waitForMarker(job, aside, rank, started));
  checkRanges(markers, job.size);
  for (let rank = 1; rank < ranks; rank++) rmSync(join(aside, markerName(rank)), { force: true });
  const state: CheckpointState = {
    format: checkpointFormat,
    ...job.state,
    attempt: attempt.number,
    ranks,
    files: markers.flatMap(({ files }) => files),
  };
  writeSynced(join(aside, stateName), `${JSON.stringify(state, null, 2)}\n`);
  syncFolder(aside);

  const folder = join(dir, folderName(state.step));
  const replaced = attempt.replaced(dir);
  if (existsSync(folder)) {
    mkdirSync(replaced, { recursive: true });
    attempt.assertCurrent();
    renameSync(folder, join(replaced, basename(folder)));
  }
  attempt.assertCurrent();
  renameSync(aside, folder);
  syncFolder(dir);
  rmSync(replaced, { recursive: true, force: true });
  pointLatest(dir, attempt, basename(folder));
  retire(dir, attempt, job.retention);
  return folder;
}

/** Lets `latest` name a folder. */
export function repairLatest(dir: string, attempt: Attempt, name: string): void {
  attempt.unlessOvertaken(() => pointLatest(dir, attempt, name));
}

/** Lets `latest` name a folder, or nothing. */
function pointLatest(dir: string, attempt: Attempt, name: string | undefined): void {
  const path = join(dir, latestName);
  const aside = attempt.aside(path);
  rmSync(aside, { recursive: true, force: true });
  if (name === undefined) mkdirSync(aside, { recursive: true });
  else writeSynced(aside, `${name}\n`);
  attempt.assertCurrent();
  if (name === undefined) moved(path, join(aside, latestName));
  else renameSync(aside, path);
  syncFolder(dir);
  if (name === undefined) rmSync(aside, { recursive: true, force: true });
}

/** Removes checkpoints that `retention` does not keep, and what was set aside long ago. */
function retire(dir: string, attempt: Attempt, retention: Retention): void {
  const { keepEverySteps, keepPhaseEnds } = retention;
  const keepLast = Math.max(1, retention.keepLast);
  const folders = checkpointFolders(dir);
  const old = folders.slice(keepLast).filter((folder) => {
    if (keepEverySteps !== null && stepOf(folder) % keepEverySteps === 0) return false;
    return !(keepPhaseEnds && isPhaseEnd(folder));
  });
  // Damaged and abandoned ones are for a person to look at; that time is over when the run is this far beyond them.
  const oldest = folders[keepLast - 1];
  const beyond = oldest === undefined ? [] : asideFolders(dir).filter((folder) => stepOf(folder) < stepOf(oldest));
  takeAway(dir, attempt, [...old, ...beyond]);
}

/** Sets a damaged checkpoint aside as `.damaged`. */
export function setDamagedAside(dir: string, attempt: Attempt, folder: string): void {
  attempt.unlessOvertaken(() => setAside(dir, attempt, [folder], 'damaged'));
}

function setAside(dir: string, attempt: Attempt, folders: readonly string[], as: 'damaged' | 'abandoned'): void {
  takeAway(dir, attempt, folders, (taken, folder) => {
    moved(`${folder}.${as}`, `${taken}.${as}`);
    moved(taken, `${folder}.${as}`);
  });
}

/**
 * Leaves the checkpoints after `step` behind, newest first, as `.abandoned`: a rollback goes on from `step` on another
 * way. `latest` names the newest one that remains.
 */
export function abandonAfter(dir: string, attempt: Attempt, step: number): void {
  const folders = checkpointFolders(dir);
  const newer = folders.filter((folder) => stepOf(folder) > step);
  if (newer.length === 0) return;
  const newest = folders.find((folder) => stepOf(folder) <= step);
  attempt.unlessOvertaken(() => {
    pointLatest(dir, attempt, newest && basename(newest));
    setAside(dir, attempt, newer, 'abandoned');
  });
}

/** Moves folders into one of this attempt's own, then removes that; `keep` may take each out again. */
function takeAway(
  dir: string,
  attempt: Attempt,
  folders: readonly string[],
  keep: (taken: string, folder: string) => void = () => {},
): void {
  if (folders.length === 0) return;
  const retired = attempt.aside(join(dir, 'retired'));
  mkdirSync(retired, { recursive: true });
  for (const folder of folders) {
    const taken = join(retired, basename(folder));
    attempt.assertCurrent();
    rmSync(taken, { recursive: true, force: true });
    renameSync(folder, taken);
    keep(taken, folder);
  }
  rmSync(retired, { recursive: true, force: true });
}

function isPhaseEnd(folder: string): boolean {
  try {
    return (JSON.parse(readFileSync(join(folder, stateName), 'utf8')) as CheckpointState).phaseEnd === true;
  } catch {
    return false;
  }
}

const markerName = (rank: number): string => `saved-${String(rank).padStart(5, '0')}.json`;

/** The marker of another rank for this save; looks every few milliseconds, more rarely as time passes. */
function waitForMarker(job: SaveJob, aside: string, rank: number, started: number): Marker {
  const { attempt, save, patienceMs, ranks } = job;
  const path = join(aside, markerName(rank));
  for (let pauseMs = 2; ; pauseMs = Math.min(pauseMs * 2, 200)) {
    if (existsSync(path)) {
      const marker = readJson(path, 'marker') as Marker;
      if (marker.save === save && marker.error !== undefined)
        throw new UserError(`rank ${rank} of ${ranks} could not save its part`, { found: marker.error });
      if (marker.save === save) return marker;
    }
    attempt.assertCurrent();
    if (performance.now() - started > patienceMs)
      throw new UserError(`rank ${rank} of ${ranks} did not save its part`, {
        found: `no ${path} after ${Math.round(patienceMs / 1000)} s`,
        next: `see the log of rank ${rank}, and whether all hosts see the same folder`,
      });
    pause(pauseMs);
  }
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** The ranges of all ranks must be every element of the flat buffer, once. */
function checkRanges(markers: readonly Marker[], size: number): void {
  let end = 0;
  for (const { from, to } of [...markers].sort((a, b) => a.from - b.from || a.to - b.to)) {
    if (from !== end) throw new Error(`checkpoint: moments from element ${from}, expected ${end}`);
    end = to;
  }
  if (end !== size) throw new Error(`checkpoint: moments up to element ${end}, expected ${size}`);
}

/** Writes, hashes and flushes a file. */
function writeHashed(path: string, pieces: readonly Uint8Array[]): { readonly sha256: string; readonly bytes: number } {
  const hash = createHash('sha256');
  let bytes = 0;
  const file = openSync(path, 'w');
  try {
    for (const piece of pieces) {
      for (let at = 0; at < piece.length; at += pieceBytes) {
        const part = piece.subarray(at, at + pieceBytes);
        hash.update(part);
        for (let done = 0; done < part.length; ) done += writeSync(file, part, done);
        bytes += part.length;
      }
    }
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return { sha256: hash.digest('hex'), bytes };
}

/** Writes and flushes a small file. Makes no folder: one that is gone was swept away and must not come back. */
function writeSynced(path: string, text: string): void {
  const file = openSync(path, 'w');
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function tryTo(action: () => void): void {
  try {
    action();
  } catch {
    // What called it has failed already and says why.
  }
}

/** A full disk or a missing permission is the user's to mend. */
function asUserError(error: unknown, step: number): unknown {
  if (!(error instanceof Error) || (error as NodeJS.ErrnoException).syscall === undefined) return error;
  return new UserError(`the checkpoint of step ${step} could not be saved`, {
    found: error.message,
    next: 'make room or give permission, then start the run again: it goes on from the checkpoint before',
    cause: error,
  });
}
