import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { availableBackends } from '../../test/backends.ts';
import { readLines } from '../base/events.ts';
import { Paused } from '../base/errors.ts';
import { silentLog } from '../base/progress.ts';
import { parseRecipe, phaseDefaults } from '../base/recipe.ts';
import { Random } from '../base/rng.ts';
import { Apertus } from '../model/apertus.ts';
import { modelConfig } from '../model/config.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import type { Backend } from '../tensor/backend.ts';
import { Engine } from '../tensor/tensor.ts';
import { checkpointFolders } from './checkpoint-folder.ts';
import { RunControl } from './control.ts';
import { Curriculum, type CurriculumPlan, type RatePlan } from './curriculum.ts';
import { guardDefaults } from './guard.ts';
import { train, type TrainOptions } from './loop.ts';
import type { Pulse } from './pulse.ts';
import type { TrainingBatch, TrainingData } from './step.ts';
import type { StepLine } from './step-log.ts';

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

test('the log of an attempt keeps the steps that a resume cuts from the metrics, and the pulse tells where a rank is', async () => {
  const dir = join(scratch, 'steps');
  const calls: string[] = [];
  let busy = 0;
  const pulse: Pulse = {
    began: (attempt, step) => calls.push(`attempt ${attempt} at ${step}`),
    at: (place) => calls.push(place),
    took: (_step, seconds, busySeconds, shards) => {
      assert.ok(busySeconds > 0 && busySeconds <= seconds && shards === 2);
      busy++;
    },
  };
  await assert.rejects(train(options(fresh(), dir, { from: dying(6), startedBy: 'link 1' })), /killed/);
  await train(options(fresh(), dir, { pulse }));
  const linesOf = (attempt: string): StepLine[] => readLines(join(dir, 'attempts', attempt, 'steps.jsonl'));
  const [first, second] = [linesOf('0001'), linesOf('0002')];
  assert.deepEqual(
    [first, second].map((lines) => lines.map(({ step }) => step)),
    [Array.from({ length: 6 }, (_, i) => i + 1), Array.from({ length: 10 }, (_, i) => i + 5)],
  );
  assert.deepEqual(
    first.slice(4).map(({ loss }) => loss),
    second.slice(0, 2).map(({ loss }) => loss),
    'steps that are taken again give the same loss',
  );
  assert.ok(second.every(({ time, seconds }) => seconds > 0 && Math.abs(time - Date.now() / 1000) < 600));
  const startedBy = (attempt: string): unknown =>
    JSON.parse(readFileSync(join(dir, 'attempts', attempt, 'attempt.json'), 'utf8')).startedBy;
  assert.deepEqual([startedBy('0001'), startedBy('0002')], ['link 1', undefined]);
  assert.equal(busy, 10);
  assert.deepEqual(calls.slice(0, 6), [
    'attempt 2 at 4',
    'starting',
    'gradients',
    'exchange',
    'update',
    'between steps',
  ]);
  assert.equal(calls.at(-1), 'ended');
  // A last checkpoint may take much longer than a step, and is no hang.
  assert.deepEqual(calls.slice(-3), ['saving', 'between steps', 'ended']);
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

/** Data that calls `spoil` with the rows of each batch and the number of times these were asked for. */
function spoiled(spoil: (batch: TrainingBatch, first: number, asked: number) => void): TrainingData {
  const asked = new Map<number, number>();
  return {
    rows: async (first, count) => {
      const batch = await data.rows(first, count);
      asked.set(first, (asked.get(first) ?? 0) + 1);
      spoil(batch, first, asked.get(first) as number);
      return batch;
    },
  };
}

const eventsIn = (dir: string): string[] =>
  readLines<{ event: string }>(join(dir, 'events.jsonl'))
    .map(({ event }) => event)
    .filter((event) => !['start', 'checkpoint', 'finished'].includes(event));

const stepsIn = (dir: string): number[] =>
  readLines<{ step: number }>(join(dir, 'metrics.jsonl')).map(({ step }) => step);

test('a step that is not finite is computed again, and passed over where that does not help', async () => {
  const dir = join(scratch, 'not-finite');
  // Shard 0 of step 4 is bad once, that of step 6 always.
  const from = spoiled(({ lossMask }, first, asked) => {
    if ((first === 3 * B && asked === 1) || first === 5 * B) lossMask[0] = Number.NaN;
  });
  const model = fresh();
  await train(options(model, dir, { from }));
  assert.deepEqual(eventsIn(dir), ['not-finite', 'transient', 'not-finite', 'not-finite', 'skipped-batch']);
  assert.deepEqual(
    stepsIn(dir),
    Array.from({ length: 14 }, (_, i) => i + 1),
  );
  assert.ok(model.parameters.values.every(Number.isFinite));
  const [newest] = checkpointFolders(join(dir, 'checkpoints'));
  const { skipped } = JSON.parse(readFileSync(join(newest as string, 'checkpoint.json'), 'utf8')) as {
    skipped: unknown;
  };
  assert.deepEqual(skipped, [[5 * B, 6 * B]]);

  // What was passed over stays so after a resume: one at the step after gives the same bits.
  const again = join(scratch, 'not-finite-resumed');
  const dies = (first: number): void => {
    if (first >= 9 * B) throw new Error('killed');
  };
  const killed = spoiled((batch, first, asked) => {
    dies(first);
    if ((first === 3 * B && asked === 1) || first === 5 * B) batch.lossMask[0] = Number.NaN;
  });
  await assert.rejects(train(options(fresh(), again, { from: killed })), /killed/);
  const resumed = fresh();
  await train(options(resumed, again, { from }));
  assert.deepEqual(resumed.parameters.values, model.parameters.values);
});

test('a run that is never finite again stops and says so', async () => {
  const dir = join(scratch, 'never-finite');
  const from = spoiled(({ lossMask }, first) => {
    if (first >= 6 * B) lossMask[0] = Number.NaN;
  });
  const guard = { ...guardDefaults, window: 20, maxSkips: 1, maxRollbacks: 1, skipBefore: 1, skipAfter: 1 };
  await assert.rejects(train(options(fresh(), dir, { from, guard })), /training stopped at step \d+: .*not finite/);
  assert.ok(eventsIn(dir).includes('rolled-back'));
});

test('a jump of the loss that stays: back to a checkpoint before it, past the batches around it, each step logged once', async () => {
  const steps = 90;
  const plan = { steps, rate: { ...rate, peak: 1e-2 } };
  const guard = { ...guardDefaults, window: 24, patience: 3, skipBefore: 2, skipAfter: 4 };
  // From step 61 on the labels of some steps are nonsense, as if shuffled.
  const from = spoiled(({ labels, batch }, first) => {
    const step = Math.floor(first / B) + 1;
    if (step < 61 || step > 66) return;
    for (let n = 0; n < labels.length; n++) labels[n] = 4 + ((31 * (batch.tokens[n] as number) + 7 * n) % 60);
  });
  const dir = join(scratch, 'spike');
  const model = fresh();
  await train(options(model, dir, { from, plan, guard }));
  const events = eventsIn(dir);
  assert.ok(events.includes('loss-spike') && events.includes('rolled-back'), events.join(' '));
  const lines = readLines<{ step: number; loss?: number; skippedSamples?: number }>(join(dir, 'metrics.jsonl'));
  assert.deepEqual(
    lines.map(({ step }) => step),
    Array.from({ length: steps }, (_, i) => i + 1),
  );
  const passedOver = lines.filter(({ loss }) => loss === undefined).map(({ step }) => step);
  for (const step of [61, 62, 63]) assert.ok(passedOver.includes(step), `step ${step} is among ${passedOver}`);
  assert.ok(passedOver.length < 15, `${passedOver}`);
  assert.equal(lines.at(-1)?.skippedSamples, passedOver.length * B);

  // The same run, killed soon after it went back, ends with the same bits.
  const killed = join(scratch, 'spike-killed');
  let wentBack = false;
  const dying: TrainingData = {
    rows: async (first, count) => {
      wentBack ||= existsSync(join(killed, 'events.jsonl')) && eventsIn(killed).includes('rolled-back');
      if (wentBack && first > 70 * B) throw new Error('killed');
      return await from.rows(first, count);
    },
  };
  await assert.rejects(train(options(fresh(), killed, { from: dying, plan, guard })), /killed/);
  const resumed = fresh();
  await train(options(resumed, killed, { from, plan, guard }));
  assert.deepEqual(resumed.parameters.values, model.parameters.values);
});

test('phases: data, lengths, RoPE and a new optimizer change where the curriculum says; a resume in each gives the same bits', async () => {
  const phases = parseRecipe(
    {
      name: 'test',
      model: { layers: 1, hidden: 8, intermediate: 8, heads: 1, kvHeads: 1, headDim: 8, vocabularySize: 64 },
      pretrain: {
        peakLearningRate: 1,
        phases: [
          { name: 'one', steps: 5 },
          { name: 'two', steps: 4, seed: 9, batchSize: 2 },
          {
            name: 'long',
            steps: 5,
            batchSize: 2,
            ropeTheta: 1e6,
            resetOptimizer: true,
            learningRate: { peak: 1e-3, warmup: 2, decay: 'constant' },
          },
        ],
      },
    },
    'test',
  ).pretrain?.phases;
  const plan = { steps: null, phases: phases ?? [] };
  const opened: string[] = [];
  const ended: string[] = [];
  const more: Partial<TrainOptions> = {
    openData: ({ name, seed }) => {
      opened.push(`${name} ${seed}`);
      return data;
    },
    onPhaseEnd: async ({ name }) => {
      ended.push(name);
      return { name };
    },
  };
  const straight = fresh();
  const dir = join(scratch, 'phases');
  await train(options(straight, dir, { plan, ...more }));
  assert.deepEqual(opened, ['one 1', 'two 9', 'long 1']);
  assert.deepEqual(ended, ['one', 'two', 'long']);
  assert.equal(straight.config.ropeTheta, 1e6);
  const over = fresh();
  await train(options(over, dir, { plan, ...more }));
  assert.deepEqual([over.config.ropeTheta, over.parameters.values], [1e6, straight.parameters.values]);
  const lines = readLines<{ phase: number; batchSize: number; lr: number }>(join(dir, 'metrics.jsonl'));
  assert.deepEqual(
    lines.map(({ phase, batchSize }) => `${phase}/${batchSize}`),
    [...Array(5).fill('0/4'), ...Array(4).fill('1/2'), ...Array(5).fill('2/2')],
  );
  assert.deepEqual(
    lines.slice(9).map(({ lr }) => lr),
    [0, 5e-4, 1e-3, 1e-3, 1e-3],
  );
  for (const at of [3, 5, 7, 9, 12]) {
    const resumed = fresh();
    const again = join(scratch, `phases-${at}`);
    let calls = 0;
    const dying: TrainingData = {
      rows: (first, count) => {
        // Two shards a step.
        if (++calls > 2 * at) throw new Error('killed');
        return data.rows(first, count);
      },
    };
    const killed = options(fresh(), again, { plan, everySteps: 1, ...more, openData: () => dying });
    await assert.rejects(train(killed), /killed/);
    await train(options(resumed, again, { plan, everySteps: 1, ...more }));
    assert.deepEqual(resumed.parameters.values, straight.parameters.values, `killed in step ${at + 1}`);
  }
});

test('a rollback gives the same bits whichever checkpoints there are, across the beginning of a phase too', async () => {
  const phases = [
    { ...phaseDefaults, name: 'short', steps: 6 },
    { ...phaseDefaults, name: 'long', steps: 84, ropeTheta: 1e6 },
  ];
  const plan = { steps: null, phases, rate: { ...rate, peak: 1e-2 } };
  const guard = { ...guardDefaults, window: 24, patience: 3, skipBefore: 2, skipAfter: 4 };
  const from = spoiled(({ labels, batch }, first) => {
    const step = Math.floor(first / B) + 1;
    if (!(step >= 40 && step <= 45) && !(step >= 70 && step <= 75)) return;
    for (let n = 0; n < labels.length; n++) labels[n] = 4 + ((31 * (batch.tokens[n] as number) + 7 * n) % 60);
  });
  const ends = [];
  for (const everySteps of [3, 1000]) {
    const dir = join(scratch, `rollback-${everySteps}`);
    const model = fresh();
    await train(options(model, dir, { from, plan, guard, everySteps }));
    ends.push({
      weights: model.parameters.values,
      events: eventsIn(dir).filter((event) => event === 'rolled-back').length,
    });
  }
  assert.ok((ends[0]?.events ?? 0) > 0);
  assert.deepEqual(ends[1], ends[0]);
});

test('a rollback into an earlier phase finds the RoPE base of that phase', async () => {
  const phases = [
    { ...phaseDefaults, name: 'short', steps: 10 },
    { ...phaseDefaults, name: 'long', steps: 10, ropeTheta: 1e6 },
  ];
  const model = fresh();
  const bases: string[] = [];
  const from: TrainingData = {
    rows: async (first, count) => {
      bases.push(`${model.config.ropeTheta}`);
      const batch = await data.rows(first, count);
      if (model.config.ropeTheta === 1e6) batch.lossMask[0] = Number.NaN;
      return batch;
    },
  };
  const guard = {
    ...guardDefaults,
    window: 20,
    maxRetries: 0,
    maxSkips: 1,
    maxRollbacks: 1,
    skipBefore: 3,
    skipAfter: 0,
  };
  const training = options(model, join(scratch, 'base'), { from, guard, plan: { steps: null, phases } });
  await assert.rejects(train(training), /not finite/);
  const runs = bases.filter((base, i) => base !== bases[i - 1]);
  assert.deepEqual(runs, ['500000', '1000000', '500000', '1000000']);
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
