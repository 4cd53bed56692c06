// The add-one unigram: the loss of a model that knows only how often each token occurs in the training tokens.
//
// p(c) = (count(c) + 1) / (n + V). It is the least a language model must beat, over exactly the tokens it is scored on.
//
// Does not: read token files; the caller counts what it trained on.

export class Unigram {
  /** Training tokens counted. */
  readonly tokens: number;
  private readonly nats: Float64Array;

  /** `counts` [V]: occurrences of every id in the training tokens. */
  constructor(counts: ArrayLike<number>) {
    let tokens = 0;
    for (let id = 0; id < counts.length; id++) tokens += counts[id] as number;
    this.tokens = tokens;
    const total = Math.log(tokens + counts.length);
    this.nats = Float64Array.from(counts, (count) => total - Math.log(count + 1));
  }

  /** -log p(id) in nats. */
  loss(id: number): number {
    const nats = this.nats[id];
    if (nats === undefined) throw new Error(`Unigram: id ${id} is not in [0, ${this.nats.length})`);
    return nats;
  }
}
