// One writer per folder: a lock file that names the process which holds it.
//
// A process that was killed leaves its lock behind. On its own host the next one sees that no such process runs any more
// (same number and same start) and takes the lock over at once. Of another host it sees the file only, so a holder
// touches it every few seconds, from a thread of its own (lock-beat.ts), because kernels keep the main one busy for
// minutes; a lock that is not touched for a minute is taken over. While the holder lives, the next one waits: when it is
// through, there is usually nothing left to do.
//
// Does not: stop a holder that was silent although it lives (a frozen process, a cut network); it is told when it wakes
// up, and what it could still do to checkpoints is refused by train/attempt.ts.
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { startThread } from './thread.ts';

export interface LockHolder {
  readonly pid: number;
  /** When the process began, in clock ticks since boot (Linux), so that a reused number is not mistaken for it. */
  readonly began: string;
  readonly host: string;
}

export interface LockHooks {
  /** Told once who holds the lock; it is waited for. */
  readonly onWait?: (holder: LockHolder) => void;
  /** The holder is on another host and was silent for so long: its lock is taken over. */
  readonly onSilent?: (holder: LockHolder, seconds: number) => void;
  /** Another process took this lock over from us, because we were silent. */
  readonly onLost?: (holder: LockHolder) => void;
  /** Nobody touches our lock any more: other hosts will take us for dead. */
  readonly onUntouched?: (error: Error) => void;
}

export interface LockTimes {
  /** Between two touches by the holder. */
  readonly beatSeconds: number;
  /** A lock of another host that was not touched for so long belongs to nobody. */
  readonly silentSeconds: number;
}

const usualTimes: LockTimes = { beatSeconds: 5, silentSeconds: 60 };

/** What the thread of lock-beat.ts is told. */
export interface Beat {
  readonly path: string;
  /** The text of our lock. */
  readonly text: string;
  readonly seconds: number;
}

const held = new Set<string>();

/** Takes the lock at `path`, waiting for a living holder. Released when this process ends. */
export async function takeLock(path: string, hooks: LockHooks = {}, times = usualTimes): Promise<void> {
  if (held.has(path)) return;
  const self: LockHolder = { pid: process.pid, began: beginOf(process.pid) ?? '', host: hostname() };
  const text = JSON.stringify(self);
  const watch = new Watch(times);
  let isTold = false;
  while (!tryLock(path, text)) {
    const found = look(path);
    if (!found) {
      await setTimeout(10);
      continue;
    }
    const verdict = watch.judge(found);
    if (verdict !== 'living') {
      if (verdict === 'silent') hooks.onSilent?.(found.holder as LockHolder, watch.silence / 1000);
      discard(path, found.text);
      continue;
    }
    if (found.holder && !isTold) hooks.onWait?.(found.holder);
    isTold ||= found.holder !== undefined;
    await setTimeout(200);
  }
  held.add(path);
  const beat: Beat = { path, text, seconds: times.beatSeconds };
  const thread = startThread(import.meta.url, 'lock-beat', beat);
  thread.on('message', (holder: LockHolder) => hooks.onLost?.(holder));
  thread.on('error', (error) => hooks.onUntouched?.(error as Error));
  thread.unref();
  process.on('exit', () => {
    if (look(path)?.text === text) rmSync(path, { force: true });
  });
}

/**
 * Takes away the lock of a holder on one of `hosts`, for who knows otherwise that it is gone: its scheduler says that the job
 * has ended. Returns who held it; undefined where there was no such lock.
 */
export function breakLock(path: string, hosts: ReadonlySet<string>): LockHolder | undefined {
  const found = look(path);
  if (!found?.holder || !hosts.has(found.holder.host)) return undefined;
  discard(path, found.text);
  return found.holder;
}

/** Touches our lock; tells who has it instead of us. */
export function touch({ path, text }: Beat): LockHolder | undefined {
  try {
    const found = look(path);
    if (found && found.text !== text) return found.holder;
    // As a number from our clock: others look whether it changes.
    if (found) utimesSync(path, new Date(), new Date());
  } catch {
    // A file system that is away for a moment; a minute of that and others may think we are gone.
  }
  return undefined;
}

/** A lock as it was found. */
interface Found {
  readonly text: string;
  /** When it was touched, ms since 1970 by the clock of who did. */
  readonly touched: number;
  /** undefined where the text was cut before it said anything. */
  readonly holder: LockHolder | undefined;
}

/** Looks at the same lock again and again, to see whether its holder lives. */
class Watch {
  private readonly times: LockTimes;
  private last: Found | undefined;
  private lookedAt = performance.now();
  /** How long the lock has not changed, ms. */
  private watched = 0;
  /** How long the holder has been silent, ms. */
  silence = 0;

  constructor(times: LockTimes) {
    this.times = times;
  }

  judge(found: Found): 'living' | 'dead' | 'silent' {
    const { beatSeconds, silentSeconds } = this.times;
    const now = performance.now();
    const isSame = found.text === this.last?.text && found.touched === this.last.touched;
    // A long pause was ours, and perhaps the holder's too: a suspended job, a laptop that slept.
    this.watched = isSame ? this.watched + Math.min(now - this.lookedAt, 1000) : 0;
    this.lookedAt = now;
    this.last = found;
    if (!found.holder) return this.watched > 1000 ? 'dead' : 'living';
    if (found.holder.host === hostname()) return beginOf(found.holder.pid) === found.holder.began ? 'living' : 'dead';
    // Hosts' clocks may differ. Where they say that it is long silent already, a few beats that do not come prove it.
    const age = Date.now() - found.touched;
    this.silence = Math.max(this.watched, age);
    const enough = age > silentSeconds * 1000 ? Math.min(silentSeconds, 3 * beatSeconds) : silentSeconds;
    return this.watched > enough * 1000 ? 'silent' : 'living';
  }
}

function tryLock(path: string, text: string): boolean {
  let file: number;
  try {
    file = openSync(path, 'wx');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  writeSync(file, text);
  closeSync(file);
  return true;
}

/** The lock, or undefined where there is none. Opened, because network file systems ask their server only then. */
function look(path: string): Found | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if (['ENOENT', 'ESTALE'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
  try {
    const touched = fstatSync(file).mtimeMs;
    const text = readFileSync(file, 'utf8');
    return { text, touched, holder: parsed(text) };
  } finally {
    closeSync(file);
  }
}

function parsed(text: string): LockHolder | undefined {
  try {
    return JSON.parse(text) as LockHolder;
  } catch {
    return undefined;
  }
}

/** Takes a lock away, unless it is another one by now: somebody else may have come to the same verdict before us. */
function discard(path: string, text: string): void {
  const aside = `${path}.${randomBytes(6).toString('hex')}.old`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (look(aside)?.text !== text) {
    try {
      linkSync(aside, path);
    } catch {
      // A third one took it in this moment; whose lock we moved is told by its next beat.
    }
  }
  rmSync(aside, { force: true });
}

/** Start of a living process, `''` where the system does not tell, undefined where there is no such process. */
export function beginOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Fields after the name, which may hold spaces; the start time is field 22. A zombie is no living process.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    try {
      process.kill(pid, 0);
      return '';
    } catch {
      return undefined;
    }
  }
}
