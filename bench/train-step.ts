// One whole training step against PyTorch, interleaved in one run: forward, backward, clipping and AdamW on 2 threads.
//
// Every engine is a process of its own that answers `run N`; a round asks each in turn, so that what else the machine
// does falls on all alike. Printed: median milliseconds, tokens/s, FLOP/s (counted by model/arithmetic.ts, i.e. the
// Apertus report's appendix D), the fraction of the multiply-add peak measured in the same rounds, and the ratio to the
// best PyTorch row of the same precision and to the best of all. The table goes to bench/results/ with --save.
//
//   npm run build && node dist/bench/train-step.js [--rounds 5] [--model 0,1,2] [--save NAME]
//
// PyTorch: /usr/bin/python3 with Debian's python3-torch, as installed and tuned (OpenMP OpenBLAS, no memory returned to
// the system); a newer one, compiled and with SDPA, where BELAY_PEER_PYTHON names its interpreter.
import { type ChildProcessByStdio, execFileSync, spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/base/version.ts';
import { trainingFlopsPerToken } from '../src/model/arithmetic.ts';
import { type ModelConfig, modelConfig } from '../src/model/config.ts';

export interface StepSizes {
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly T: number;
  readonly B: number;
  readonly V: number;
}

/** The model of a row, for both sides of the comparison. */
export function stepModel({ T, V, layers, hidden, intermediate, heads, kvHeads }: StepSizes): ModelConfig {
  return modelConfig({
    layers,
    hidden,
    intermediate,
    activation: 'xielu',
    heads,
    kvHeads,
    headDim: hidden / heads,
    vocabularySize: V,
    maxPositions: T,
    ropeTheta: 500_000,
    ropeScaling: null,
    rmsNormEps: 1e-5,
    initStd: 0.02,
  });
}

const models: StepSizes[] = [
  { layers: 4, hidden: 256, intermediate: 1024, heads: 4, kvHeads: 4, T: 256, B: 8, V: 8192 },
  { layers: 6, hidden: 512, intermediate: 2048, heads: 8, kvHeads: 8, T: 512, B: 4, V: 16_384 },
  { layers: 12, hidden: 768, intermediate: 3072, heads: 12, kvHeads: 12, T: 512, B: 2, V: 16_384 },
];

interface EngineSpec {
  readonly name: string;
  readonly precision: 'float32' | 'bfloat16';
  readonly ours: boolean;
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
}

const worker = join(packageRoot, 'dist', 'bench', 'train-step-worker.js');
const peer = join(packageRoot, 'bench', 'peers', 'torch_step.py');
const tuned = {
  OPENBLAS_CORETYPE: 'SKYLAKEX',
  LD_LIBRARY_PATH: '/usr/lib/x86_64-linux-gnu/openblas-openmp',
  MALLOC_ARENA_MAX: '1',
  MALLOC_MMAP_MAX_: '0',
  MALLOC_TRIM_THRESHOLD_: '16000000000',
  MALLOC_TOP_PAD_: '512000000',
  GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1',
  ATEN_CPU_CAPABILITY: 'avx512',
};

function engines(): { readonly run: EngineSpec[]; readonly notRun: string[] } {
  const ours = (name: string, target: string, precision: EngineSpec['precision']): EngineSpec => ({
    name,
    precision,
    ours: true,
    command: [process.execPath, worker],
    env: { BELAY_TARGET: target, BELAY_BENCH_COMPUTE: precision },
  });
  const run: EngineSpec[] = [];
  const notRun: string[] = [];
  const flags =
    /flags\s*:(.*)/.exec(execFileSync('cat', ['/proc/cpuinfo'], { encoding: 'utf8' }))?.[1]?.split(' ') ?? [];
  const best = flags.includes('avx512f') ? 'avx512' : flags.includes('avx2') ? 'avx2' : 'portable';
  run.push(ours(`belay ${best}`, best, 'float32'));
  if (flags.includes('avx512_bf16')) run.push(ours('belay avx512bf16', 'avx512bf16', 'bfloat16'));
  else notRun.push('belay avx512bf16: this processor has no AVX512-BF16');
  if (best === 'avx512') {
    run.push(ours('belay avx512', 'avx512', 'bfloat16'), ours('belay avx2 (forced)', 'avx2', 'float32'));
  }

  const torch = (
    name: string,
    python: string,
    precision: EngineSpec['precision'],
    env: Record<string, string>,
  ): EngineSpec => ({
    name,
    precision,
    ours: false,
    command: [python, peer],
    env: { ...env, ...(precision === 'bfloat16' ? { BELAY_PEER_BF16: '1' } : {}) },
  });
  const debian = '/usr/bin/python3';
  if (spawnSync(debian, ['-c', 'import torch']).status === 0) {
    run.push(
      torch('torch (Debian), as installed', debian, 'float32', {}),
      torch('torch (Debian), tuned', debian, 'float32', tuned),
      torch('torch (Debian), as installed', debian, 'bfloat16', {}),
      torch('torch (Debian), tuned', debian, 'bfloat16', tuned),
    );
  } else {
    notRun.push('torch (Debian): /usr/bin/python3 has no torch (apt-get install python3-torch libopenblas0-openmp)');
  }
  const newer = process.env['BELAY_PEER_PYTHON'];
  if (newer) {
    const version = execFileSync(newer, ['-c', 'import torch; print(torch.__version__)'], { encoding: 'utf8' }).trim();
    for (const precision of ['float32', 'bfloat16'] as const) {
      run.push(
        torch(`torch ${version}, eager, SDPA`, newer, precision, {}),
        torch(`torch ${version}, compiled, SDPA`, newer, precision, { BELAY_PEER_MODE: 'compiled' }),
      );
    }
  } else {
    notRun.push('a newer torch, eager and compiled, SDPA: BELAY_PEER_PYTHON is not set');
  }
  return { run, notRun };
}

/** A process that answers one line per line. */
class Peer {
  readonly spec: EngineSpec;
  readonly times: number[] = [];
  readonly peaks: number[] = [];
  ended = false;
  private readonly child: ChildProcessByStdio<Writable, Readable, null>;
  private readonly lines: AsyncIterator<string>;

  constructor(spec: EngineSpec) {
    this.spec = spec;
    const [program, ...args] = spec.command;
    const env = { ...process.env, OMP_NUM_THREADS: '2', ...spec.env };
    this.child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
    const reader: Interface = createInterface({ input: this.child.stdout });
    this.lines = reader[Symbol.asyncIterator]();
  }

  /** The answer to a line; undefined, from then on, where the process ended (no memory left, say). */
  async ask(line: string): Promise<unknown> {
    if (this.ended) return undefined;
    this.child.stdin.write(`${line}\n`);
    const { value, done } = await this.lines.next();
    this.ended = done === true;
    return done ? undefined : JSON.parse(value as string);
  }

  end(): void {
    this.child.stdin.end();
    this.child.kill();
  }
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

async function compare(sizes: StepSizes, rounds: number): Promise<string[]> {
  const { run, notRun } = engines();
  const peers = run.map((spec) => new Peer(spec));
  for (const each of peers) await each.ask(JSON.stringify(sizes));
  for (let round = 0; round < rounds; round++) {
    for (const each of peers) {
      const times = (await each.ask('run 2')) as number[] | undefined;
      if (times) each.times.push(median(times));
      if (each.spec.ours && times) each.peaks.push(((await each.ask('peak')) as number[])[0] as number);
    }
  }
  for (const each of peers) each.end();

  const { B, T, V, layers, hidden } = sizes;
  const flops = trainingFlopsPerToken(stepModel(sizes), T) * B * T;
  const whole = peers.filter(({ ended }) => !ended);
  for (const { spec } of peers.filter(({ ended }) => ended))
    notRun.push(`${spec.name}, ${spec.precision}: its process ended before the last round`);
  const bestPeer = (precision?: string): number =>
    Math.min(
      ...whole
        .filter(({ spec }) => !spec.ours && (!precision || spec.precision === precision))
        .map(({ times }) => median(times)),
    );
  const lines = [
    `### ${layers} layers, D ${hidden}, T ${T}, B ${B}, V ${V}: ${(flops / 1e9).toFixed(1)} GFLOP a step`,
    '',
    '| engine | precision | ms, median (min-max) | tokens/s | GFLOP/s | of measured peak | x best torch, same precision | x best torch |',
    '|---|---|--:|--:|--:|--:|--:|--:|',
  ];
  for (const { spec, times, peaks } of whole) {
    const ms = median(times);
    const rate = flops / ms / 1e6;
    const share = spec.ours
      ? `${(rate / (median(peaks) / 1e9)).toFixed(2)} of ${(median(peaks) / 1e9).toFixed(0)}`
      : '';
    lines.push(
      `| ${spec.name} | ${spec.precision} | ${ms.toFixed(1)} (${Math.min(...times).toFixed(1)}-${Math.max(...times).toFixed(1)}) | ${((B * T * 1000) / ms).toFixed(0)} | ${rate.toFixed(0)} | ${share} | ${(bestPeer(spec.precision) / ms).toFixed(2)} | ${(bestPeer() / ms).toFixed(2)} |`,
    );
  }
  for (const line of notRun) lines.push('', `Not run: ${line}.`);
  lines.push('');
  return lines;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      model: { type: 'string', default: '0,1,2' },
      save: { type: 'string' },
    },
  });
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: packageRoot,
    encoding: 'utf8',
  }).stdout.trim();
  const out = [
    '# One training step against PyTorch',
    '',
    `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}, 2 threads, ${values.rounds} interleaved rounds of 2 steps.`,
    'AdamW and clipping on both sides; FLOPs by the Apertus report (appendix D); peak: multiply-adds measured in the same rounds.',
    '',
  ];
  for (const index of values.model.split(',')) {
    const lines = await compare(models[Number(index)] as StepSizes, Number(values.rounds));
    process.stdout.write(`${lines.join('\n')}\n`);
    out.push(...lines);
  }
  if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), out.join('\n'));
}

if (process.argv[1]?.endsWith('train-step.js')) await main();
