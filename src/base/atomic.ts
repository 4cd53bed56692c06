// Files and folders that exist whole or not at all: written aside, flushed to the disk, renamed.
//
// A kill at any moment leaves the old file or the new one, plus at most a `.partial` that the next run removes. Folders
// cannot be swapped in one call: a kill between the two renames leaves the old one as `.replaced`, and `recoverFolder`,
// which every reader calls first, puts it back.
//
// What a system refuses is told of the path that was to be written, not of the one aside.
//
// Does not: lock. A path has one writer, unless it is written by writeJsonShared.
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { UserError } from './errors.ts';

/** Writes a file so that a reader sees the old content or the new, never a part. */
export function writeFileAtomic(path: string, data: string | Uint8Array): void {
  writeBy(path, `${path}.partial`, data);
}

function writeBy(path: string, aside: string, data: string | Uint8Array): void {
  const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data;
  let isOpen = false;
  try {
    mkdirSync(dirname(path), { recursive: true });
    const file = openSync(aside, 'w');
    isOpen = true;
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, Math.min(bytes.length - at, 1 << 30));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(aside, path);
  } catch (error) {
    if (isOpen) rmSync(aside, { force: true });
    throw notWritten(path, error);
  }
  syncFolder(dirname(path));
}

/** What a user can mend at a path: a file where a folder must be, or the other way, or no rights. */
const mendable: readonly unknown[] = ['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EISDIR', 'EEXIST', 'ENOTEMPTY'];

/** The error of writing a path, told of that path. */
function notWritten(path: string, error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (!mendable.includes(code)) return error;
  // Behind the reason stand the call and its paths.
  return new UserError(`cannot write ${path}`, { found: message.replace(/, \w+ '[\s\S]*$/, ''), cause: error });
}

/** Makes a folder that a user named, and those above it, where they are not there. */
export function makeFolder(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true });
  } catch (error) {
    throw notWritten(dir, error);
  }
}

/** Flushes a file that was written aside and moves it to `path`. */
export function commitFile(aside: string, path: string): void {
  syncFolder(aside);
  renameSync(aside, path);
  syncFolder(dirname(path));
}

/** Writes a value as indented JSON, atomically. */
export function writeJsonAtomic(path: string, value: unknown): void {
  writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** The same for a path that several processes may write at once, on several hosts: the last one's content stays. */
export function writeJsonShared(path: string, value: unknown): void {
  writeBy(path, `${path}.${randomUUID()}.partial`, `${JSON.stringify(value, null, 2)}\n`);
}

/** Undoes what a kill inside `commitFolder` left: the old folder is put back, or removed where the new one is there. */
export function recoverFolder(dir: string): void {
  const old = `${dir}.replaced`;
  if (!existsSync(old)) return;
  if (existsSync(dir)) rmSync(old, { recursive: true, force: true });
  else renameSync(old, dir);
}

/** An empty folder `<dir>.partial` to build in; what an earlier, killed attempt left there is removed. */
export function beginFolder(dir: string): string {
  const aside = `${dir}.partial`;
  try {
    recoverFolder(dir);
    rmSync(aside, { recursive: true, force: true });
    mkdirSync(aside, { recursive: true });
  } catch (error) {
    throw notWritten(dir, error);
  }
  return aside;
}

/** Removes `<dir>.partial`, of which nothing will come. What cannot be removed stays: why it is removed is the news. */
export function discardFolder(dir: string): void {
  try {
    rmSync(`${dir}.partial`, { recursive: true, force: true });
  } catch {}
}

/** Flushes everything below `<dir>.partial` and moves it to `dir`, replacing what was there. */
export function commitFolder(dir: string): void {
  const aside = `${dir}.partial`;
  syncTree(aside);
  const old = `${dir}.replaced`;
  try {
    if (existsSync(dir)) renameSync(dir, old);
    renameSync(aside, dir);
  } catch (error) {
    throw notWritten(dir, error);
  }
  syncFolder(dirname(dir));
  rmSync(old, { recursive: true, force: true });
}

/** fsync of every file and folder below `dir`. */
export function syncTree(dir: string): void {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) syncTree(path);
    else if (entry.isFile()) syncFolder(path);
  }
  syncFolder(dir);
}

/** fsync of one file or folder: a rename in a folder is on the disk only once the folder is flushed. */
export function syncFolder(path: string): void {
  const handle = openSync(path, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
