// Log-probabilities of given tokens: how likely the model finds each token after the ones before it.
//
// Sequences of any lengths are laid side by side, without padding, in passes of bounded size: attention never crosses
// from one document to another, and positions restart with each. A document longer than a pass goes through a cache
// piece by piece; one longer than the model's context is read in windows that overlap by half.
//
// Does not: encode text, read files (commands/score.ts), or train.
import type { Apertus } from '../model/apertus.ts';
import { tokenLosses } from '../tensor/ops.ts';
import { KvCache } from './cache.ts';

export interface ScoreSequence {
  /** n tokens; n - 1 of them are predicted. */
  readonly ids: readonly number[];
  /** Indices, ascending, at which a document starts: attention does not look back beyond them. 0 may be left out. */
  readonly documents?: readonly number[];
}

export interface ScoreOptions {
  /** Tokens per forward pass. Default: as many as keep activations near 128 MB. */
  readonly tokensPerPass?: number;
}

/** A run of inputs that see each other, and where the log-probabilities of their labels go. */
interface Span {
  readonly sequence: number;
  /** First input, as an index into the sequence. */
  readonly start: number;
  /** Inputs of the span: [start, end). Input i predicts token i + 1. */
  readonly end: number;
  /** Predictions of inputs before this one were made with more context by an earlier window. */
  readonly keepFrom: number;
}

/**
 * Natural-log probabilities [n - 1] of every predicted token, sequence by sequence. The first token of a later
 * document is predicted from the end of the one before it, as in training. Neighbours change the last bits only.
 */
export function scoreSequences(
  model: Apertus,
  sequences: readonly ScoreSequence[],
  options: ScoreOptions = {},
): Float32Array[] {
  const limit = options.tokensPerPass ?? tokensPerPass(model);
  if (!Number.isInteger(limit) || limit < 1) throw new Error(`scoreSequences: tokensPerPass, got ${limit}`);
  for (const [i, sequence] of sequences.entries()) {
    const reason = whyNotScorable(sequence, model.config.vocabularySize);
    if (reason !== undefined) throw new Error(`scoreSequences: sequence ${i}: ${reason}`);
  }
  const results = sequences.map(({ ids }) => new Float32Array(Math.max(0, ids.length - 1)));
  let pass: Span[] = [];
  let filled = 0;
  const flush = (): void => {
    if (pass.length > 0) scorePass(model, sequences, pass, results);
    pass = [];
    filled = 0;
  };
  for (const [index, sequence] of sequences.entries()) {
    for (const span of spansOf(index, sequence, model.config.maxPositions)) {
      const length = span.end - span.start;
      if (length > limit) {
        scorePieces(model, sequences, span, limit, results);
        continue;
      }
      if (filled + length > limit) flush();
      pass.push(span);
      filled += length;
    }
  }
  flush();
  return results;
}

/** What is wrong with a sequence, for people; undefined when nothing is. */
export function whyNotScorable({ ids, documents = [] }: ScoreSequence, vocabularySize: number): string | undefined {
  for (const [i, id] of ids.entries()) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabularySize) {
      return `ids[${i}] is ${id}, expected a whole number in 0..${vocabularySize - 1}`;
    }
  }
  let before = -1;
  for (const [i, start] of documents.entries()) {
    if (!Number.isInteger(start) || start <= before || start >= Math.max(1, ids.length)) {
      return `documents[${i}] is ${start}, expected ascending indices in 0..${ids.length - 1}`;
    }
    before = start;
  }
  return undefined;
}

/** Passes whose activations take about 128 MB: the wide rows are qkv, up and activated, next to the residual stream. */
function tokensPerPass({ config }: Apertus): number {
  const row = 4 * config.hidden + 2 * config.intermediate + 3 * (config.heads + config.kvHeads) * config.headDim;
  return Math.max(64, Math.min(4096, Math.floor(2 ** 27 / (4 * row))));
}

function* spansOf(sequence: number, { ids, documents = [] }: ScoreSequence, maxPositions: number): Generator<Span> {
  const inputs = ids.length - 1;
  const starts = documents[0] === 0 ? documents : [0, ...documents];
  for (const [i, start] of starts.entries()) {
    const end = Math.min(inputs, starts[i + 1] ?? inputs);
    if (end <= start) continue;
    const stride = Math.max(1, maxPositions >> 1);
    for (let from = start; ; from += stride) {
      const to = Math.min(end, from + maxPositions);
      yield { sequence, start: from, end: to, keepFrom: from === start ? start : from - stride + maxPositions };
      if (to === end) break;
    }
  }
}

/** One forward pass over spans laid side by side. */
function scorePass(
  model: Apertus,
  sequences: readonly ScoreSequence[],
  spans: readonly Span[],
  results: readonly Float32Array[],
): void {
  const N = spans.reduce((sum, { start, end }) => sum + end - start, 0);
  const batch = {
    B: 1,
    T: N,
    tokens: new Int32Array(N),
    positions: new Int32Array(N),
    lo: new Int32Array(N),
    hi: new Int32Array(N),
  };
  const labels = new Int32Array(N);
  let n = 0;
  for (const { sequence, start, end } of spans) {
    const { ids } = sequences[sequence] as ScoreSequence;
    const first = n;
    for (let i = start; i < end; i++, n++) {
      batch.tokens[n] = ids[i] as number;
      batch.positions[n] = i - start;
      batch.lo[n] = first;
      batch.hi[n] = n + 1;
      labels[n] = ids[i + 1] as number;
    }
  }
  model.engine.scope(() => {
    const losses = model.tokenLosses(batch, labels).data;
    let first = 0;
    for (const { sequence, start, end, keepFrom } of spans) {
      for (let i = keepFrom; i < end; i++) {
        (results[sequence] as Float32Array)[i] = -(losses[first + i - start] as number);
      }
      first += end - start;
    }
  });
}

/** One long span in pieces of `limit` inputs, each attending to the cache of those before it. */
function scorePieces(
  model: Apertus,
  sequences: readonly ScoreSequence[],
  { sequence, start, end, keepFrom }: Span,
  limit: number,
  results: readonly Float32Array[],
): void {
  const { ids } = sequences[sequence] as ScoreSequence;
  const into = results[sequence] as Float32Array;
  const head = model.parameters.tensor('lm_head.weight');
  const cache = new KvCache(model, 1);
  try {
    cache.reserve(end - start);
    for (let from = start; from < end; from += limit) {
      const to = Math.min(end, from + limit);
      const positions = Int32Array.from({ length: to - from }, (_, i) => from - start + i);
      model.engine.scope(() => {
        const hidden = model.hiddenCached(
          {
            tokens: Int32Array.from(ids.slice(from, to)),
            positions,
            rows: positions,
            lo: new Int32Array(to - from),
            hi: positions.map((position) => position + 1),
          },
          cache.layers,
        );
        const losses = tokenLosses(hidden, head, Int32Array.from(ids.slice(from + 1, to + 1))).data;
        for (let i = Math.max(from, keepFrom); i < to; i++) into[i] = -(losses[i - from] as number);
      });
    }
  } finally {
    cache.free();
  }
}
