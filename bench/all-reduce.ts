// The sum of 16 MiB of float32 over two processes of this machine, ours against Open MPI, interleaved in one run.
//
// Every engine is a pair of processes that wait for orders in named pipes (a rank that waited inside MPI would poll and
// take a core from the others); a round asks each pair in turn. One number is the time of the slower process for one sum
// after a barrier. Rows: ours reading memory and through TCP, Open MPI as mpirun starts it (shared memory) and forced to TCP.
// Limits, measured in the same rounds: both processes copy 16 MiB within their memory at once, and two bare processes
// exchange 16 MiB through the loopback device; a sum over two must bring at least 16 MiB into each.
//
//   npm run build && node dist/bench/all-reduce.js [--rounds 10] [--bytes 16777216] [--save NAME]
//
// Open MPI: bench/peers/mpi_allreduce.c where mpicc compiles it (libopenmpi-dev), else MPI_Allreduce through our own
// way to libmpi, which adds a change of threads to each sum. Loopback: bench/peers/loopback.c where there is a cc.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/base/version.ts';
import type { GroupOptions } from '../src/parallel/group.ts';
import type { Job } from './all-reduce-worker.ts';

const worker = join(packageRoot, 'dist', 'bench', 'all-reduce-worker.js');
const peers = join(packageRoot, 'bench', 'peers');
const folder = mkdtempSync(join(tmpdir(), 'belay-bench-'));
const asRoot = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };

/** Processes that answer an order together: one line of JSON each. */
class Engine {
  readonly name: string;
  readonly times: number[] = [];
  readonly copies: number[] = [];
  #processes: ChildProcess[] = [];
  #orders: number[] = [];
  #answers: AsyncIterator<string>[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** Starts commands; their `ranks` processes take orders in the named pipes that `pipes` begins. */
  async start(commands: readonly (readonly [string, ...string[]])[], pipes: string, ranks: number): Promise<void> {
    const sockets = Array.from({ length: ranks }, (_, rank) => {
      const [orders, answers] = [`${pipes}-${rank}`, `${pipes}-${rank}-out`];
      spawnSync('mkfifo', [orders, answers]);
      // For reading and writing: such an open waits for nobody. A socket, because a stream of a file would block one
      // of node's few threads for every pipe that is silent.
      this.#orders.push(openSync(orders, constants.O_RDWR));
      const socket = new Socket({ fd: openSync(answers, constants.O_RDWR | constants.O_NONBLOCK) });
      this.#answers.push(createInterface({ input: socket })[Symbol.asyncIterator]());
      return socket;
    });
    for (const [file, ...args] of commands) {
      const child = spawn(file, args, { env: { ...process.env, ...asRoot }, stdio: ['ignore', 'ignore', 'inherit'] });
      child.once('close', () => {
        for (const socket of sockets) socket.destroy();
      });
      this.#processes.push(child);
    }
    for (const answers of this.#answers) await answers.next();
  }

  /** Milliseconds of each repetition, of the slowest process. */
  async ask(order: string): Promise<number[]> {
    for (const orders of this.#orders) writeSync(orders, `${order}\n`);
    const all: number[][] = [];
    for (const answers of this.#answers) {
      const { value, done } = await answers.next();
      if (done) throw new Error(`${this.name}: a process ended early`);
      all.push(JSON.parse(value) as number[]);
    }
    return (all[0] as number[]).map((_, i) => Math.max(...all.map((times) => times[i] as number)));
  }

  async end(): Promise<void> {
    const ended = this.#processes.map((child) => new Promise((resolve) => child.once('close', resolve)));
    for (const orders of this.#orders) closeSync(orders);
    const late = setTimeout(() => {
      for (const child of this.#processes) child.kill('SIGKILL');
    }, 5000);
    await Promise.all(ended);
    clearTimeout(late);
  }
}

function job(pipes: string, bytes: number, group: Partial<GroupOptions>): Job {
  const token = randomBytes(8).toString('hex');
  const rest = { rank: 0, world: 2, rendezvous: { file: join(folder, token) }, token, hello: 1 };
  return { bytes, pipes, byMpi: group.transport === 'mpi', group: { transport: 'tcp', ...rest, ...group } };
}

async function ours(name: string, bytes: number, sameHost: boolean): Promise<Engine> {
  const engine = new Engine(name);
  const pipes = join(folder, `ours-${sameHost}`);
  const first = job(pipes, bytes, { sameHost });
  const commands = [0, 1].map((rank) => {
    const own: Job = { ...first, group: { ...first.group, rank } };
    return [process.execPath, worker, JSON.stringify(own)] as const;
  });
  await engine.start(commands, pipes, 2);
  return engine;
}

async function openMpi(name: string, bytes: number, program: string | undefined, args: string[]): Promise<Engine> {
  const engine = new Engine(name);
  const pipes = join(folder, `mpi-${args.length}`);
  const rank = program
    ? [program, `${bytes}`, pipes]
    : [process.execPath, worker, JSON.stringify(job(pipes, bytes, { transport: 'mpi' }))];
  await engine.start([['mpirun', '--oversubscribe', '-n', '2', ...args, ...rank]], pipes, 2);
  return engine;
}

/** The compiled program, or why there is none. */
function compile(compiler: string, source: string): { program: string } | { why: string } {
  const program = join(folder, source.replace('.c', ''));
  const flags = ['-O3', '-march=native', join(peers, source), '-o', program];
  const { status, error, stderr } = spawnSync(compiler, flags, { encoding: 'utf8' });
  return status === 0 ? { program } : { why: error ? `no ${compiler}` : `${compiler}: ${stderr.split('\n')[0]}` };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const range = (values: readonly number[]): string =>
  `${median(values).toFixed(2)} (${Math.min(...values).toFixed(2)}-${Math.max(...values).toFixed(2)})`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '10' },
      bytes: { type: 'string', default: `${1 << 24}` },
      save: { type: 'string' },
    },
  });
  const [rounds, bytes] = [Number(values.rounds), Number(values.bytes)];
  const notRun: string[] = [];
  const notes: string[] = [];
  const memory = await ours('belay, reading memory', bytes, true);
  const engines = [memory, await ours('belay, TCP', bytes, false)];
  let theirs: Engine | undefined;
  if (spawnSync('mpirun', ['--version']).status === 0) {
    const compiled = compile('mpicc', 'mpi_allreduce.c');
    const program = 'program' in compiled ? compiled.program : undefined;
    if ('why' in compiled)
      notes.push(`Open MPI was called through our libmpi.so.40, not by a C program (${compiled.why}).`);
    theirs = await openMpi('Open MPI, as installed', bytes, program, []);
    engines.push(theirs, await openMpi('Open MPI, TCP', bytes, program, ['--mca', 'btl', 'self,tcp']));
    notes.push(`Open MPI: ${spawnSync('mpirun', ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0]}.`);
  } else {
    notRun.push('Open MPI: no mpirun (apt-get install openmpi-bin libopenmpi-dev)');
  }
  const loopback = new Engine('loopback');
  const bare = compile('cc', 'loopback.c');
  if ('program' in bare)
    await loopback.start([[bare.program, `${bytes}`, join(folder, 'bare')]], join(folder, 'bare'), 1);
  else notRun.push(`loopback limit: ${bare.why}`);

  const load = loadavg()[0] as number;
  for (const engine of engines) await engine.ask('run 5');
  for (let round = 0; round < rounds; round++) {
    for (const engine of engines) engine.times.push(...(await engine.ask('run 5')));
    memory.copies.push(...(await memory.ask('copy 5')));
    if ('program' in bare) loopback.times.push(...(await loopback.ask('run 5')));
  }
  for (const engine of [...engines, ...('program' in bare ? [loopback] : [])]) await engine.end();

  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: packageRoot,
    encoding: 'utf8',
  }).stdout.trim();
  const [copy, wire] = [median(memory.copies), median(loopback.times)];
  const lines = [
    `# The sum of ${(bytes / 2 ** 20).toFixed(0)} MiB of float32 over two processes`,
    '',
    `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}, one thread per process, ${rounds} interleaved rounds of 5 sums after 5 to warm up; load before: ${load.toFixed(2)}.`,
    ...notes,
    '',
    '| engine | ms, median (min-max) | MiB/ms | x Open MPI as installed | limit / time: memory copy | limit / time: loopback |',
    '|---|--:|--:|--:|--:|--:|',
    ...engines.map(({ name, times }) => {
      const ms = median(times);
      const ratio = theirs ? (ms / median(theirs.times)).toFixed(2) : '';
      return `| ${name} | ${range(times)} | ${(bytes / 2 ** 20 / ms).toFixed(2)} | ${ratio} | ${(copy / ms).toFixed(2)} | ${(wire / ms).toFixed(2)} |`;
    }),
    '',
    `Limits: both processes copy ${(bytes / 2 ** 20).toFixed(0)} MiB at once: ${range(memory.copies)} ms; exchange through loopback: ${range(loopback.times)} ms.`,
    ...notRun.flatMap((line) => ['', `Not run: ${line}.`]),
    '',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), lines.join('\n'));
}

try {
  await main();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
