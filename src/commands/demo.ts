// `belay demo`: the whole line in one go, and a table of what came of it.
//
// Killed or paused anywhere, the same command goes on; when all is done it only prints the table again.
//
// Does not: measure anything itself; every number is read from what the stages left.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { buildCommand } from '@stricli/core';
import { readLines } from '../base/events.ts';
import { readJson } from '../base/json.ts';
import { type Manifest, readManifest } from '../base/manifest.ts';
import { amount, duration } from '../base/progress.ts';
import type { MemorisationSummary } from '../evaluate/memorisation.ts';
import { finishRun, runLine, stagesUpTo } from './line.ts';
import { memorisationName } from './memorisation-stage.ts';
import { openRun, planName, type Run } from './run-folder.ts';
import { runOptions, type StageFlags, stageFlags } from './stage-verb.ts';

/** What a finished demo measured. */
export interface DemoResult {
  readonly run: string;
  readonly release: string;
  readonly report: string;
  /** Seconds each stage took, when it last ran. */
  readonly seconds: { readonly [stage: string]: number };
  readonly peakMemoryBytes: number;
  /** Facts of the stages' manifests. */
  readonly facts: { readonly [stage: string]: Manifest['facts'] };
}

/** Runs the whole line in a run folder (docs/run-folder.md) and returns what the stages measured. */
export async function runDemo(flags: StageFlags): Promise<DemoResult> {
  const recipe = flags.recipe ?? (existsSync(join(flags.out, planName)) ? undefined : 'demo');
  const { recipe: _none, ...rest } = flags;
  const run = await openRun(runOptions(recipe === undefined ? rest : { ...rest, recipe }));
  await runLine(run);
  await finishRun(run);
  const result = readResult(run);
  run.log.line(demoTable(run, result));
  return result;
}

function readResult(run: Run): DemoResult {
  const names = stagesUpTo(run.recipe);
  const events = readLines<{ event: string; stage?: string; seconds?: number; peakMemoryBytes?: number }>(
    run.eventsPath,
  );
  const seconds = Object.fromEntries(
    events.flatMap(({ event, stage, seconds: took }) =>
      event === 'stage' && stage !== undefined ? [[stage, took ?? 0]] : [],
    ),
  );
  return {
    run: run.dir,
    release: run.folder('release'),
    report: join(run.dir, 'report.html'),
    seconds,
    peakMemoryBytes: Math.max(0, ...events.map((event) => event.peakMemoryBytes ?? 0)),
    facts: Object.fromEntries(names.map((name) => [name, readManifest(run.folder(name)).facts])),
  };
}

function demoTable(run: Run, { facts, seconds, peakMemoryBytes, report, release }: DemoResult): string {
  const number = (stage: string, fact: string): number => Number(facts[stage]?.[fact] ?? Number.NaN);
  const rows: (readonly [string, string])[] = [
    [
      'model',
      `${amount(number('pretrain', 'parameters'))} parameters, ${amount(number('pretrain', 'tokens'))} tokens in ${number('pretrain', 'steps')} steps`,
    ],
    [
      'validation loss, base',
      `${number('evaluation', 'natsPerToken').toFixed(3)} nats per token, ${number('evaluation', 'bitsPerByte').toFixed(3)} bits per byte`,
    ],
    [
      'unigram, same tokens',
      `${number('evaluation', 'unigramNatsPerToken').toFixed(3)} nats per token, ${number('evaluation', 'unigramBitsPerByte').toFixed(3)} bits per byte`,
    ],
  ];
  if (facts['evaluation']?.['languageAccuracy'] !== undefined) {
    const percent = (fact: string): string => `${(100 * number('evaluation', fact)).toFixed(1)} %`;
    rows.push([
      'which language is this?',
      `${percent('languageAccuracy')} right of ${number('evaluation', 'questions')}; chance ${percent('languageChance')}`,
    ]);
  }
  const memorisation = join(run.folder('memorisation'), memorisationName);
  if (run.recipe.memorisation && existsSync(memorisation)) {
    const { standard, goldfish } = readJson(memorisation) as MemorisationSummary;
    const most = (buckets: MemorisationSummary['standard']): string => {
      const last = buckets.at(-1);
      return last
        ? `${last.rougeL.mean.toFixed(2)} (${last.rougeL.min.toFixed(2)}-${last.rougeL.max.toFixed(2)})`
        : '?';
    };
    rows.push([
      `memorised, ${standard.at(-1)?.repetitions} repetitions`,
      `Rouge-L ${most(standard)}; with Goldfish ${most(goldfish)}; never seen ${standard[0]?.rougeL.mean.toFixed(2)}`,
    ]);
  }
  const total = Object.values(seconds).reduce((sum, value) => sum + value, 0);
  rows.push(
    [
      'time',
      `${duration(total)}: ${Object.entries(seconds)
        .map(([stage, value]) => `${stage} ${duration(value)}`)
        .join(', ')}`,
    ],
    ['peak memory', `${(peakMemoryBytes / 1e9).toFixed(2)} GB`],
    ['report', report],
    ['talk to it', `belay chat --model ${release}`],
    ['where is it from?', `belay trace ${release}`],
  );
  const width = Math.max(...rows.map(([name]) => name.length));
  return ['', ...rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`), ''].join('\n');
}

export const command = buildCommand({
  docs: {
    brief: 'run the whole line, from documents to a model that chats',
    fullDescription:
      'Builds a small web of documents, cleans them, trains a tokenizer and a small Apertus on them, fine-tunes it on conversations, measures and releases it. About ten minutes on two cores. Interrupt it whenever you like: the same command goes on.\n\nEXAMPLE\n  belay demo --out out/demo',
  },
  parameters: { flags: stageFlags },
  func: async (flags: StageFlags) => {
    const result = await runDemo(flags);
    if (flags.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  },
});
