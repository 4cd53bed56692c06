// The process that starts and ends the jobs of a local queue. One per folder; it ends when there is nothing left to do.
//
// Whoever looks at the queue starts it where it is missing, so that a job survives its starter, and what a killed daemon
// left running is taken over by the next. The exit code of a job is written by the shell around its script, not by the
// daemon, so that none is lost meanwhile.
//
// Does not: take requests; those are files (local-queue.ts).
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { writeFileAtomic, writeJsonAtomic } from '../../base/atomic.ts';
import { beginOf, takeLock } from '../../base/lock.ts';
import { isAlive, signalJob } from './local-processes.ts';
import { type JobEnd, LocalQueue, now, type QueuedJob, waitsFor } from './local-queue.ts';

/** Between two looks at the folder, ms. */
const pause = 100;
/** What a job gets between SIGTERM and SIGKILL, seconds. */
const killWait = 5;
/** How long the daemon stays without jobs, seconds. */
const idleSeconds = 2;

/** Daemons that this process started. */
const started = new Map<string, ChildProcess>();

/** Starts the daemon of a folder unless it is there. */
export function ensureDaemon(queue: LocalQueue): void {
  // One that was started but does not hold the lock yet is about to.
  const last = started.get(queue.folder);
  if (queue.hasDaemon() || (last && last.exitCode === null && last.signalCode === null)) return;
  const source = import.meta.url.endsWith('.ts');
  const loader = source ? ['--import', import.meta.resolve('tsx')] : [];
  const log = openSync(queue.daemonLog, 'a');
  const child = spawn(process.execPath, [...loader, fileURLToPath(import.meta.url), queue.folder], {
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  child.unref();
  started.set(queue.folder, child);
}

/** Jobs that this daemon sent SIGTERM, and when. */
const ending = new Map<number, { readonly at: number; readonly outcome: JobEnd['outcome'] }>();
const warned = new Set<number>();

async function serve(folder: string): Promise<void> {
  const queue = new LocalQueue(folder);
  await takeLock(queue.lock, {
    // Another one serves already.
    onWait: () => process.exit(0),
    onLost: () => process.exit(1),
  });
  process.on('exit', () => {
    // Who submitted while we were leaving may have taken us for there; the lock is gone by now.
    if (queue.all().some(({ end }) => !end)) ensureDaemon(queue);
  });
  for (let idleSince = now(); now() - idleSince < idleSeconds; await wait(pause)) {
    const all = queue.all();
    const open = all.filter(({ end }) => !end);
    for (const job of open) look(queue, job);
    begin(queue, queue.all());
    if (open.length > 0) idleSince = now();
  }
  process.exit(0);
}

/** Ends a job that is over, and warns or stops one whose time has come. */
function look(queue: LocalQueue, job: QueuedJob): void {
  const { id, request, begin, isCancelled } = job;
  if (!begin) {
    if (isCancelled) end(queue, id, { outcome: 'cancelled', exitCode: 0, signal: 0, reason: '' });
    return;
  }
  const exit = queue.exit(id);
  const stopped = ending.get(id);
  if (exit !== undefined || !isAlive(begin)) {
    // Times of files are a few ms behind the clock.
    const time = Math.max(exit?.time ?? now(), begin.time);
    // What the script left behind ends with it.
    signalJob(begin, 'SIGKILL', true);
    // A shell says 128 + n where a signal ended the script.
    const code = exit?.code ?? 0;
    const signal = code > 128 && code < 193 ? code - 128 : 0;
    const failed = { exitCode: signal > 0 ? 0 : code, signal, reason: '' };
    if (stopped) end(queue, id, { ...failed, outcome: stopped.outcome });
    else if (isCancelled && code !== 0) end(queue, id, { ...failed, outcome: 'cancelled' });
    else if (!exit) end(queue, id, { ...failed, outcome: 'node-failure', reason: 'the shell of the job is gone' });
    else if (code === 0) end(queue, id, { ...failed, outcome: 'completed' }, time);
    else end(queue, id, { ...failed, outcome: 'failed', reason: 'NonZeroExitCode' }, time);
    return;
  }
  const left = begin.time + request.timeSeconds - now();
  if (request.warning && left <= request.warning.seconds && !warned.has(id)) {
    // Again after a daemon was killed: better twice than never.
    if (signalJob(begin, signalName(request.warning.signal), false) > 0) warned.add(id);
  }
  if (stopped) {
    if (now() - stopped.at > killWait) signalJob(begin, 'SIGKILL', true);
  } else if (isCancelled || left <= 0) {
    ending.set(id, { at: now(), outcome: isCancelled ? 'cancelled' : 'time-limit' });
    signalJob(begin, 'SIGCONT', true);
    signalJob(begin, 'SIGTERM', true);
  }
}

function end(queue: LocalQueue, id: number, how: Omit<JobEnd, 'time'>, time = now()): void {
  writeJsonAtomic(queue.path(id, 'end.json'), { time, ...how });
  ending.delete(id);
  warned.delete(id);
}

/** Begins what can begin, in the order of submission: a job that waits for nodes lets none of the later ones pass. */
function begin(queue: LocalQueue, all: readonly QueuedJob[]): void {
  const drained = queue.drained();
  const taken = new Set(all.flatMap((job) => (job.begin && !job.end ? job.begin.nodes : [])));
  let free = queue.nodes().filter((node) => !drained.has(node) && !taken.has(node));
  for (const job of all) {
    const { request } = job;
    if (job.begin || job.end || job.isCancelled || waitsFor(job, all) !== undefined) continue;
    const nodes = free.filter((node) => !request.exclude.includes(node)).slice(0, request.nodes.max);
    if (nodes.length < request.nodes.min) return;
    free = free.filter((node) => !nodes.includes(node));
    start(queue, job, nodes);
  }
}

function start(queue: LocalQueue, { id, request }: QueuedJob, nodes: readonly string[]): void {
  // It waits until its number is written down: where this daemon is killed before, the job is begun again by the next, and
  // this shell gives up. The code is written aside first: a file that is there is whole.
  const around = `
    i=0
    until grep -qs "\\"pid\\":$$," "$3"; do i=$((i + 1)); [ $i -lt 200 ] || exit; sleep 0.05; done
    bash "$1"; code=$?; echo "$code" > "$2.partial"; mv "$2.partial" "$2"`;
  const output = resolve(request.directory, fileName(request.output, id, request));
  rmSync(queue.path(id, 'exit'), { force: true });
  let log: number;
  try {
    readdirSync(request.directory);
    mkdirSync(dirname(output), { recursive: true });
    log = openSync(output, request.append ? 'a' : 'w');
  } catch (error) {
    const time = now();
    writeJsonAtomic(queue.path(id, 'begin.json'), { time, nodes, pid: 0, began: 'never' });
    end(queue, id, { outcome: 'failed', exitCode: 1, signal: 0, reason: (error as Error).message }, time);
    return;
  }
  const files = ['script.sh', 'exit', 'begin.json'].map((name) => queue.path(id, name));
  const child = spawn('sh', ['-c', around, 'sh', ...files], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: request.directory,
    env: {
      ...(JSON.parse(readFileSync(queue.path(id, 'environment.json'), 'utf8')) as NodeJS.ProcessEnv),
      BELAY_JOB_ID: `${id}`,
      BELAY_JOB_NAME: request.name,
      BELAY_JOB_NODES: nodes.join(','),
      BELAY_JOB_ENDS: `${Math.floor(now() + request.timeSeconds)}`,
      BELAY_LOCAL_SCHEDULER: queue.folder,
    },
  });
  closeSync(log);
  child.on('error', () => {
    // No process could be made: the next look sees that there is none.
  });
  child.unref();
  const pid = child.pid ?? 0;
  const began = pid === 0 ? 'never' : (beginOf(pid) ?? 'gone');
  writeFileAtomic(queue.path(id, 'begin.json'), `${JSON.stringify({ time: now(), nodes, pid, began })}\n`);
}

/** %j, %A, %x and %% of sbatch's file names. */
function fileName(pattern: string, id: number, { name }: QueuedJob['request']): string {
  return pattern.replace(/%([jAx%])/g, (_, sign: string) => (sign === 'x' ? name : sign === '%' ? '%' : `${id}`));
}

export function signalName(signal: string): NodeJS.Signals {
  return `SIG${signal.replace(/^SIG/, '')}` as NodeJS.Signals;
}

// Not awaited: modules that threads load must not wait at their top.
if (process.argv[1] === fileURLToPath(import.meta.url)) void serve(process.argv[2] as string);
