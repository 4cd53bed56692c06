// Attempts of a stage: who may change its checkpoints.
//
// Every start of a training claims the next number by making `attempts/0001/`, `attempts/0002/`, ...; mkdir fails where
// the folder is there, so a number has one owner on any file system. The highest number is the current attempt. An
// older one may still run (a node that hung, a scheduler that gave up too early); it must not change anything.
//
// Looking is not enough: between the look and the rename another attempt may begin. So every change of an attempt is a
// rename out of or into something of its own named `<name>.attempt-0001.partial`, which is there before the look, and
// an attempt that begins moves what older ones have by such names away before it reads anything. The rename of an
// older attempt then came before (and is seen), or finds nothing to rename and fails.
//
// Does not: stop the older process; it ends itself when it finds out.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { syncFolder, writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';

/** What attempt.json says; `started` is a time in ISO 8601. */
export interface AttemptRecord {
  readonly number: number;
  readonly token: string;
  readonly pid: number;
  readonly host: string;
  readonly ranks: number;
  readonly started: string;
  /** What started it, in the words of whoever did: the link and the step of a campaign, say. */
  readonly startedBy?: string;
}

const folderPattern = /^\d{4,}$/;
const asidePattern = /^(.+)\.attempt-(\d{4,})\.(?:partial|swept-(\d{4,}))$/;
/** What is put back when it is swept: checkpoints that were moved away to make room for new ones of the same step. */
const replacedName = 'replaced';

const padded = (number: number): string => String(number).padStart(4, '0');

export class Attempt {
  readonly number: number;
  readonly token: string;
  /** Its folder, `attempts/0001`. */
  readonly dir: string;

  private constructor(runDir: string, number: number, token: string) {
    this.number = number;
    this.token = token;
    this.dir = join(runDir, 'attempts', padded(number));
  }

  /** Claims the next number and clears what older attempts left unfinished in `checkpoints/`. By one process per start. */
  static begin(runDir: string, facts: { readonly ranks: number; readonly startedBy?: string | undefined }): Attempt {
    const attempts = join(runDir, 'attempts');
    mkdirSync(attempts, { recursive: true });
    let number = newestNumber(attempts) + 1;
    while (!claim(join(attempts, padded(number)))) number++;
    const attempt = new Attempt(runDir, number, randomBytes(16).toString('hex'));
    const { token, dir } = attempt;
    const started = new Date().toISOString();
    const { ranks, startedBy } = facts;
    const by = startedBy === undefined ? {} : { startedBy };
    const record: AttemptRecord = { number, token, pid: process.pid, host: hostname(), ranks, started, ...by };
    writeJsonAtomic(join(dir, 'attempt.json'), record);
    syncFolder(attempts);
    attempt.unlessOvertaken(() => sweepOlder(join(runDir, 'checkpoints'), number));
    return attempt;
  }

  /** The same attempt in another process or thread, which was told number and token. */
  static join(runDir: string, number: number, token: string): Attempt {
    return new Attempt(runDir, number, token);
  }

  /** Whether no newer attempt has begun (and this one's folder is still its own). */
  isCurrent(): boolean {
    return newestNumber(dirname(this.dir)) === this.number && readRecord(this.dir)?.token === this.token;
  }

  /** A UserError unless `isCurrent()`. */
  assertCurrent(): void {
    if (this.isCurrent()) return;
    const newest = newestNumber(dirname(this.dir));
    if (newest <= this.number)
      throw new UserError(`the folder of this attempt, ${this.dir}, was removed or replaced while it ran`, {
        next: 'start the run again',
      });
    const host = readRecord(join(dirname(this.dir), padded(newest)))?.host ?? 'an unknown host';
    throw new UserError(`a newer attempt ${newest} has taken over on host ${host}`, {
      found: `this is attempt ${this.number}`,
      next: 'let the newer one go on; this one has stopped and changed nothing after that',
    });
  }

  /**
   * Does something. What a newer attempt swept away meanwhile makes it fail in some way or other; then the error is that
   * of `assertCurrent`.
   */
  unlessOvertaken<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      this.assertCurrent();
      throw error;
    }
  }

  /** The name under which this attempt works on `path` until it is done. */
  aside(path: string): string {
    return `${path}.attempt-${padded(this.number)}.partial`;
  }

  /** The folder for checkpoints of `dir` that make room for new ones. */
  replaced(dir: string): string {
    return this.aside(join(dir, replacedName));
  }
}

/** Makes a folder; false where it is there. */
function claim(dir: string): boolean {
  try {
    mkdirSync(dir);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** The highest number below `attempts`, 0 where there is none. */
function newestNumber(attempts: string): number {
  if (!existsSync(attempts)) return 0;
  return readdirSync(attempts).reduce((newest, name) => Math.max(newest, folderPattern.test(name) ? +name : 0), 0);
}

/** What an attempt wrote about itself; undefined where it was killed before that. */
function readRecord(dir: string): AttemptRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(dir, 'attempt.json'), 'utf8')) as AttemptRecord;
  } catch {
    return undefined;
  }
}

/** Takes away everything that attempts before `number` have under their own names in `dir`. */
function sweepOlder(dir: string, number: number): void {
  if (!existsSync(dir)) return;
  const found = readdirSync(dir).flatMap((entry) => {
    const [, name = '', owner = '', sweeper] = asidePattern.exec(entry) ?? [];
    return name !== '' && Number(owner) < number ? [{ entry, name, owner, isSwept: sweeper !== undefined }] : [];
  });
  // What replaces comes before what is replaced: once the new one cannot be moved in any more, the old one is put back.
  found.sort((a, b) => Number(a.name === replacedName) - Number(b.name === replacedName));
  for (const { entry, name, owner, isSwept } of found) {
    // One rename takes it from its owner at once; removing it in place would leave a folder to rename into meanwhile.
    const swept = isSwept ? join(dir, entry) : join(dir, `${name}.attempt-${owner}.swept-${padded(number)}`);
    if (!isSwept && !moved(join(dir, entry), swept)) continue;
    if (name === replacedName) putBack(swept, dir);
    rmSync(swept, { recursive: true, force: true, maxRetries: 3 });
  }
  syncFolder(dir);
}

/** Moves folders out of `from` into `dir`, unless they were replaced there. */
function putBack(from: string, dir: string): void {
  if (!existsSync(from)) return;
  for (const name of readdirSync(from)) {
    if (!existsSync(join(dir, name))) moved(join(from, name), join(dir, name));
  }
}

/** Renames; false where there is nothing (any more) to rename, or a folder in its place. */
export function moved(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}
