// Validation loss: how well a model predicts held-out documents, in nats per token and bits per byte.
//
// Each document is scored on its own, from `<s>` to `</s>`. One longer than a window is scored in windows that predict
// every token exactly once; a window knows nothing of the one before it, as in training. Bits per byte is the sum of
// all nats over ln 2 and the UTF-8 bytes of the text, so models with different tokenizers can be compared. The unigram
// baseline is taken over exactly the same predicted tokens.
//
// Does not: choose the documents or encode them.
import type { EvaluatedModel } from './evaluated-model.ts';
import type { Unigram } from './unigram.ts';

export interface ValidationDocument {
  readonly language: string;
  /** `<s>`, the text, `</s>`. */
  readonly ids: ArrayLike<number>;
  /** UTF-8 bytes of the text. */
  readonly bytes: number;
}

/** Sums over a set of documents and what they mean. */
export interface Loss {
  readonly documents: number;
  /** Predicted tokens: one less than the ids of each document. */
  readonly tokens: number;
  readonly bytes: number;
  readonly natsPerToken: number;
  readonly bitsPerByte: number;
  /** The same two numbers for the add-one unigram of the training tokens. */
  readonly unigramNatsPerToken: number;
  readonly unigramBitsPerByte: number;
}

export interface ValidationLoss {
  readonly overall: Loss;
  /** By language code, in alphabetical order. */
  readonly languages: { readonly [language: string]: Loss };
}

/** What scoring documents in windows takes. */
export interface WindowOptions {
  readonly model: Pick<EvaluatedModel, 'score'>;
  readonly documents: readonly ValidationDocument[];
  /** Predicted tokens of a window: the length the model was trained on. */
  readonly window: number;
  /** Tokens handed to the model at a time. */
  readonly tokensPerCall?: number;
  readonly onProgress?: (documents: number) => void;
}

export interface ValidationOptions extends WindowOptions {
  readonly unigram: Unigram;
}

interface Sums {
  documents: number;
  tokens: number;
  bytes: number;
  nats: number;
  unigramNats: number;
}

/** [start, end) of the windows of a document of n ids: window w predicts ids (start, end), every id but the first once. */
export function scoringWindows(n: number, window: number): { readonly start: number; readonly end: number }[] {
  const windows: { start: number; end: number }[] = [];
  for (let start = 0; start + 1 < n; start += window) windows.push({ start, end: Math.min(start + window + 1, n) });
  return windows;
}

/** Calls `visit` with the nats of every predicted token: of ids[position] of a document, given what its window knows. */
export function scoreInWindows(
  options: WindowOptions,
  visit: (document: ValidationDocument, position: number, nats: number) => void,
): void {
  const { model, documents, window, tokensPerCall = 32_768 } = options;
  let pending: { readonly ids: readonly number[]; readonly document: ValidationDocument; readonly start: number }[] =
    [];
  let pendingTokens = 0;
  const flush = (): void => {
    if (pending.length === 0) return;
    const scores = model.score(pending);
    for (const [i, { ids, document, start }] of pending.entries()) {
      const logprobs = scores[i];
      if (logprobs?.length !== ids.length - 1) {
        throw new Error(`scoreInWindows: got ${logprobs?.length} log-probs for ${ids.length} ids, expected one fewer`);
      }
      for (let t = 0; t < logprobs.length; t++) visit(document, start + t + 1, -(logprobs[t] as number));
    }
    pending = [];
    pendingTokens = 0;
  };
  for (const [done, document] of documents.entries()) {
    for (const { start, end } of scoringWindows(document.ids.length, window)) {
      const ids = Array.prototype.slice.call(document.ids, start, end) as number[];
      pending.push({ ids, document, start });
      pendingTokens += end - start;
    }
    if (pendingTokens >= tokensPerCall) {
      flush();
      options.onProgress?.(done + 1);
    }
  }
  flush();
  options.onProgress?.(documents.length);
}

export function validationLoss(options: ValidationOptions): ValidationLoss {
  const { documents, unigram } = options;
  const overall = noSums();
  const languages = new Map<string, Sums>();
  for (const { language, bytes } of documents) {
    let sums = languages.get(language);
    if (!sums) languages.set(language, (sums = noSums()));
    for (const sum of [sums, overall]) {
      sum.documents++;
      sum.bytes += bytes;
    }
  }
  scoreInWindows(options, ({ language, ids }, position, nats) => {
    const baseline = unigram.loss(ids[position] as number);
    for (const sum of [languages.get(language) as Sums, overall]) {
      sum.tokens++;
      sum.nats += nats;
      sum.unigramNats += baseline;
    }
  });
  const ordered = [...languages].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    overall: lossOf(overall),
    languages: Object.fromEntries(ordered.map(([language, sums]) => [language, lossOf(sums)])),
  };
}

function noSums(): Sums {
  return { documents: 0, tokens: 0, bytes: 0, nats: 0, unigramNats: 0 };
}

function lossOf({ documents, tokens, bytes, nats, unigramNats }: Sums): Loss {
  const perToken = (sum: number): number => (tokens === 0 ? 0 : sum / tokens);
  const perByte = (sum: number): number => (bytes === 0 ? 0 : sum / Math.LN2 / bytes);
  return {
    documents,
    tokens,
    bytes,
    natsPerToken: perToken(nats),
    bitsPerByte: perByte(nats),
    unigramNatsPerToken: perToken(unigramNats),
    unigramBitsPerByte: perByte(unigramNats),
  };
}
