import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { availableBackends } from '../../test/backends.ts';
import { readLines } from '../base/events.ts';
import { Paused } from '../base/errors.ts';
import { silentLog } from '../base/progress.ts';
import { Random } from '../base/rng.ts';
import { Apertus } from '../model/apertus.ts';
import { modelConfig } from '../model/config.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import type { Backend } from '../tensor/backend.ts';
import { Engine } from '../tensor/tensor.ts';
import { checkpointFolders } from './checkpoint-folder.ts';
import { RunControl } from './control.ts';
import { Curriculum, type CurriculumPlan, type RatePlan } from './curriculum.ts';
import { train, type TrainOptions } from './loop.ts';
import type { TrainingBatch, TrainingData } from './step.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-train-'));
after(() => rmSync(scratch, { recursive: true }));

const config = modelConfig({
  layers: 2,
  hidden: 32,
  intermediate: 64,
  activation: 'xielu',
  heads: 2,
  kvHeads: 1,
  headDim: 16,
  vocabularySize: 64,
  maxPositions: 64,
  ropeTheta: 500_000,
  ropeScaling: null,
  rmsNormEps: 1e-5,
  initStd: 0.02,
});
const B = 4;
const T = 16;

/** Sequences that count upwards from a random start: easy to learn. */
const data: TrainingData = {
  rows(first, count): TrainingBatch {
    const n = count * T;
    const batch = {
      B: count,
      T,
      tokens: new Int32Array(n),
      positions: new Int32Array(n),
      lo: new Int32Array(n),
      hi: new Int32Array(n),
    };
    const labels = new Int32Array(n);
    for (let row = 0; row < count; row++) {
      const start = new Random(1, 'data', first + row).integer(40);
      for (let t = 0; t < T; t++) {
        const at = row * T + t;
        batch.tokens[at] = 4 + ((start + t) % 60);
        labels[at] = 4 + ((start + t + 1) % 60);
        batch.positions[at] = t;
        batch.lo[at] = row * T;
        batch.hi[at] = at + 1;
      }
    }
    return { batch, labels, lossMask: new Float32Array(n).fill(1) };
  },
};

const rate: RatePlan = {
  peak: 3e-3,
  final: 0,
  initial: 0,
  warmup: 2,
  cooldown: 0.3,
  decay: 'WSD',
  cooldownShape: '1-sqrt',
};

function options(
  model: Apertus,
  dir: string,
  { from = data, everySteps = 4, plan = {}, ...more }: Partial<TrainOptions> & Changes = {},
): TrainOptions {
  return {
    dir,
    model,
    openData: () => from,
    curriculum: new Curriculum({ sequenceLength: T, batchSize: B, shards: 2, seed: 1, steps: 14, rate, ...plan }),
    seed: 7,
    optimizer: {
      name: 'ademamix',
      beta1: 0.9,
      beta2: 0.999,
      beta3: 0.999,
      alpha: 2,
      eps: 1e-8,
      weightDecay: 0.1,
      warmupSteps: 'run',
    },
    gradientClip: 1,
    saving: { everySteps, retention: { keepLast: 2, keepEverySteps: null, keepPhaseEnds: false } },
    log: silentLog,
    label: 'test',
    ...more,
  };
}

interface Changes {
  readonly from?: TrainingData;
  readonly everySteps?: number;
  readonly plan?: Partial<CurriculumPlan>;
}

function fresh(backend: Backend = jsBackend()): Apertus {
  const model = new Apertus(new Engine(backend), config);
  model.initialise(7);
  return model;
}

/** Data that stops the run like a kill would: in the middle of step `at`. */
function dying(at: number): TrainingData {
  return {
    rows: (first, count) => {
      if (first + count > at * B + 1) throw new Error('killed');
      return data.rows(first, count);
    },
  };
}

for (const { name, backend } of availableBackends()) {
  test(`${name}: a run killed and resumed three times ends with the bits of an undisturbed one`, async () => {
    const straight = fresh(backend());
    await train(options(straight, join(scratch, `straight-${name.replace('/', '-')}`)));
    const dir = join(scratch, `killed-${name.replace('/', '-')}`);
    for (const at of [3, 6, 11]) {
      await assert.rejects(train(options(fresh(backend()), dir, { from: dying(at) })), /killed/);
    }
    const resumed = fresh(backend());
    await train(options(resumed, dir));
    assert.deepEqual(resumed.parameters.values, straight.parameters.values);
    const steps = readLines<{ step: number }>(join(dir, 'metrics.jsonl')).map(({ step }) => step);
    assert.deepEqual(
      steps,
      Array.from({ length: 14 }, (_, i) => i + 1),
      'each step is logged once',
    );
  });
}

test('the loss falls, and memory is given back', async () => {
  const model = fresh();
  const dir = join(scratch, 'falls');
  await train(options(model, dir));
  const losses = readLines<{ loss: number }>(join(dir, 'metrics.jsonl')).map(({ loss }) => loss);
  assert.ok((losses.at(-1) as number) < 0.8 * (losses[0] as number), `${losses[0]} -> ${losses.at(-1)}`);
  assert.equal(model.engine.memory.liveBytes, 0);
});

test('a damaged checkpoint is named and the one before it used', async () => {
  const dir = join(scratch, 'damaged');
  await assert.rejects(train(options(fresh(), dir, { from: dying(11) })), /killed/);
  const [newest] = checkpointFolders(join(dir, 'checkpoints'));
  const path = join(newest as string, 'weights.safetensors');
  const bytes = readFileSync(path);
  bytes[bytes.length - 5] = (bytes[bytes.length - 5] as number) ^ 1;
  writeFileSync(path, bytes);
  const said: string[] = [];
  const resumed = fresh();
  await train(options(resumed, dir, { log: { ...silentLog, line: (text) => said.push(text) } }));
  assert.match(said.join('\n'), /step-000000008 is damaged .*differs/);
  assert.match(said.join('\n'), /going on from the checkpoint of step 4/);
  const straight = fresh();
  await train(options(straight, join(scratch, 'straight-again')));
  assert.deepEqual(resumed.parameters.values, straight.parameters.values);
});

test('triggers and requests save and pause; the run goes on afterwards', async () => {
  const dir = join(scratch, 'paused');
  mkdirSync(join(dir, 'triggers'), { recursive: true });
  writeFileSync(join(dir, 'triggers', 'exit'), '');
  await assert.rejects(train(options(fresh(), dir)), Paused);
  assert.equal(checkpointFolders(join(dir, 'checkpoints')).length, 1);
  const control = new RunControl();
  control.request = 'save-and-exit';
  await assert.rejects(train(options(fresh(), dir, { control })), /paused after step 2/);
  const model = fresh();
  const result = await train(options(model, dir));
  assert.equal(result.steps, 14);
});

test('a request of the last step is obeyed too, and signals are watched from the first step to there', async () => {
  const dir = join(scratch, 'last');
  const calls: string[] = [];
  const control = new RunControl({ onWatch: () => calls.push('watch'), onRelease: () => calls.push('release') });
  const asking: TrainingData = {
    rows(first, count) {
      assert.deepEqual(calls, ['watch']);
      if (first + count === 14 * B) setImmediate(() => (control.request = 'save-and-exit'));
      return data.rows(first, count);
    },
  };
  await assert.rejects(train(options(fresh(), dir, { control, from: asking })), /paused after step 14/);
  assert.deepEqual(calls, ['watch', 'release']);
  assert.equal((await train(options(fresh(), dir))).steps, 14);
});

test('a checkpoint of another dispatch target is refused unless asked for', async () => {
  const dir = join(scratch, 'target');
  await assert.rejects(train(options(fresh(), dir, { from: dying(5) })), /killed/);
  const other = fresh({ ...jsBackend(), target: 'elsewhere' });
  await assert.rejects(train(options(other, dir)), /trained on other kernels/);
  await train(options(other, dir, { allowOtherTarget: true }));
});

for (const { name, backend } of availableBackends()) {
  test(`${name}: memory stays flat over 1,000 steps`, async () => {
    const small = new Apertus(new Engine(backend()), {
      ...config,
      layers: 1,
      hidden: 8,
      intermediate: 8,
      headDim: 4,
      kvHeads: 2,
    });
    small.initialise(1);
    const { memory } = small.engine;
    const reserved: number[] = [];
    /** Of the process, once everything is compiled and warm and at the end. */
    const seen: NodeJS.MemoryUsage[] = [];
    const watched: TrainingData = {
      rows(step) {
        reserved.push(memory.reservedBytes);
        if (step === 200 || step === 999) seen.push(process.memoryUsage());
        const batch = {
          B: 1,
          T: 3,
          tokens: Int32Array.of(1, 2, step % 60),
          positions: Int32Array.of(0, 1, 2),
          lo: new Int32Array(3),
          hi: Int32Array.of(1, 2, 3),
        };
        return { batch, labels: Int32Array.of(2, 3, 4), lossMask: Float32Array.of(1, 1, 1) };
      },
    };
    const plan = { sequenceLength: 3, batchSize: 1, shards: 1, steps: 1000 };
    const { dir: _, ...rest } = options(small, '', { from: watched, plan });
    await train(rest);
    assert.equal(reserved.at(-1), reserved[2], 'bytes reserved after step 2 and after step 1,000');
    assert.equal(memory.liveBytes, 0);
    const [warm, last] = seen as [NodeJS.MemoryUsage, NodeJS.MemoryUsage];
    // A step that kept only 64 KiB, outside of the counted blocks or in native code, would add 50 MiB. The heap of
    // JavaScript grows until it is collected, so it is taken off, and the slack is for what the collector leaves.
    for (const measure of [
      (usage: NodeJS.MemoryUsage): number => usage.external,
      (usage: NodeJS.MemoryUsage): number => usage.rss - usage.heapTotal,
    ]) {
      const grown = (measure(last) - measure(warm)) / 2 ** 20;
      assert.ok(grown < 32, `${grown.toFixed(1)} MiB more between step 200 and step 1,000`);
    }
  });
}
