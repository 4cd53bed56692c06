// The ablations' arithmetic and their tables; the runs themselves are measurements, not tests.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parameterCount } from '../../src/model/arithmetic.ts';
import { Curriculum } from '../../src/train/curriculum.ts';
import { batchSize, experiments, modelOf, plantedPlan, rateAt, rateOf, steps, sweepSeeds } from './experiments.ts';
import { bestRate, sweepRates } from './run.ts';
import { isSeen, pairedDifference, summarise } from './statistics.ts';
import type { RunResult } from './train-once.ts';
import { type SideResult, writeUp } from './write-up.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-ablations-'));
after(() => rmSync(scratch, { recursive: true }));

test('means, deviations and intervals are those of the book', () => {
  const { n, mean, sd, half } = summarise([1, 2, 3, 4, 5]);
  assert.deepEqual([n, mean], [5, 3]);
  assert.ok(Math.abs(sd - Math.sqrt(2.5)) < 1e-12);
  // t(4 degrees of freedom, 97.5 %) = 2.776, times sd / sqrt(5).
  assert.ok(Math.abs(half - 1.963) < 5e-4);
  assert.ok(Number.isNaN(summarise([1]).half));
});

test('differences are taken seed by seed, and are seen where their interval excludes 0', () => {
  // The seeds differ much more than the sides: unpaired, nothing would be seen.
  const a = [1.01, 2.02, 3.01, 4.02, 5.01];
  const b = [1, 2, 3, 4, 5];
  const difference = pairedDifference(a, b);
  assert.ok(Math.abs(difference.mean - 0.014) < 1e-12);
  assert.ok(isSeen(difference));
  assert.ok(!isSeen(pairedDifference([1, 2, 3], [1.1, 1.9, 3])));
  assert.ok(!isSeen(pairedDifference([1], [2])), 'one seed shows nothing');
  assert.throws(() => pairedDifference([1, 2], [1]), /expected pairs/);
});

test('the sides of an experiment differ in one thing and have as many weights', () => {
  for (const { name, sides } of experiments) {
    const [first, ...others] = sides;
    const count = parameterCount(modelOf(first.settings));
    for (const { name: side, settings } of others) {
      const different = Object.entries(settings).filter(
        ([key, value]) => first.settings[key as keyof typeof settings] !== value,
      );
      assert.equal(different.length, 1, `${name}: ${side} differs in ${different.map(([key]) => key)}`);
      assert.ok(Math.abs(parameterCount(modelOf(settings)) - count) < 20, `${name}: ${side} has another size`);
    }
  }
});

test('both schedules warm up to the peak and end at a tenth of it', () => {
  for (const schedule of ['WSD', 'cosine'] as const) {
    const rate = rateOf({ ...experiments[0]!.sides[0].settings, schedule }, 1);
    const curriculum = new Curriculum({ sequenceLength: 8, batchSize, shards: 1, seed: 1, steps, rate });
    const at = (step: number): number => curriculum.at(step).learningRate;
    assert.equal(at(0.05 * steps), 1);
    assert.ok(Math.abs(at(steps) - 0.1) < 1e-12);
    assert.equal(schedule === 'WSD', at(0.7 * steps) === 1);
  }
});

test('a sweep goes on until the best rate has worse ones on both sides, on one seed and then on all', async () => {
  const lowestAt = async (index: number, onOthers = index): Promise<(readonly [number, number])[]> => {
    const swept = await sweepRates(
      async (rate, seed) => (Math.log2(rate / rateAt(seed === sweepSeeds[0] ? index : onOthers)) + 0.01) ** 2,
    );
    assert.equal(bestRate(swept), rateAt(Math.round((index + 2 * onOthers) / 3)));
    return swept.map(({ rate, losses }) => [rate, losses.length] as const);
  };
  const all = sweepSeeds.length;
  assert.deepEqual(await lowestAt(0), [
    [0.0005, 1],
    [0.00071, all],
    [0.001, all],
    [0.0014, all],
    [0.002, 1],
  ]);
  assert.deepEqual(await lowestAt(6), [
    [0.0005, 1],
    [0.001, 1],
    [0.002, 1],
    [0.004, 1],
    [0.0057, all],
    [0.008, all],
    [0.011, all],
    [0.016, 1],
  ]);
  // The first seed likes 1e-3; the mean of all is lower at 5e-4.
  assert.deepEqual(await lowestAt(0, -3), [
    [0.00035, all],
    [0.0005, all],
    [0.00071, all],
    [0.001, all],
    [0.0014, all],
    [0.002, 1],
  ]);
});

const run = (bitsPerByte: number, rougeL: number): RunResult => ({
  bitsPerByte,
  natsPerToken: bitsPerByte * 1.5,
  unigramBitsPerByte: 4.5,
  trainingLoss: 4,
  countedShare: rougeL > 0.5 ? 0.99 : 0.75,
  parameters: 935_016,
  tokens: 512_000,
  seconds: 1,
  target: 'js',
  compute: 'float32',
  probes: plantedPlan.repetitions.map((repetitions) => ({
    id: `${repetitions}`,
    repetitions,
    rougeL: repetitions === 128 ? rougeL + bitsPerByte / 10 : 0.1 + bitsPerByte / 10,
    lccs: 0,
    ttr: 1,
    referenceTtr: 1,
    exact: repetitions === 128 && rougeL > 0.5,
    suffixLogprob: -3,
  })),
});
const side = (name: string, losses: readonly number[], rougeL: number): SideResult => ({
  name,
  sweep: [
    { rate: 1e-3, losses: [3.4] },
    { rate: 2e-3, losses: [3.1, 3.2, 3.3] },
    { rate: 4e-3, losses: [3.3, 3.3, 3.3] },
  ],
  rate: 2e-3,
  runs: losses.map((loss) => run(loss, rougeL)),
});
const options = { seeds: [1, 2, 3], dir: scratch, label: 'test', facts: ['Facts.'] };

test('a difference whose interval excludes 0 is called by its direction, any other is not seen', () => {
  const experiment = experiments.find(({ name }) => name === 'activation')!;
  const sides = [
    side('xIELU', [3.1, 3.2, 3.3], 0),
    side('SwiGLU', [3.15, 3.251, 3.349], 0),
    side('ReLU²', [3.0, 3.4, 3.2], 0),
  ];
  const lines = writeUp({ ...options, experiment, sides });
  const rows = lines.filter((line) => / ± /.test(line) && line.startsWith('|'));
  assert.match(rows[0] as string, /^\| xIELU \| 935016 \| 0\.002 \| 3\.2000 ± 0\.1000 \| \| \|$/);
  assert.match(rows[1] as string, /\+0\.0500 \[\+0\.0475, \+0\.0525\] \| worse \|$/);
  assert.match(rows[2] as string, /no difference seen \|$/);
  assert.ok(lines.includes('| SwiGLU | (3.4000) | **3.2000** | 3.3000 |'));
  const svg = readFileSync(join(scratch, 'ablation-activation_test.svg'), 'utf8');
  // Nine dots of seeds, nine points of the sweep, three marks of the legend.
  assert.equal(svg.match(/<circle/g)?.length, 21);
  assert.ok(!/NaN|undefined/.test(svg + lines.join('')));
});

test('memorisation has a row for every number of repetitions', () => {
  const experiment = experiments.find(({ name }) => name === 'goldfish')!;
  const sides = [side('Goldfish', [3.1, 3.2, 3.3], 0), side('standard', [3.1, 3.21, 3.29], 0.6)];
  const lines = writeUp({ ...options, experiment, sides });
  const row = (times: number): string =>
    lines.find((line) => line.startsWith(`| ${times} |`) && / ± /.test(line)) ?? '';
  for (const times of plantedPlan.repetitions) assert.ok(row(times), `no row for ${times} repetitions`);
  assert.match(row(128), /-0\.600 \[-0\.602, -0\.598\] \| less \| 0\.00 \| 1\.00 \|/);
  assert.match(row(1), /no difference seen/);
  assert.ok(lines.some((line) => line.includes('25.0 % with Goldfish, 1.0 % without')));
});
