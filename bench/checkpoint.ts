// What a checkpoint costs training: the stall of the loop, and what steps lose while a thread writes; beside a save that
// the loop waits for, torch.save, and the disk.
//
// One process trains a model of random tokens with AdEMAMix. A round takes each in turn: steps without a save; a save by
// CheckpointWriter with steps until it is committed; the same files written, flushed and hashed by the loop itself (as
// belay 0.1.0 did); as many bytes written and flushed by nothing but write and fsync; torch.save of as many tensors.
// What else the machine does then falls on all alike. The table goes to bench/results/ with --save.
//
//   npm run build && node dist/bench/checkpoint.js [--rounds 5] [--model 0,1,2] [--dir FOLDER] [--save NAME]
//
// --dir is on the disk to be measured (the system's folder for temporary files, unless given). PyTorch: /usr/bin/python3
// with Debian's python3-torch, or BELAY_PEER_PYTHON.
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { parseArgs } from 'node:util';
import { beginFolder, commitFolder, writeJsonAtomic } from '../src/base/atomic.ts';
import { hashFile } from '../src/base/hashing.ts';
import { Random } from '../src/base/rng.ts';
import { packageRoot } from '../src/base/version.ts';
import { Apertus } from '../src/model/apertus.ts';
import { Optimizer } from '../src/optim/optimizer.ts';
import type { ParameterSet } from '../src/tensor/parameters.ts';
import { nativeBackend } from '../src/tensor/backend-native.ts';
import { writeSafetensors } from '../src/tensor/safetensors.ts';
import { Engine } from '../src/tensor/tensor.ts';
import { Attempt } from '../src/train/attempt.ts';
import { CheckpointWriter } from '../src/train/checkpoint-writer.ts';
import { Stepper } from '../src/train/step.ts';
import { type StepSizes, stepModel } from './train-step.ts';

const models: readonly StepSizes[] = [
  { layers: 4, hidden: 128, intermediate: 512, heads: 4, kvHeads: 4, T: 256, B: 8, V: 8192 },
  { layers: 6, hidden: 512, intermediate: 2048, heads: 8, kvHeads: 8, T: 512, B: 4, V: 8192 },
  { layers: 12, hidden: 768, intermediate: 3072, heads: 12, kvHeads: 12, T: 512, B: 2, V: 8192 },
];

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const seconds = (since: number): number => (performance.now() - since) / 1000;

/** A model that trains on one batch of random tokens. */
class Trained {
  readonly parameters: ParameterSet;
  readonly optimizer: Optimizer;
  readonly target: string;
  private readonly stepper: Stepper;
  private readonly rows: ReturnType<typeof randomRows>;
  private readonly B: number;

  constructor(sizes: StepSizes) {
    const backend = nativeBackend({ threads: 2 });
    const model = new Apertus(new Engine(backend, 'float32'), stepModel(sizes));
    model.initialise(0);
    const recipe = { name: 'ademamix', beta1: 0.9, beta2: 0.999, beta3: 0.9999, alpha: 8, eps: 1e-8 } as const;
    this.parameters = model.parameters;
    this.optimizer = new Optimizer(model.parameters, { ...recipe, weightDecay: 0.1, warmupSteps: null }, 1);
    this.stepper = new Stepper(model, this.optimizer, 1);
    this.rows = randomRows(sizes);
    this.B = sizes.B;
    this.target = backend.target;
  }

  /** Seconds of one step. */
  async step(): Promise<number> {
    const started = performance.now();
    const rows = { first: 0, batchSize: this.B, microBatchSize: null };
    const gradients = await this.stepper.gradients({ rows: () => this.rows }, rows);
    this.stepper.update(gradients, 1e-3, 1);
    // As the loop does: what the writer's thread says is heard between steps.
    await new Promise(setImmediate);
    return seconds(started);
  }
}

function randomRows({ B, T, V }: StepSizes) {
  const random = new Random(1, 'tokens');
  const N = B * T;
  const ids = (): Int32Array => Int32Array.from({ length: N }, () => random.integer(V));
  const row = (n: number): number => Math.floor(n / T) * T;
  const batch = {
    B,
    T,
    tokens: ids(),
    positions: Int32Array.from({ length: N }, (_, n) => n % T),
    lo: Int32Array.from({ length: N }, (_, n) => row(n)),
    hi: Int32Array.from({ length: N }, (_, n) => n + 1),
  };
  return { batch, labels: ids(), lossMask: new Float32Array(N).fill(1) };
}

/** The loop writes, flushes and hashes everything itself. */
function saveInLoop(dir: string, { parameters, optimizer }: Trained): void {
  const folder = join(dir, 'step-000000001');
  const aside = beginFolder(folder);
  const { backend } = parameters.engine;
  const weights = parameters.slices.map(({ name, shape }) => ({ name, shape, values: parameters.valuesOf(name) }));
  writeSafetensors(join(aside, 'weights.safetensors'), weights, 'F32', backend);
  const moments = [...optimizer.state].map(([name, values]) => ({ name, shape: [values.length], values }));
  writeSafetensors(join(aside, 'optimizer.safetensors'), moments, 'F32', backend);
  const files = ['weights.safetensors', 'optimizer.safetensors'].map((path) => hashFile(join(aside, path)));
  writeJsonAtomic(join(aside, 'checkpoint.json'), { files });
  commitFolder(folder);
}

/** Nothing but write and fsync. */
function writeRaw(path: string, { parameters, optimizer }: Trained): void {
  const file = openSync(path, 'w');
  for (const values of [parameters.values, ...optimizer.state.values()]) {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, Math.min(bytes.length - at, 1 << 22));
  }
  fsyncSync(file);
  closeSync(file);
}

/** torch.save in a process of its own; undefined where there is no torch. */
class TorchPeer {
  version = '';
  private readonly child: ChildProcessByStdio<Writable, Readable, null>;
  private readonly lines: AsyncIterator<string>;

  private constructor(python: string) {
    const script = join(packageRoot, 'bench', 'peers', 'torch_save.py');
    this.child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  static async start(facts: unknown): Promise<TorchPeer | undefined> {
    const python = process.env['BELAY_PEER_PYTHON'] ?? '/usr/bin/python3';
    if (spawnSync(python, ['-c', 'import torch']).status !== 0) return undefined;
    const peer = new TorchPeer(python);
    peer.version = ((await peer.ask(JSON.stringify(facts))) as { ready: string }).ready;
    return peer;
  }

  async ask(line: string): Promise<unknown> {
    this.child.stdin.write(`${line}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error('the PyTorch peer ended');
    return JSON.parse(value as string);
  }

  end(): void {
    this.child.stdin.end();
  }
}

async function measure(sizes: StepSizes, rounds: number, dir: string): Promise<string[]> {
  const trained = new Trained(sizes);
  const { parameters, optimizer } = trained;
  const bytes = parameters.size * 16;
  const attempt = Attempt.begin(dir, { ranks: 1 });
  const writer = new CheckpointWriter({
    dir: join(dir, 'checkpoints'),
    parameters,
    optimizer,
    rank: 0,
    world: 1,
    attempt,
    retention: { keepLast: 1, keepEverySteps: null, keepPhaseEnds: false },
  });
  const shapes = parameters.slices.map(({ shape }) => shape);
  const torch = await TorchPeer.start({ path: join(dir, 'torch.pt'), shapes });
  const times = { step: [], stall: [], during: [], lost: [], whole: [], inLoop: [], raw: [], torch: [] } as Record<
    'step' | 'stall' | 'during' | 'lost' | 'whole' | 'inLoop' | 'raw' | 'torch',
    number[]
  >;
  let firstStall = 0;
  let saves = 0;
  const state = { samples: 0, phase: 0, phaseSamples: 0, phaseEnd: false, seed: 0, loss: 0, skipped: [], guard: null };
  const save = (): Promise<{ stallSeconds: number }> =>
    writer.save({ ...state, step: ++saves, target: trained.target, compute: 'float32' });
  await trained.step();
  for (let round = 0; round <= rounds; round++) {
    const base = median([await trained.step(), await trained.step(), await trained.step()]);
    const { stallSeconds } = await save();
    const during: number[] = [];
    while (writer.isSaving) during.push(await trained.step());
    await writer.flush();
    let started = performance.now();
    saveInLoop(join(dir, 'in-loop'), trained);
    const inLoop = seconds(started);
    started = performance.now();
    writeRaw(join(dir, 'raw'), trained);
    const raw = seconds(started);
    const peer = torch && sum((await torch.ask('save')) as number[]);
    // The first round touches every page for the first time: its stall is told, and nothing else of it.
    if (round === 0) firstStall = stallSeconds;
    else {
      times.step.push(base);
      times.stall.push(stallSeconds);
      times.during.push(median(during));
      times.lost.push(stallSeconds + Math.max(0, sum(during) - during.length * base));
      times.whole.push(writer.lastSaveSeconds as number);
      times.inLoop.push(inLoop);
      times.raw.push(raw);
      if (peer !== undefined) times.torch.push(peer);
    }
  }
  await writer.close();
  torch?.end();

  const ms = (values: readonly number[]): string =>
    `${(median(values) * 1000).toFixed(1)} (${(Math.min(...values) * 1000).toFixed(1)}-${(Math.max(...values) * 1000).toFixed(1)})`;
  const per = (a: readonly number[], b: readonly number[]): string => (median(a) / median(b)).toFixed(2);
  const rate = (values: readonly number[]): string => `${(bytes / median(values) / 1e6).toFixed(0)} MB/s`;
  const step = median(times.step);
  const { layers, hidden, B, T } = sizes;
  return [
    `### ${(parameters.size / 1e6).toFixed(1)} million parameters, ${(bytes / 1e6).toFixed(0)} MB a checkpoint (${layers} layers, D ${hidden}, T ${T}, B ${B})`,
    '',
    '| | ms, median (min-max) | in steps | |',
    '|---|--:|--:|---|',
    `| a step | ${ms(times.step)} | 1 | ${trained.target}, float32, 2 threads |`,
    `| stall of a save in the background | ${ms(times.stall)} | ${(median(times.stall) / step).toFixed(3)} | copied at ${(bytes / median(times.stall) / 1e9).toFixed(1)} GB/s; the first one ${(firstStall * 1000).toFixed(1)} ms |`,
    `| a step while it is written | ${ms(times.during)} | ${(median(times.during) / step).toFixed(2)} | |`,
    `| all that training loses by it | ${ms(times.lost)} | ${(median(times.lost) / step).toFixed(2)} | stall, and what steps take longer |`,
    `| from the copy to the commit | ${ms(times.whole)} | ${(median(times.whole) / step).toFixed(2)} | ${rate(times.whole)}, ${per(times.raw, times.whole)} of what the disk does |`,
    `| a save that the loop waits for | ${ms(times.inLoop)} | ${(median(times.inLoop) / step).toFixed(2)} | ${per(times.inLoop, times.stall)} x the stall, ${per(times.inLoop, times.lost)} x all that is lost |`,
    `| write and fsync alone | ${ms(times.raw)} | ${(median(times.raw) / step).toFixed(2)} | ${rate(times.raw)} |`,
    ...(torch
      ? [
          `| torch.save ${torch.version} and fsync | ${ms(times.torch)} | ${(median(times.torch) / step).toFixed(2)} | ${per(times.torch, times.stall)} x the stall, ${per(times.torch, times.lost)} x all that is lost; no hashes |`,
        ]
      : []),
    '',
    ...(torch ? [] : ['Not run: torch.save: there is no torch (apt-get install python3-torch).', '']),
  ];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      model: { type: 'string', default: '0,1,2' },
      dir: { type: 'string', default: tmpdir() },
      save: { type: 'string' },
    },
  });
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' });
  const out = [
    '# What a checkpoint costs training',
    '',
    `${new Date().toISOString().slice(0, 10)}, commit ${commit.stdout.trim()}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}, ${values.rounds} interleaved rounds, load ${loadavg()[0]?.toFixed(2)} at the start.`,
    'Weights and three moments, 16 bytes per parameter, one rank.',
    '',
  ];
  for (const index of values.model.split(',')) {
    const dir = mkdtempSync(join(values.dir, 'belay-bench-checkpoint-'));
    try {
      const lines = await measure(models[Number(index)] as StepSizes, Number(values.rounds), dir);
      process.stdout.write(`${lines.join('\n')}\n`);
      out.push(...lines);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }
  if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), out.join('\n'));
}

await main();
