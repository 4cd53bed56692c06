// `belay data train-classifier`: a text classifier from labelled JSON lines.
//
// Does not: train; data/fasttext/ does.
import { buildCommand } from '@stricli/core';
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import { readJsonlLines } from '../base/jsonl.ts';
import { terminalLog } from '../base/progress.ts';
import { evaluateClassifier, HoldOut, type LabelScore } from '../data/fasttext/evaluate.ts';
import { modelOf } from '../data/fasttext/model.ts';
import { ClassifierTrainer, type TrainSettings, trainSettings } from '../data/fasttext/train.ts';
import { writeFastTextModel } from '../data/fasttext/write.ts';
import { realNumber, wholeNumber } from './flags.ts';

interface Flags extends TrainSettings {
  readonly out: string;
  readonly holdOut: number;
  readonly json: boolean;
}

const defaults = trainSettings.parse({});
const whole = (brief: string, value: number, low: number) =>
  ({ kind: 'parsed', parse: wholeNumber(low), brief, default: String(value) }) as const;

const labelled = z.object({ text: z.string(), label: z.string().regex(/^\S+$/) });

export const trainClassifier = buildCommand<Flags, string[]>({
  docs: {
    brief: 'train a text classifier on labelled JSON lines',
    fullDescription: `Reads lines {"text": ..., "label": ...} (.jsonl, .jsonl.gz, .jsonl.zst), trains a linear classifier over words, word n-grams and
character n-grams as fastText does, and writes it in fastText's own format. A share of each label is held out, and precision
and recall on it are printed. The step "classify" runs it on documents. Equal lines, settings and seed give equal bytes.

EXAMPLE
  belay data train-classifier --out quality.bin --dim 16 --word-ngrams 2 --bucket 200000 good.jsonl bad.jsonl
  belay data step classify --set model=quality.bin --set label=good --set threshold=0.5 < in.jsonl > out.jsonl`,
  },
  parameters: {
    flags: {
      out: { kind: 'parsed', parse: String, brief: 'model file to write (.bin)' },
      holdOut: { kind: 'parsed', parse: realNumber(0, 0.9), brief: 'share held out of training', default: '0.1' },
      dim: whole('numbers in a vector', defaults.dim, 1),
      epoch: whole('times that every text is seen', defaults.epoch, 1),
      lr: { kind: 'parsed', parse: realNumber(0, 1000, true), brief: 'learning rate at the start', default: '0.1' },
      wordNgrams: whole('longest run of words that counts', defaults.wordNgrams, 1),
      minn: whole('characters of the shortest n-gram in a word (0: none)', defaults.minn, 0),
      maxn: whole('and of the longest', defaults.maxn, 0),
      bucket: whole('rows that n-grams share', defaults.bucket, 1),
      minCount: whole('rarer words have no row', defaults.minCount, 1),
      seed: whole('decides first values, order and what is held out', defaults.seed, 0),
      json: { kind: 'boolean', brief: 'print the summary as JSON', default: false },
    },
    positional: {
      kind: 'array',
      minimum: 1,
      parameter: { parse: String, brief: 'labelled JSON lines', placeholder: 'FILE' },
    },
  },
  async func({ out, holdOut: share, json, ...given }, ...files) {
    const parsed = trainSettings.safeParse(given);
    if (!parsed.success)
      throw new UserError('the settings of the classifier are not right', {
        found: schemaProblems(parsed.error, trainSettings),
      });
    const settings = parsed.data;
    const log = terminalLog({ quiet: json });
    const trainer = new ClassifierTrainer(settings);
    const holdOut = new HoldOut(share, settings.seed);
    const held: { text: string; label: string }[] = [];
    let rejected = 0;
    const reject = (path: string, line: number | undefined, reason: string): void => {
      rejected++;
      if (rejected <= 10) log.line(`${path}${line === undefined ? '' : `, line ${line}`}: left out, ${reason}`);
    };
    const reading = log.progress('reading', 0, 'lines');
    for (const path of files) {
      for await (const item of readJsonlLines(path)) {
        if ('mark' in item) {
          reject(path, undefined, `damaged at byte ${item.offset}: ${item.reason}`);
          continue;
        }
        const line = labelled.safeParse(item.value);
        if (item.bad !== undefined || !line.success) {
          reject(path, item.line, item.bad ?? 'expected text, and a label without white space');
          continue;
        }
        if (holdOut.takes(line.data.label)) held.push(line.data);
        else trainer.add(line.data.text, line.data.label);
        reading.update(trainer.numLines + held.length);
      }
    }
    reading.finish(`${trainer.numLines} lines to train on, ${held.length} held out, ${rejected} left out`);
    if (trainer.numLines === 0)
      throw new UserError('no line to train on', { found: files.join(', '), expected: '{"text": ..., "label": ...}' });
    const start = performance.now();
    const model = trainer.train(log);
    const seconds = (performance.now() - start) / 1000;
    writeFastTextModel(out, model);
    const scores = evaluateClassifier(modelOf(model), held);
    if (json) {
      const summary = { model: out, settings, lines: trainer.numLines, rejected, tokens: model.numTokens, seconds };
      process.stdout.write(`${JSON.stringify({ ...summary, heldOut: scores }, null, 2)}\n`);
      return;
    }
    const cell = (value: number | null): string => (value === null ? '-' : value.toFixed(3)).padStart(9);
    const row = ([label, { texts, precision, recall }]: [string, LabelScore]): string =>
      `${label.padEnd(20)} ${String(texts).padStart(8)} ${cell(precision)} ${cell(recall)}`;
    process.stdout.write(`${'label'.padEnd(20)}     held precision    recall
${Object.entries(scores.labels).map(row).join('\n')}
accuracy ${cell(scores.accuracy).trim()} of ${scores.texts} held-out texts; ${model.labels.length} labels, ${model.ngrams.words.size} words\n`);
    log.line(`${out}: trained in ${seconds.toFixed(1)} s`);
  },
});
