// The processes of a local job: a session of its own, whose first process is the shell around the batch script.
//
// Does not: find processes that began a session of their own inside of the job (setsid), as Slurm without cgroups cannot.
import { readdirSync, readFileSync } from 'node:fs';
import { beginOf } from '../../base/lock.ts';
import type { JobBegin } from './local-queue.ts';

/** A process of a session. */
interface SessionProcess {
  readonly pid: number;
  readonly parent: number;
}

/** Whether the shell around the batch script lives. */
export function isAlive({ pid, began }: JobBegin): boolean {
  return beginOf(pid) === began;
}

/**
 * Sends a signal to the processes of a job but the shell around the batch script: to its steps, and with `all` to the
 * batch script too. Returns how many there were.
 */
export function signalJob({ pid: session, began }: JobBegin, signal: NodeJS.Signals, all: boolean): number {
  const found = beginOf(session);
  // The number belongs to another process by now. It does not as long as one of the session lives.
  if (session === 0 || (found !== undefined && found !== began)) return 0;
  const targets = sessionOf(session).filter(({ parent }) => all || parent !== session);
  for (const { pid } of targets) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended in this moment.
    }
  }
  return targets.length;
}

/** All living processes of a session but its first one. */
function sessionOf(session: number): SessionProcess[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const text = readFileSync(`/proc/${name}/stat`, 'utf8');
        // After the name, which may hold spaces: state, parent, group, session.
        const [state, parent, , ofSession] = text.slice(text.lastIndexOf(')') + 2).split(' ');
        const pid = Number(name);
        const isOurs = Number(ofSession) === session && pid !== session && state !== 'Z';
        return isOurs ? [{ pid, parent: Number(parent) }] : [];
      } catch {
        return [];
      }
    });
}
