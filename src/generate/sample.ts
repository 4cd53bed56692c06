// From logits to the next token: greedy, or drawn from the tempered distribution cut by top-k and top-p.
//
// Everything is computed in float64 from the float32 logits, ties go to the lower id, and one random number is drawn
// per token, so a seed and the logits decide the token on every machine.
//
// Does not: run the model, or know which ids end a text (generate.ts).
import type { Random } from '../base/rng.ts';

export interface SampleOptions {
  /** 0: the most likely token always (greedy). Default 0. */
  readonly temperature?: number;
  /** Only the most likely tokens whose probabilities reach this sum (nucleus sampling). Default 1: all. */
  readonly topP?: number;
  /** Only the k most likely tokens. Default 0: all. */
  readonly topK?: number;
}

/** Checks the options; an Error names the one that is wrong. */
export function checkSampleOptions({ temperature = 0, topP = 1, topK = 0 }: SampleOptions): void {
  const fail = (name: string, got: number, expected: string): never => {
    throw new Error(`sampling: ${name}, got ${got}, expected ${expected}`);
  };
  if (!(temperature >= 0 && Number.isFinite(temperature))) fail('temperature', temperature, 'a number >= 0');
  if (!(topP > 0 && topP <= 1)) fail('topP', topP, 'a number in (0, 1]');
  if (!Number.isInteger(topK) || topK < 0) fail('topK', topK, 'a whole number >= 0 (0: all)');
}

/** The id with the highest logit, the lowest one of equals; logits [V]. */
export function greedyToken(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if ((logits[id] as number) > (logits[best] as number)) best = id;
  const top = logits[best] as number;
  if (!Number.isFinite(top)) throw new Error(`sampling: the highest logit is ${top}; the model's weights are damaged`);
  return best;
}

/** Draws the next token; logits [V]. `random` is not touched when greedy. */
export function sampleToken(logits: Float32Array, options: SampleOptions, random: Random): number {
  const { temperature = 0, topP = 1, topK = 0 } = options;
  const best = greedyToken(logits);
  if (temperature === 0 || topK === 1) return best;
  const V = logits.length;
  const top = logits[best] as number;

  // Unnormalised probabilities of the tempered distribution, by id.
  const weights = new Float64Array(V);
  for (let id = 0; id < V; id++) weights[id] = Math.exp(((logits[id] as number) - top) / temperature);

  let candidates: number[] | undefined;
  if (topK > 0 && topK < V) {
    const limit = weights.slice().sort()[V - topK] as number;
    candidates = above(weights, limit).sort(byWeight(weights)).slice(0, topK);
  }
  if (topP < 1) {
    const total = sum(weights, candidates);
    // Tokens below (1 - topP) / V cannot together hold more than 1 - topP: the nucleus is among the others.
    candidates ??= above(weights, ((1 - topP) / V) * total).sort(byWeight(weights));
    let reached = 0;
    let count = 0;
    while (count < candidates.length && reached < topP * total) reached += weights[candidates[count++] as number] ?? 0;
    candidates = candidates.slice(0, count);
  }
  return draw(weights, candidates, random.real() * sum(weights, candidates));
}

/** Natural log of the model's own (untempered) probability of `id`; logits [V]. */
export function logProbability(logits: Float32Array, id: number): number {
  const top = logits[greedyToken(logits)] as number;
  let total = 0;
  for (let i = 0; i < logits.length; i++) total += Math.exp((logits[i] as number) - top);
  return (logits[id] as number) - top - Math.log(total);
}

function above(weights: Float64Array, limit: number): number[] {
  const ids: number[] = [];
  for (let id = 0; id < weights.length; id++) if ((weights[id] as number) >= limit) ids.push(id);
  return ids;
}

function byWeight(weights: Float64Array): (a: number, b: number) => number {
  return (a, b) => (weights[b] as number) - (weights[a] as number) || a - b;
}

function sum(weights: Float64Array, candidates: readonly number[] | undefined): number {
  let total = 0;
  if (candidates) for (const id of candidates) total += weights[id] as number;
  else for (let id = 0; id < weights.length; id++) total += weights[id] as number;
  return total;
}

/** The candidate (or id) in whose share of the sum `point` lies. */
function draw(weights: Float64Array, candidates: readonly number[] | undefined, point: number): number {
  const count = candidates?.length ?? weights.length;
  let reached = 0;
  let last = 0;
  for (let i = 0; i < count; i++) {
    const id = candidates ? (candidates[i] as number) : i;
    const weight = weights[id] as number;
    if (weight === 0) continue;
    reached += weight;
    last = id;
    if (point < reached) return id;
  }
  return last;
}
