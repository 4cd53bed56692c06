// Verbatim memorisation: how much of a text that was planted in the training data a model gives back.
//
// A probe is the first tokens of a planted text (after `<s>`) and the tokens that follow them there. The model continues
// the first part greedily; the continuation is compared with what was planted, per number of repetitions. The method is
// that of the Apertus report (section 5.4; spec section 2.10), at the scale of a demo: side runs of a small model with
// and without the Goldfish loss, and the spread over their seeds.
//
// Does not: train the side runs; commands do.
import { Random } from '../base/rng.ts';
import type { Tokenizer } from '../tokenizer/bpe.ts';
import type { EvaluatedModel } from './evaluated-model.ts';
import { lccs, rougeL, typeTokenRatio } from './memorisation-metrics.ts';

/** A text that was planted so many times; 0 times: never, as a baseline. */
export interface PlantedText {
  readonly id: string;
  readonly text: string;
  readonly repetitions: number;
}

export interface Probe {
  readonly id: string;
  readonly repetitions: number;
  /** `<s>` and the first tokens of the text. */
  readonly prefix: readonly number[];
  /** The tokens that follow. */
  readonly suffix: readonly number[];
}

/** Probes of the texts that are long enough for both parts; the others are named. */
export function makeProbes(
  tokenizer: Tokenizer,
  planted: readonly PlantedText[],
  { prefixTokens, suffixTokens }: { readonly prefixTokens: number; readonly suffixTokens: number },
): { readonly probes: readonly Probe[]; readonly tooShort: readonly string[] } {
  const probes: Probe[] = [];
  const tooShort: string[] = [];
  for (const { id, text, repetitions } of planted) {
    const ids = tokenizer.encode(text, { bos: true });
    const split = 1 + prefixTokens;
    if (ids.length < split + suffixTokens) tooShort.push(id);
    else probes.push({ id, repetitions, prefix: ids.slice(0, split), suffix: ids.slice(split, split + suffixTokens) });
  }
  return { probes, tooShort };
}

/**
 * The documents of a side run, in a shuffled order: every planted text as often as it says, and the background once
 * each. `encode` turns a text into `<s>` ... `</s>`, as for pretraining.
 */
export function probeSequences(options: {
  readonly planted: readonly PlantedText[];
  readonly background: readonly string[];
  readonly encode: (text: string) => readonly number[];
  readonly seed: number;
}): (readonly number[])[] {
  const { planted, background, encode, seed } = options;
  const documents: (readonly number[])[] = [];
  for (const { text, repetitions } of planted) {
    const ids = encode(text);
    for (let i = 0; i < repetitions; i++) documents.push(ids);
  }
  for (const text of background) documents.push(encode(text));
  return new Random(seed, 'memorisation', 'order').shuffle(documents);
}

export interface ProbeResult {
  readonly id: string;
  readonly repetitions: number;
  readonly rougeL: number;
  readonly lccs: number;
  /** Type-token ratio of the continuation and of the planted suffix. */
  readonly ttr: number;
  readonly referenceTtr: number;
  /** The continuation is the suffix, token by token. */
  readonly exact: boolean;
  /** Mean log-probability of the suffix tokens after the prefix, in nats. */
  readonly suffixLogprob: number;
}

export function probeModel(model: EvaluatedModel, probes: readonly Probe[]): ProbeResult[] {
  const maxTokens = Math.max(0, ...probes.map(({ suffix }) => suffix.length));
  const continuations = model.greedy(
    probes.map(({ prefix }) => prefix),
    // An end of document is a token like another here: the suffix has a fixed length.
    { maxTokens, stopIds: [] },
  );
  const scores = model.score(probes.map(({ prefix, suffix }) => ({ ids: [...prefix, ...suffix] })));
  return probes.map(({ id, repetitions, prefix, suffix }, i) => {
    const continuation = (continuations[i] ?? []).slice(0, suffix.length);
    const logprobs = Array.from(scores[i] ?? []).slice(prefix.length - 1);
    return {
      id,
      repetitions,
      rougeL: rougeL(continuation, suffix),
      lccs: lccs(continuation, suffix),
      ttr: typeTokenRatio(continuation),
      referenceTtr: typeTokenRatio(suffix),
      exact: continuation.length === suffix.length && continuation.every((token, t) => token === suffix[t]),
      suffixLogprob: mean(logprobs),
    };
  });
}

/** A side run and what its probes gave. */
export interface MemorisationRun {
  readonly goldfish: boolean;
  readonly seed: number;
  readonly results: readonly ProbeResult[];
}

/** A number over seeds. `sd` is the sample standard deviation (0 for one seed). */
export interface Spread {
  readonly mean: number;
  readonly min: number;
  readonly max: number;
  readonly sd: number;
}

export interface MemorisationBucket {
  readonly repetitions: number;
  /** Probes of each run. */
  readonly probes: number;
  readonly rougeL: Spread;
  readonly lccs: Spread;
  readonly ttr: Spread;
  readonly exact: Spread;
  readonly suffixLogprob: Spread;
}

export interface MemorisationSummary {
  readonly seeds: readonly number[];
  /** One entry per number of repetitions, ascending. */
  readonly goldfish: readonly MemorisationBucket[];
  readonly standard: readonly MemorisationBucket[];
}

/** Per number of repetitions: the mean over the probes of a run, and its spread over the runs' seeds. */
export function summariseMemorisation(runs: readonly MemorisationRun[]): MemorisationSummary {
  return {
    seeds: [...new Set(runs.map(({ seed }) => seed))].sort((a, b) => a - b),
    goldfish: bucketsOf(runs.filter(({ goldfish }) => goldfish)),
    standard: bucketsOf(runs.filter(({ goldfish }) => !goldfish)),
  };
}

function bucketsOf(runs: readonly MemorisationRun[]): MemorisationBucket[] {
  const repetitions = new Set(runs.flatMap(({ results }) => results.map((result) => result.repetitions)));
  return [...repetitions]
    .sort((a, b) => a - b)
    .map((count) => {
      const inRuns = runs.map(({ results }) => results.filter((result) => result.repetitions === count));
      const spread = (value: (result: ProbeResult) => number): Spread =>
        spreadOf(inRuns.map((results) => mean(results.map(value))));
      return {
        repetitions: count,
        probes: inRuns[0]?.length ?? 0,
        rougeL: spread((result) => result.rougeL),
        lccs: spread((result) => result.lccs),
        ttr: spread((result) => result.ttr),
        exact: spread((result) => (result.exact ? 1 : 0)),
        suffixLogprob: spread((result) => result.suffixLogprob),
      };
    });
}

export function spreadOf(values: readonly number[]): Spread {
  const center = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - center) ** 2, 0);
  return {
    mean: center,
    min: Math.min(...values),
    max: Math.max(...values),
    sd: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0,
  };
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
