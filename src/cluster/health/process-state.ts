// What Linux says about a process that does not say anything itself: its state, what it waits for in the kernel.
//
// Does not: reach other hosts; whoever calls brings a way to run a command there.
import { readFileSync } from 'node:fs';

/** The main thread of a process, as /proc has it. */
export interface ThreadState {
  /** `R (running)`, `S (sleeping)`, `D (disk sleep)`, `T (stopped)`, `Z (zombie)`. */
  readonly state: string;
  /** The function of the kernel it waits in; empty where it does not wait, or the kernel does not tell. */
  readonly waitsIn: string;
  /** Number of the system call it is in, or `running`; empty where the kernel does not tell. */
  readonly call: string;
  /** Frames inside the kernel, which only root is told. */
  readonly kernelStack: readonly string[];
}

/** The main thread of a process of this host; undefined where there is no such process. */
export function threadState(pid: number): ThreadState | undefined {
  const read = (name: string): string => {
    try {
      return readFileSync(`/proc/${pid}/${name}`, 'utf8');
    } catch {
      return '';
    }
  };
  return parseThreadState(files.map((name) => `${mark}${name}\n${read(name)}`).join(''));
}

const files = ['status', 'wchan', 'syscall', 'stack'] as const;
const mark = '=== ';

/** A command for the process's host whose output `parseThreadState` understands. */
export function threadStateCommand(pid: number): string[] {
  const parts = files.map((name) => `echo '${mark}${name}'; cat /proc/${Math.trunc(pid)}/${name} 2>/dev/null; echo`);
  return ['sh', '-c', parts.join('; ')];
}

export function parseThreadState(said: string): ThreadState | undefined {
  const sections = new Map(
    said
      .split(mark)
      .slice(1)
      .map((section) => {
        const end = section.indexOf('\n');
        return [section.slice(0, end), section.slice(end + 1).trim()] as const;
      }),
  );
  const state = /^State:\s*(.*)$/m.exec(sections.get('status') ?? '')?.[1];
  if (state === undefined) return undefined;
  const waitsIn = sections.get('wchan') ?? '';
  const stack = sections.get('stack') ?? '';
  return {
    state,
    waitsIn: waitsIn === '0' ? '' : waitsIn,
    call: (sections.get('syscall') ?? '').split(' ')[0] ?? '',
    kernelStack: stack === '' ? [] : stack.split('\n').map((line) => line.replace(/^\[<[^>]*>\]\s*/, '').trim()),
  };
}
