// The loader on files that do not fit into memory: 10 GB of shards written, indexed and read at random under a limit of
// 1 GB, a sparse file of 100 GB, and what a training step waits for its batches when they are made ahead.
//
// Everything runs in one process (loader-worker.ts) in a control group of 1 GB where we may make one: then also what the
// system keeps of files counts, and reads come from the disk. Its peak resident memory is checked in any case; more than
// 1 GB fails the bench. Shards lie in a folder of their own below --dir, which is removed afterwards. The table goes to
// bench/results/ with --save.
//
//   npm run build && node dist/bench/loader.js [--dir FOLDER] [--gigabytes 10] [--save NAME]
//
// Does not: compare with another loader; PyTorch's and Megatron's read through memory maps, which no such limit counts.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/base/version.ts';
import type { LoaderMeasurements, Waits } from './loader-worker.ts';
import { enter, makeMemoryLimit, type MemoryLimit, peakOf, removeMemoryLimit } from './memory-limit.ts';

const limitBytes = 2 ** 30;

async function measure(dir: string, gigabytes: number, limit: MemoryLimit): Promise<LoaderMeasurements> {
  const worker = join(packageRoot, 'dist', 'bench', 'loader-worker.js');
  const child = spawn(process.execPath, ['--max-old-space-size=256', worker, dir, String(gigabytes)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  enter(limit, child.pid as number);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => void (output += text));
  // It begins once it is in the group.
  child.stdin.end('go\n');
  const code = await new Promise<string>((resolve) =>
    child.on('close', (status, signal) => resolve(`${status ?? signal}`)),
  );
  if (code !== '0') throw new Error(`the loader ended with ${code} (SIGKILL: it needed more than the limit)`);
  return JSON.parse(output) as LoaderMeasurements;
}

const { values } = parseArgs({
  options: {
    dir: { type: 'string', default: tmpdir() },
    gigabytes: { type: 'string', default: '10' },
    save: { type: 'string' },
  },
});
const gigabytes = Number(values.gigabytes);
const { bavail, bsize } = statfsSync(values.dir);
const free = (bavail * bsize) / 1e9;
if (free < gigabytes + 2) {
  throw new Error(`${values.dir} has ${free.toFixed(1)} GB free; --gigabytes ${gigabytes} needs 2 GB more than that`);
}
const dir = mkdtempSync(join(values.dir, 'belay-loader-'));
const limit = makeMemoryLimit(`belay-loader-${process.pid}`, limitBytes);
const load = loadavg()[0] as number;
let result: LoaderMeasurements;
let peakOfGroup: number | undefined;
try {
  result = await measure(dir, gigabytes, limit);
  peakOfGroup = peakOf(limit);
} finally {
  rmSync(dir, { recursive: true, force: true });
  removeMemoryLimit(limit);
}

const ms = (seconds: number): string => `${(1000 * seconds).toPrecision(3)} ms`;
const MiB = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
const waits = (what: string, { step, median, mean, p99, max, share }: Waits): string =>
  `| ${what} | ${ms(step)} | ${ms(median)} | ${ms(mean)} | ${ms(p99)} | ${ms(max)} | ${(100 * share).toFixed(2)} % |`;
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).trim();
const { written, opened, random, sparse, stalls, peakBytes, batch } = result;
const lines = [
  '# The loader on files larger than memory',
  '',
  `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}, load ${load.toFixed(1)} at the start.`,
  `Limit: ${limit.words}. One process; ids of ${written.type}, rows of T ${batch.T} with document mask, end-of-document mask and Goldfish (50, 50).`,
  '',
  `**Peak resident memory ${MiB(peakBytes)}**${peakOfGroup ? `, of the whole group with pages of files ${MiB(peakOfGroup)}` : ''}; it holds for everything below.`,
  '',
  '| what | how much | time |',
  '|---|--:|--:|',
  `| written | ${(written.bytes / 1e9).toFixed(1)} GB in ${written.pairs} pairs, ${(written.documents / 1e6).toFixed(1)} M documents | ${written.seconds.toFixed(1)} s, ${(written.bytes / written.seconds / 1e6).toFixed(0)} MB/s |`,
  `| index files built | ${(opened.samples / 1e6).toFixed(2)} M samples of a mixture of them, ${MiB(opened.indexBytes)} | ${opened.buildSeconds.toFixed(1)} s |`,
  `| opened again | | ${ms(opened.openSeconds)} |`,
  `| random samples | ${random.count}, every token checked | ${random.perSecond.toFixed(0)} samples/s, ${((random.perSecond * batch.T) / 1e6).toFixed(2)} M tokens/s; median ${ms(random.median)}, p99 ${ms(random.p99)} |`,
  `| sparse file of ${(sparse.bytes / 1e9).toFixed(0)} GB | ${(sparse.samples / 1e6).toFixed(1)} M samples, index files in ${sparse.buildSeconds.toFixed(1)} s | ${sparse.perSecond.toFixed(0)} samples/s; median ${ms(sparse.median)}, p99 ${ms(sparse.p99)} |`,
  '',
  `## What a step waits for its batch (B ${batch.B}, ${stalls.steps} steps)`,
  '',
  'The thread that trains does nothing but sleep for the length of a step, as if kernels ran on other threads.',
  '',
  '| batches | step | median wait | mean | p99 | longest | share of all time |',
  '|---|--:|--:|--:|--:|--:|--:|',
  waits(`made ahead by two threads, at most ${stalls.lookAhead} ready`, stalls.ahead),
  waits('made when asked for', stalls.asked),
  '',
];
console.log(lines.join('\n'));
if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), lines.join('\n'));
if (peakBytes > limitBytes) {
  console.error(`peak resident memory of ${MiB(peakBytes)} is above the limit of ${MiB(limitBytes)}`);
  process.exitCode = 1;
}
