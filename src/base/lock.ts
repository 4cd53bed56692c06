// One writer per folder: a lock file that names the process which holds it.
//
// A process that was killed leaves its lock behind; the next one sees that no such process runs any more (same number
// and same start) and takes it over. While the holder lives, the next one waits: when it is through, there is usually
// nothing left to do.
//
// Does not: work between machines; a lock of another host is waited for until somebody removes it.
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';

interface Holder {
  readonly pid: number;
  /** When the process began, in clock ticks since boot (Linux), so that a reused number is not mistaken for it. */
  readonly began: string;
  readonly host: string;
}

const held = new Set<string>();

/** Takes the lock at `path`, waiting for a living holder; `onWait` is told once who that is. Released when we end. */
export async function takeLock(path: string, onWait: (pid: number, host: string) => void): Promise<void> {
  if (held.has(path)) return;
  let told = false;
  for (;;) {
    if (tryLock(path)) break;
    const holder = readHolder(path);
    if (!holder || (holder.host === hostname() && beginOf(holder.pid) !== holder.began)) {
      rmSync(path, { force: true });
      continue;
    }
    if (!told) onWait(holder.pid, holder.host);
    told = true;
    await setTimeout(200);
  }
  held.add(path);
  process.on('exit', () => rmSync(path, { force: true }));
}

function tryLock(path: string): boolean {
  let file: number;
  try {
    file = openSync(path, 'wx');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  const holder: Holder = { pid: process.pid, began: beginOf(process.pid) ?? '', host: hostname() };
  writeSync(file, JSON.stringify(holder));
  closeSync(file);
  return true;
}

/** The holder, or undefined where the file is gone, or was cut before it said anything. */
function readHolder(path: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Holder;
  } catch {
    return undefined;
  }
}

/** Start of a living process, `''` where the system does not tell, undefined where there is no such process. */
function beginOf(pid: number): string | undefined {
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
