// What a node says of itself: how it is set up, what else runs on it, and how quickly it computes, copies and writes.
//
// Each measurement is a small piece of work, repeated with pauses: a good sample shows what the node can do, bad ones
// how often it does not.
//
// Does not: talk to other nodes (vet-network.ts), or judge (cluster/vetting/judge.ts).
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { availableParallelism, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Pass, Work, WorkProbe } from '../cluster/vetting/measurements.ts';
import { quantile } from '../cluster/vetting/statistics.ts';
import { errorText } from '../base/json.ts';
import { version } from '../base/version.ts';
import { selectedBackend } from '../tensor/backend-select.ts';

export type LocalPass = Pick<Pass, 'work' | 'failures'> & { load?: Pass['load'] };

type Facts = Record<string, string | number>;

/** How this node is set up. What a machine does not tell is left out. */
export function nodeFacts(): Facts {
  const facts: Facts = {
    belay: version,
    kernel: release(),
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    gpus: gpuCount(),
  };
  tell(
    facts,
    'hugePages',
    () => /\[(\w+)\]/.exec(readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8'))?.[1],
  );
  tell(facts, 'sharedMemoryBytes', () => {
    const { bavail, bsize } = statfsSync('/dev/shm');
    return bavail * bsize;
  });
  const limits = {
    openFiles: 'Max open files',
    lockedMemoryBytes: 'Max locked memory',
    coreFileBytes: 'Max core file size',
  };
  for (const [name, line] of Object.entries(limits)) tell(facts, name, () => softLimit(line));
  return { ...facts, ...gpuFacts() };
}

function tell(facts: Facts, name: string, look: () => string | number | undefined): void {
  try {
    const value = look();
    if (value !== undefined) facts[name] = value;
  } catch {
    // Not on this machine.
  }
}

/** A limit of this process; an unlimited one as a number that is larger than any. */
function softLimit(line: string): number | undefined {
  const row = readFileSync('/proc/self/limits', 'utf8')
    .split('\n')
    .find((text) => text.startsWith(line));
  const value = row?.slice(line.length).trim().split(/\s+/)[0];
  return value === 'unlimited' ? Number.MAX_SAFE_INTEGER : value === undefined ? undefined : Number(value);
}

function gpuCount(): number {
  try {
    return readdirSync('/dev').filter((name) => /^nvidia\d+$/.test(name)).length;
  } catch {
    return 0;
  }
}

/** Of NVIDIA's tool, where there are GPUs: the hottest, and the least share of memory that is free. */
function gpuFacts(): Facts {
  if (gpuCount() === 0) return {};
  const args = ['--query-gpu=temperature.gpu,memory.used,memory.total', '--format=csv,noheader,nounits'];
  const { status, stdout } = spawnSync('nvidia-smi', args, { encoding: 'utf8', timeout: 20_000 });
  if (status !== 0) return {};
  const rows = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(',').map(Number) as [number, number, number]);
  const free = rows.map(([, used, total]) => 1 - used / total);
  const facts = { gpuCelsius: Math.max(...rows.map(([celsius]) => celsius)), gpuFreeShare: Math.min(...free) };
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => Number.isFinite(value)));
}

export interface LocalOptions {
  /** Folder on the disk that is measured. */
  readonly scratch: string;
  readonly without: readonly string[];
  /** Only what needs no comparison with other nodes. */
  readonly quick: boolean;
}

/** One pass over this node alone; takes a second or two. A probe that fails says why, and the others go on. */
export async function measureAlone({ scratch, without, quick }: LocalOptions): Promise<LocalPass> {
  const pass: LocalPass = { work: {}, failures: {} };
  if (!without.includes('load')) {
    try {
      pass.load = await foreignLoad();
    } catch (error) {
      pass.failures.load = errorText(error);
    }
  }
  if (quick) return pass;
  const measure: Record<WorkProbe, () => Promise<Work>> = {
    gemm,
    memory,
    write: () => write(scratch),
    fsync: () => fsync(scratch),
  };
  for (const [probe, run] of Object.entries(measure) as [WorkProbe, () => Promise<Work>][]) {
    if (without.includes(probe)) continue;
    try {
      pass.work[probe] = await run();
    } catch (error) {
      pass.failures[probe] = errorText(error).split('\n')[0] as string;
    }
  }
  return pass;
}

async function repeat(times: number, amount: number, unit: string, once: () => void): Promise<Work> {
  // The first time pays for fresh memory and threads that start.
  once();
  const milliseconds: number[] = [];
  for (let i = 0; i < times; i++) {
    // What disturbs a node comes in slices of some milliseconds: samples without pauses would all lie within one.
    await setTimeout(4);
    const start = performance.now();
    once();
    milliseconds.push(performance.now() - start);
  }
  return { milliseconds, amount, unit };
}

async function gemm(): Promise<Work> {
  const { backend } = selectedBackend();
  const size = backend.name === 'js' ? 96 : 768;
  const matrix = (): { data: Float32Array; offset: number; stride: number } => ({
    data: new Float32Array(backend.allocate(size * size * 4), 0, size * size).fill(1 / size),
    offset: 0,
    stride: size,
  });
  const [a, b, c] = [matrix(), matrix(), matrix()];
  return await repeat(20, (2 * size ** 3) / 1e9, 'GFLOP/s', () => {
    backend.gemm('float32', false, false, size, size, size, a, b, false, c);
  });
}

async function memory(): Promise<Work> {
  // Twice this is more than the last cache of any node today.
  const from = new Float64Array((64 << 20) / 8).fill(1);
  const to = new Float64Array(from.length);
  return await repeat(12, (2 * from.byteLength) / 1e9, 'GB/s', () => to.set(from));
}

async function write(dir: string): Promise<Work> {
  const bytes = Buffer.alloc(8 << 20, 1);
  return await onFile(dir, (file) =>
    repeat(6, bytes.length / 1e6, 'MB/s', () => {
      writeSync(file, bytes, 0, bytes.length, 0);
      fdatasyncSync(file);
    }),
  );
}

async function fsync(dir: string): Promise<Work> {
  const bytes = Buffer.alloc(4096, 1);
  return await onFile(dir, (file) =>
    repeat(12, 1, 'per second', () => {
      writeSync(file, bytes, 0, bytes.length, 0);
      fsyncSync(file);
    }),
  );
}

async function onFile<T>(dir: string, use: (file: number) => Promise<T>): Promise<T> {
  const path = join(dir, `belay-vet-${process.pid}`);
  const file = openSync(path, 'w', 0o600);
  try {
    return await use(file);
  } finally {
    closeSync(file);
    rmSync(path, { force: true });
  }
}

/**
 * Cores that other processes of this node want while this one rests, and which of them wants most: the median of some
 * intervals, so that what starts or ends meanwhile is left out, and a thread's long wait that is counted when it ends.
 */
async function foreignLoad(intervals = 5, milliseconds = 100): Promise<NonNullable<Pass['load']>> {
  const totals: number[] = [];
  const named = new Map<string, number[]>();
  let before = threadTimes();
  for (let i = 0; i < intervals; i++) {
    const start = performance.now();
    await setTimeout(milliseconds);
    const after = threadTimes();
    const elapsed = (performance.now() - start) * 1e6;
    let total = 0;
    for (const [thread, { time, name }] of after) {
      const earlier = before.get(thread);
      if (earlier === undefined) continue;
      // No thread can want more than a core; one that seems to is another with the number of an older one.
      const share = Math.min(1, Math.max(0, time - earlier.time) / elapsed);
      total += share;
      const own = named.get(name) ?? new Array<number>(intervals).fill(0);
      own[i] = (own[i] as number) + share;
      named.set(name, own);
    }
    totals.push(total);
    before = after;
  }
  const wants = [...named].map(([name, shares]) => ({ name, cores: quantile(shares, 0.5) }));
  const [most] = wants.sort((a, b) => b.cores - a.cores);
  return { cores: quantile(totals, 0.5), most: most === undefined || most.cores < 0.01 ? 'nothing' : most.name };
}

/**
 * Nanoseconds that threads of other processes have run or waited for a core: what they want, whether or not they get
 * it. Tasks of the same command are the other ranks of this probe.
 */
function threadTimes(): Map<string, { time: number; name: string }> {
  const own = readFileSync('/proc/self/cmdline', 'utf8');
  const times = new Map<string, { time: number; name: string }>();
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8') === own) continue;
      const name = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
      for (const thread of readdirSync(`/proc/${pid}/task`)) {
        const [run = 0, waited = 0] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')
          .split(' ')
          .map(Number);
        times.set(`${pid}/${thread}`, { time: run + waited, name });
      }
    } catch {
      // It ended meanwhile.
    }
  }
  return times;
}

/** Nanoseconds that the main thread has run, and waited for a core. undefined where the kernel does not count them. */
export function ownTimes(): { readonly run: number; readonly waited: number } | undefined {
  try {
    const [run = 0, waited = 0] = readFileSync('/proc/self/schedstat', 'utf8').split(' ').map(Number);
    return { run, waited };
  } catch {
    return undefined;
  }
}
