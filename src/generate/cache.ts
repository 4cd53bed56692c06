// Keys and values of running sequences: one slot of equal capacity per sequence, in one pair of tensors per layer.
//
// Row p of slot s is row s * capacity + p. Capacity doubles when a sequence outgrows it, up to the model's positions;
// a slot is used again for the next sequence without clearing, because ranges never reach rows not yet written.
//
// Does not: compute attention (tensor/ops.ts), or decide which sequence runs in which slot (generate.ts).
import type { Apertus } from '../model/apertus.ts';
import type { AttentionCache } from '../tensor/ops.ts';

const firstCapacity = 64;

export class KvCache {
  readonly slots: number;
  private readonly model: Apertus;
  private rows = 0;
  private tensors: AttentionCache[] = [];

  /** An empty cache; memory is taken by `reserve`. */
  constructor(model: Apertus, slots: number) {
    this.model = model;
    this.slots = slots;
  }

  /** Tokens that each slot can hold. */
  get capacity(): number {
    return this.rows;
  }

  /** One pair [slots * capacity, K * hd] per layer, for `hiddenCached`. */
  get layers(): readonly AttentionCache[] {
    return this.tensors;
  }

  /** Makes room for `tokens` tokens in every slot; what the slots hold stays. Not inside an engine scope that ends first. */
  reserve(tokens: number): void {
    if (tokens <= this.rows) return;
    const { engine, config } = this.model;
    if (tokens > config.maxPositions) {
      throw new Error(`KvCache: got ${tokens} tokens, expected at most the model's ${config.maxPositions} positions`);
    }
    let capacity = Math.max(firstCapacity, this.rows);
    while (capacity < tokens) capacity *= 2;
    capacity = Math.min(capacity, config.maxPositions);
    const width = config.kvHeads * config.headDim;
    const grown: AttentionCache[] = [];
    for (let layer = 0; layer < config.layers; layer++) {
      const pair = { k: engine.zeros(this.slots * capacity, width), v: engine.zeros(this.slots * capacity, width) };
      const old = this.tensors[layer];
      if (old) {
        for (let slot = 0; slot < this.slots; slot++) {
          const from = slot * this.rows * width;
          const to = slot * capacity * width;
          pair.k.data.set(old.k.data.subarray(from, from + this.rows * width), to);
          pair.v.data.set(old.v.data.subarray(from, from + this.rows * width), to);
        }
        old.k.free();
        old.v.free();
      }
      grown.push(pair);
    }
    this.tensors = grown;
    this.rows = capacity;
  }

  /** The row of a token. */
  row(slot: number, position: number): number {
    return slot * this.rows + position;
  }

  /** Gives all memory back. */
  free(): void {
    for (const { k, v } of this.tensors) {
      k.free();
      v.free();
    }
    this.tensors = [];
    this.rows = 0;
  }
}
