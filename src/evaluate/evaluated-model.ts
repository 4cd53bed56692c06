// What evaluation needs of a model: log-probabilities of given text, and greedy continuations.
//
// Tasks talk to this and not to a transformer, so the same code can judge a model in this process, a served one, or
// a table in a test.
//
// Does not: load weights; commands do.
import { generate } from '../generate/generate.ts';
import { scoreSequences } from '../generate/score.ts';

export interface EvaluatedModel {
  /** For each sequence of n ids, the n-1 log-probabilities (nats) of ids[1..] given what stands before them. */
  score(sequences: readonly { readonly ids: readonly number[] }[]): readonly ArrayLike<number>[];
  /** The most likely continuation of each prompt: at most `maxTokens` ids, ending before the first of `stopIds`. */
  greedy(
    prompts: readonly (readonly number[])[],
    options: { readonly maxTokens: number; readonly stopIds: readonly number[] },
  ): readonly (readonly number[])[];
}

/** The model type of generate/, which evaluation passes through without looking inside. */
export type LocalModel = Parameters<typeof generate>[0];

/** A model in this process. */
export function evaluatedModel(model: LocalModel): EvaluatedModel {
  return {
    score: (sequences) => scoreSequences(model, sequences),
    greedy: (prompts, { maxTokens, stopIds }) =>
      generate(model, prompts, { maxTokens, stopIds, temperature: 0 }).map(({ ids }) => ids),
  };
}
