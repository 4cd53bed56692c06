// Continues prompts, many at a time: each prompt is read once into a cache, then all running sequences take a token per step.
//
// A sequence gives the same bits alone and among others: prompts are read one by one, in pieces of fixed size, and
// decoding steps run in groups of at most `groupSize` sequences, because above that number of rows the native matrix
// product takes another path whose sums differ in the last bits. A sequence that ends leaves its slot to the next prompt.
//
// Does not: know text or tokenizers; ids in, ids out.
import { UserError } from '../base/errors.ts';
import { Random } from '../base/rng.ts';
import type { Apertus } from '../model/apertus.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { KvCache } from './cache.ts';
import { checkSampleOptions, logProbability, type SampleOptions, sampleToken } from './sample.ts';

/** Rows up to which a native matrix product treats each row alike (FEW_ROWS of native/cpu/gemm.inl); a test holds it to that. */
const groupSize = 8;
/** Prompt tokens per forward pass: bounds the memory of activations. */
const prefillPiece = 256;

export interface GenerateOptions extends SampleOptions {
  /** New tokens per prompt. Default 128. */
  readonly maxTokens?: number;
  /** Ids that end a sequence. Default none. */
  readonly stopIds?: readonly number[];
  /** Prompt i draws from the random stream named by this seed and i. Default 28. */
  readonly seed?: number;
  /** Also return the log-probability of each token. */
  readonly logprobs?: boolean;
  /** Sequences that run at the same time. Default 16. */
  readonly maxBatch?: number;
  /** Called for every new token that is not a stop id, in the order they are made. */
  readonly onToken?: (prompt: number, id: number) => void;
}

/** `stop`: a stop id was drawn. `length`: maxTokens, or the last position of the model, was reached. */
export type Finish = 'stop' | 'length';

export interface Generated {
  /** The new tokens, without the stop id. */
  readonly ids: number[];
  /** Natural log of the model's untempered probability of each of `ids`. */
  readonly logprobs?: number[];
  readonly finish: Finish;
  /** The stop id that was drawn, with finish `stop`. */
  readonly stopId?: number;
}

/** One step of one sequence: a token, or its end. */
export type GenerateEvent =
  | { readonly kind: 'token'; readonly prompt: number; readonly id: number; readonly logprob?: number }
  | { readonly kind: 'end'; readonly prompt: number; readonly finish: Finish; readonly stopId?: number };

/** Continues every prompt (ids, at least one each). The results are in the order of the prompts. */
export function generate(
  model: Apertus,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions = {},
): Generated[] {
  const ids: number[][] = prompts.map(() => []);
  const logprobs: number[][] = prompts.map(() => []);
  const results: Generated[] = [];
  for (const event of generateEvents(model, prompts, options)) {
    const made = ids[event.prompt] as number[];
    if (event.kind === 'token') {
      made.push(event.id);
      if (event.logprob !== undefined) logprobs[event.prompt]?.push(event.logprob);
      options.onToken?.(event.prompt, event.id);
      continue;
    }
    results[event.prompt] = {
      ids: made,
      ...(options.logprobs ? { logprobs: logprobs[event.prompt] as number[] } : {}),
      finish: event.finish,
      ...(event.stopId === undefined ? {} : { stopId: event.stopId }),
    };
  }
  return results;
}

interface Running {
  readonly prompt: number;
  readonly slot: number;
  readonly random: Random;
  /** Tokens in the cache. */
  length: number;
  /** New tokens drawn so far. */
  made: number;
  /** Drawn, not yet in the cache. */
  last: number;
}

/** The same, token by token: for streaming. Leaving the loop early gives the memory back. */
export function* generateEvents(
  model: Apertus,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions = {},
): Generator<GenerateEvent, void> {
  const { maxTokens = 128, seed = 28, maxBatch = 16, logprobs = false } = options;
  checkSampleOptions(options);
  if (!Number.isInteger(maxTokens) || maxTokens < 0) throw new Error(`generate: maxTokens, got ${maxTokens}`);
  if (!Number.isInteger(maxBatch) || maxBatch < 1) throw new Error(`generate: maxBatch, got ${maxBatch}`);
  for (const [i, prompt] of prompts.entries()) checkPrompt(model, prompt, i);
  const stops = new Set(options.stopIds ?? []);
  const { maxPositions } = model.config;

  const cache = new KvCache(model, Math.min(maxBatch, Math.max(1, prompts.length)));
  const freeSlots = Array.from({ length: cache.slots }, (_, i) => cache.slots - 1 - i);
  let running: Running[] = [];
  let nextPrompt = 0;

  /** Draws the next token of a sequence; undefined when it ended. */
  const advance = function* (sequence: Running, logits: Float32Array): Generator<GenerateEvent, boolean> {
    const { prompt } = sequence;
    const id = sampleToken(logits, options, sequence.random);
    if (stops.has(id)) {
      yield { kind: 'end', prompt, finish: 'stop', stopId: id };
      return false;
    }
    sequence.made++;
    sequence.last = id;
    yield { kind: 'token', prompt, id, ...(logprobs ? { logprob: logProbability(logits, id) } : {}) };
    // The token just drawn needs a position of its own to be continued.
    if (sequence.made < maxTokens && sequence.length < maxPositions) return true;
    yield { kind: 'end', prompt, finish: 'length' };
    return false;
  };

  try {
    while (running.length > 0 || nextPrompt < prompts.length) {
      while (freeSlots.length > 0 && nextPrompt < prompts.length) {
        const prompt = nextPrompt++;
        if (maxTokens === 0) {
          yield { kind: 'end', prompt, finish: 'length' };
          continue;
        }
        const slot = freeSlots.pop() as number;
        const ids = prompts[prompt] as readonly number[];
        const random = new Random(seed, 'generate', prompt);
        const sequence: Running = { prompt, slot, random, length: ids.length, made: 0, last: -1 };
        cache.reserve(Math.min(maxPositions, ids.length + Math.min(maxTokens, 64)));
        if (yield* advance(sequence, prefill(model, cache, slot, ids))) running.push(sequence);
        else freeSlots.push(slot);
      }
      const still: Running[] = [];
      for (let from = 0; from < running.length; from += groupSize) {
        const group = running.slice(from, from + groupSize);
        cache.reserve(Math.max(...group.map(({ length }) => length + 1)));
        const logits = decode(model, cache, group);
        for (const [i, sequence] of group.entries()) {
          sequence.length++;
          if (yield* advance(sequence, logits[i] as Float32Array)) still.push(sequence);
          else freeSlots.push(sequence.slot);
        }
      }
      running = still;
    }
  } finally {
    cache.free();
  }
}

function checkPrompt(model: Apertus, prompt: readonly number[], index: number): void {
  const { vocabularySize, maxPositions } = model.config;
  if (prompt.length === 0) {
    throw new UserError(`prompt ${index} is empty`, { expected: 'at least one token, e.g. the id of <s>' });
  }
  if (prompt.length > maxPositions) {
    throw new UserError(`prompt ${index} is longer than the model's context`, {
      found: `${prompt.length} tokens`,
      expected: `at most ${maxPositions}`,
    });
  }
  for (const id of prompt) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabularySize) {
      throw new UserError(`prompt ${index} holds an id that is no token of this model`, {
        found: String(id),
        expected: `whole numbers in 0..${vocabularySize - 1}`,
      });
    }
  }
}

/** Reads a prompt into a slot; returns the logits [V] of its last token. */
function prefill(model: Apertus, cache: KvCache, slot: number, ids: readonly number[]): Float32Array {
  let logits: Float32Array | undefined;
  for (let from = 0; from < ids.length; from += prefillPiece) {
    const piece = ids.slice(from, from + prefillPiece);
    const positions = Int32Array.from(piece, (_, i) => from + i);
    model.engine.scope(() => {
      const hidden = model.hiddenCached(
        {
          tokens: Int32Array.from(piece),
          positions,
          rows: positions.map((position) => cache.row(slot, position)),
          lo: new Int32Array(piece.length).fill(cache.row(slot, 0)),
          hi: positions.map((position) => cache.row(slot, position) + 1),
        },
        cache.layers,
      );
      if (from + piece.length < ids.length) return;
      logits = model.logits(lastRow(model, hidden)).data.slice();
    });
  }
  return logits as Float32Array;
}

/** One token of every sequence of the group; returns their logits [V] each. */
function decode(model: Apertus, cache: KvCache, group: readonly Running[]): Float32Array[] {
  const V = model.config.vocabularySize;
  const logits: Float32Array[] = [];
  model.engine.scope(() => {
    const hidden = model.hiddenCached(
      {
        tokens: Int32Array.from(group, ({ last }) => last),
        positions: Int32Array.from(group, ({ length }) => length),
        rows: Int32Array.from(group, ({ slot, length }) => cache.row(slot, length)),
        lo: Int32Array.from(group, ({ slot }) => cache.row(slot, 0)),
        hi: Int32Array.from(group, ({ slot, length }) => cache.row(slot, length) + 1),
      },
      cache.layers,
    );
    const all = model.logits(hidden).data;
    for (let i = 0; i < group.length; i++) logits.push(all.slice(i * V, (i + 1) * V));
  });
  return logits;
}

/** [N, D] -> a copy of its last row [1, D]. */
function lastRow(model: Apertus, hidden: Tensor): Tensor {
  const D = model.config.hidden;
  const row = model.engine.empty(1, D);
  row.data.set(hidden.data.subarray(hidden.size - D));
  return row;
}
