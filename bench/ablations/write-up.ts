// The result file of an experiment: a table with the spread over seeds, paired differences with their intervals, the
// sweep over learning rates, and a plot beside it.
//
// Does not: run anything, or soften a result: an interval that contains 0 is "no difference seen".
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProbeResult } from '../../src/evaluate/memorisation.ts';
import { batchSize, type Experiment, plantedPlan, sequenceLength, steps, sweepSeeds } from './experiments.ts';
import { type Panel, plot } from './plot.ts';
import { isSeen, pairedDifference, type Summary, summarise } from './statistics.ts';
import type { RunResult } from './train-once.ts';

const { repetitions, textsPerBucket } = plantedPlan;

/** What was measured of one side. */
export interface SideResult {
  readonly name: string;
  /** Bits per byte on the seeds of the sweep; only on the first where a rate was far from the best. */
  readonly sweep: readonly { readonly rate: number; readonly losses: readonly number[] }[];
  readonly rate: number;
  /** One per seed, in the order of the seeds. */
  readonly runs: readonly RunResult[];
}

export interface WriteUpOptions {
  readonly experiment: Experiment;
  readonly sides: readonly SideResult[];
  readonly seeds: readonly number[];
  /** Folder of result files, and what follows `ablation-<name>_` in their names. */
  readonly dir: string;
  readonly label: string;
  /** Sentences about machine, commit and data. */
  readonly facts: readonly string[];
}

const signed = (value: number, digits: number): string => `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(digits)}`;
const plusMinus = ({ mean, sd }: Summary, digits = 4): string => `${mean.toFixed(digits)} ± ${sd.toFixed(digits)}`;
const interval = ({ mean, half }: Summary, digits = 4): string =>
  `${signed(mean, digits)} [${signed(mean - half, digits)}, ${signed(mean + half, digits)}]`;
const seen = (difference: Summary): string =>
  isSeen(difference) ? (difference.mean > 0 ? 'worse' : 'better') : 'no difference seen';

/** Writes `ablation-<name>_<label>.md` and `.svg`; returns the lines of the file. */
export function writeUp(options: WriteUpOptions): string[] {
  const { experiment, sides, seeds, dir, label } = options;
  const name = `ablation-${experiment.name}_${label}`;
  const first = sides[0] as SideResult;
  const losses = (side: SideResult): number[] => side.runs.map(({ bitsPerByte }) => bitsPerByte);
  const some = first.runs[0] as RunResult;
  const lines = [
    `# Ablation: ${experiment.title}`,
    '',
    ...options.facts,
    '',
    `${steps} steps of ${batchSize} sequences of ${sequenceLength} tokens (${some.tokens} tokens), ${seeds.length} seeds (${seeds.join(', ')}): a seed is one initialisation and one order of the data, the same on every side. Held-out loss of the unigram: ${some.unigramBitsPerByte.toFixed(3)} bits per byte.`,
    ...experiment.notes.map((note) => `${note}`),
    '',
    `![${experiment.title}](${name}.svg)`,
    '',
    `## Held-out loss`,
    '',
    `Bits per byte, mean ± standard deviation over seeds; difference to ${first.name} of the same seed with its 95 % interval (Student's t); lower is better.`,
    '',
    `| side | parameters | peak rate | bits per byte | difference to ${first.name} | |`,
    '|---|--:|--:|--:|--:|---|',
    ...sides.map((side) => {
      const all = losses(side);
      const difference = pairedDifference(all, losses(first));
      const compared = side === first ? '| |' : `${interval(difference)} | ${seen(difference)} |`;
      return `| ${side.name} | ${side.runs[0]?.parameters} | ${side.rate} | ${plusMinus(summarise(all))} | ${compared}`;
    }),
    '',
    `| seed | ${sides.map(({ name: side }) => side).join(' | ')} |`,
    `|--:|${sides.map(() => '--:|').join('')}`,
    ...seeds.map((seed, i) => `| ${seed} | ${sides.map((side) => losses(side)[i]?.toFixed(4)).join(' | ')} |`),
    '',
    ...(experiment.name === 'goldfish' ? memorisation(sides) : []),
    '## Learning rates',
    '',
    `Bits per byte, mean over the seeds of the sweep (${sweepSeeds.join(', ')}), which are in no other table; in brackets where only the first was run. Each side runs at its own best rate.`,
    '',
    ...sweepTable(sides),
    '',
    '## Beside the report',
    '',
    `Apertus report: ${experiment.report}`,
    `Here, against ${first.name}: ${sides
      .slice(1)
      .map((side) => `${side.name} ${seen(pairedDifference(losses(side), losses(first)))}`)
      .join(
        ', ',
      )}. These models have ${(some.tokens / some.parameters).toFixed(1)} tokens per parameter and a loss that still falls steeply; those of the report had about 67 (1.5B, 100B tokens).`,
    '',
    '## Again',
    '',
    '```sh',
    `npm run build && BELAY_THREADS=1 node dist/bench/ablations/run.js --only ${experiment.name}`,
    '```',
    '',
  ];
  writeFileSync(join(dir, `${name}.svg`), plot(`Ablation: ${experiment.title}`, panelsOf(experiment, sides)));
  writeFileSync(join(dir, `${name}.md`), lines.join('\n'));
  return lines;
}

function ratesOf(sides: readonly SideResult[]): number[] {
  return [...new Set(sides.flatMap(({ sweep }) => sweep.map(({ rate }) => rate)))].sort((a, b) => a - b);
}

function sweepTable(sides: readonly SideResult[]): string[] {
  const rates = ratesOf(sides);
  return [
    `| side | ${rates.join(' | ')} |`,
    `|---|${rates.map(() => '--:|').join('')}`,
    ...sides.map(({ name, sweep, rate: chosen }) => {
      const cells = rates.map((rate) => {
        const losses = sweep.find((one) => one.rate === rate)?.losses;
        if (!losses) return '';
        const mean = summarise(losses).mean.toFixed(4);
        if (losses.length < sweepSeeds.length) return `(${mean})`;
        return rate === chosen ? `**${mean}**` : mean;
      });
      return `| ${name} | ${cells.join(' | ')} |`;
    }),
  ];
}

/** Mean of a probe's number over the texts of a bucket, one value per seed. */
function ofBucket(side: SideResult, times: number, value: (probe: ProbeResult) => number): number[] {
  return side.runs.map(({ probes = [] }) => {
    const inBucket = probes.filter((probe) => probe.repetitions === times);
    return inBucket.reduce((sum, probe) => sum + value(probe), 0) / inBucket.length;
  });
}

const rouge = (probe: ProbeResult): number => probe.rougeL;

function memorisation(sides: readonly SideResult[]): string[] {
  const [goldfish, standard] = sides as readonly [SideResult, SideResult];
  const share = (side: SideResult): string =>
    (100 * summarise(side.runs.map(({ countedShare }) => 1 - countedShare)).mean).toFixed(1);
  return [
    '## Memorisation',
    '',
    `Labels left out of the loss: ${share(goldfish)} % with Goldfish, ${share(standard)} % without (ends of documents).`,
    `Rouge-L of the continuation with the planted text; per seed the mean over ${textsPerBucket} texts, then mean ± standard deviation over seeds; difference Goldfish - standard of the same seed with its 95 % interval. "Word for word" is the share of continuations that are the planted text, "log-probability" that of its tokens after the prefix, in nats.`,
    '',
    '| times seen | Goldfish | standard | difference | | word for word, Goldfish | standard | log-probability, Goldfish | standard |',
    '|--:|--:|--:|--:|---|--:|--:|--:|--:|',
    ...repetitions.map((times) => {
      const difference = pairedDifference(ofBucket(goldfish, times, rouge), ofBucket(standard, times, rouge));
      const exact = (side: SideResult): string =>
        summarise(ofBucket(side, times, (probe) => (probe.exact ? 1 : 0))).mean.toFixed(2);
      const logprob = (side: SideResult): string =>
        summarise(ofBucket(side, times, (probe) => probe.suffixLogprob)).mean.toFixed(2);
      const verdict = isSeen(difference) ? (difference.mean < 0 ? 'less' : 'more') : 'no difference seen';
      return `| ${times} | ${plusMinus(summarise(ofBucket(goldfish, times, rouge)), 3)} | ${plusMinus(summarise(ofBucket(standard, times, rouge)), 3)} | ${interval(difference, 3)} | ${verdict} | ${exact(goldfish)} | ${exact(standard)} | ${logprob(goldfish)} | ${logprob(standard)} |`;
    }),
    '',
  ];
}

function panelsOf(experiment: Experiment, sides: readonly SideResult[]): Panel[] {
  const rates = ratesOf(sides);
  const sweep: Panel = {
    kind: 'curves',
    title: 'Sweep of the learning rate',
    xLabel: 'peak learning rate',
    yLabel: 'bits per byte, held out',
    categories: rates.map(String),
    series: sides.map((side) => ({
      name: side.name,
      points: [...side.sweep]
        .sort((a, b) => a.rate - b.rate)
        .map(({ rate, losses }) => ({
          at: rates.indexOf(rate),
          y: summarise(losses).mean,
          low: Math.min(...losses),
          high: Math.max(...losses),
        })),
    })),
  };
  const dots: Panel = {
    kind: 'dots',
    title: 'At the best rate of each, all seeds',
    yLabel: 'bits per byte, held out',
    series: sides.map(({ name, runs }) => ({ name, values: runs.map(({ bitsPerByte }) => bitsPerByte) })),
  };
  if (experiment.name !== 'goldfish') return [sweep, dots];
  const learnt: Panel = {
    kind: 'curves',
    title: 'Planted texts given back, mean and range of seeds',
    xLabel: 'times seen in training',
    yLabel: 'Rouge-L',
    categories: repetitions.map(String),
    series: sides.map((side) => ({
      name: side.name,
      points: repetitions.map((times, at) => {
        const values = ofBucket(side, times, rouge);
        return { at, y: summarise(values).mean, low: Math.min(...values), high: Math.max(...values) };
      }),
    })),
  };
  return [learnt, dots];
}
