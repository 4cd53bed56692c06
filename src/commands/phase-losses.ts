// What a model has learnt by the end of each phase: `phases.json` beside it, a row for each phase that is over.
//
// `all` is the loss on a sample of the held-out documents in windows of the phase's length. Where a curriculum has several
// lengths, `long` are the losses on long held-out documents, whole, in windows of the phase's length; where the length
// is about to change and at the end also in windows of the first and of the longest length, so that a model before and
// after can be compared at the same length over the same bytes.
//
// Does not: decide anything; nothing in a run depends on it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { writeJsonAtomic } from '../base/atomic.ts';
import { type Json, readJson } from '../base/json.ts';
import type { Log } from '../base/progress.ts';
import { readValidationDocuments, trainingUnigram } from '../evaluate/evaluate-stage.ts';
import { evaluatedModel } from '../evaluate/evaluated-model.ts';
import { longDocumentLoss, type LongDocumentLoss, positionsText } from '../evaluate/long-documents.ts';
import { type Loss, type ValidationDocument, validationLoss } from '../evaluate/validation.ts';
import type { Unigram } from '../evaluate/unigram.ts';
import type { Apertus } from '../model/apertus.ts';
import { type Curriculum, curriculumOf, type Phase } from '../train/curriculum.ts';
import type { Run } from './run-folder.ts';

/** File of a trained model's folder. */
export const phasesName = 'phases.json';

/** A row of phases.json. */
export interface PhaseLosses {
  readonly phase: string;
  /** Steps and tokens of the run when it was over. */
  readonly step: number;
  readonly tokens: number;
  readonly validation: {
    /** Of the sample, in windows of the phase's length. */
    readonly all: Loss;
    /** Of long documents, shortest window first; empty where the curriculum has one length or no document is long. */
    readonly long: readonly LongDocumentLoss[];
  };
}

/** Tokens of the sample and of the long documents that are scored at most. */
const sampleTokens = 100_000;
const longTokens = 250_000;

/** What measures the model of a run when a phase is over; undefined where the recipe has no phases. */
export function phaseMeasurer(run: Run): ((model: Apertus, phase: Phase) => Promise<Record<string, Json>>) | undefined {
  const { pretrain, seed, model: sizes } = run.recipe;
  if (!pretrain || pretrain.phases.length === 0) return undefined;
  const tokens = run.folder('tokens');
  let options: PhaseLossesOptions | undefined;
  return async (model, phase) => {
    options ??= {
      dir: run.folder('pretrain'),
      curriculum: curriculumOf(pretrain, seed),
      documents: await readValidationDocuments(tokens),
      unigram: trainingUnigram(tokens, sizes.vocabularySize),
      log: run.log,
    };
    return options.documents.length === 0 ? {} : measurePhase(options, model, phase);
  };
}

export interface PhaseLossesOptions {
  /** Folder of phases.json. */
  readonly dir: string;
  readonly curriculum: Curriculum;
  /** All held-out documents. */
  readonly documents: readonly ValidationDocument[];
  readonly unigram: Unigram;
  readonly log: Log;
}

/** Measures `model` at the end of `phase`, adds the row to phases.json and returns the main numbers. */
export function measurePhase(options: PhaseLossesOptions, model: Apertus, phase: Phase): Record<string, Json> {
  const { dir, curriculum, documents, unigram, log } = options;
  const judged = evaluatedModel(model);
  const all = validationLoss({
    model: judged,
    documents: everyNth(documents, sampleTokens),
    unigram,
    window: phase.sequenceLength,
  }).overall;
  const longest = Math.max(...curriculum.phases.map(({ sequenceLength }) => sequenceLength));
  const minTokens = longest / 2;
  const longDocuments = everyNth(
    documents.filter(({ ids }) => ids.length >= minTokens),
    longTokens,
  );
  const long = longDocuments.length === 0 ? [] : windowsAfter(curriculum, phase);
  const losses = long.map((window) => longDocumentLoss({ model: judged, documents: longDocuments, window, minTokens }));
  const step = phase.startStep + phase.steps;
  const row: PhaseLosses = {
    phase: phase.name,
    step,
    tokens: curriculum.tokensBefore(step),
    validation: { all, long: losses },
  };
  log.line(`phase ${phase.name} is over: ${all.bitsPerByte.toFixed(4)} bits per byte held out`);
  for (const { window, bitsPerByte, positions } of losses) {
    log.line(`  long documents, windows of ${window}: ${bitsPerByte.toFixed(4)} (${positionsText(positions)})`);
  }
  const path = join(dir, phasesName);
  const before = readPhases(path).filter((one) => one.step < step);
  writeJsonAtomic(path, [...before, row]);
  const own = losses.find(({ window }) => window === phase.sequenceLength);
  return { bitsPerByte: all.bitsPerByte, ...(own ? { longBitsPerByte: own.bitsPerByte } : {}) };
}

/** The rows of a phases.json; none where there is no file. */
export function readPhases(path: string): PhaseLosses[] {
  if (!existsSync(path)) return [];
  return z.array(z.looseObject({ step: z.int() })).parse(readJson(path, 'phases')) as unknown as PhaseLosses[];
}

/** Windows for long documents after a phase, ascending: see above. */
export function windowsAfter({ phases }: Curriculum, { index, sequenceLength }: Phase): number[] {
  const lengths = phases.map((phase) => phase.sequenceLength);
  const [first = sequenceLength] = lengths;
  const longest = Math.max(...lengths);
  if (Math.min(...lengths) === longest) return [];
  const changes = phases[index + 1]?.sequenceLength !== sequenceLength;
  return [...new Set([sequenceLength, ...(changes ? [first, longest] : [])])].sort((a, b) => a - b);
}

/** Every n-th document, with the smallest n whose documents have at most so many tokens (at least one document). */
function everyNth(documents: readonly ValidationDocument[], tokens: number): ValidationDocument[] {
  for (let n = 1; n < documents.length; n++) {
    const some = documents.filter((_, i) => i % n === 0);
    if (some.reduce((sum, { ids }) => sum + ids.length, 0) <= tokens) return some;
  }
  return documents.slice(0, 1);
}
