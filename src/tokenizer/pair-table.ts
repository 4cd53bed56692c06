// A hash table from a pair of token ids to a small integer: open addressing over typed arrays, no garbage.
//
// Pairs are looked up for every byte of every new word, in encoding and in training; a Map keyed by numbers beyond
// 2^30 boxes each key and is several times slower.
//
// Does not: delete.

export class PairTable {
  /** Pairs in the table. */
  size = 0;
  private mask: number;
  /** Interleaved left, right, value + 1; a zero value marks a free place. */
  private slots: Int32Array;

  constructor(expected = 1024) {
    let places = 1024;
    while (places < expected * 2) places *= 2;
    this.mask = places - 1;
    this.slots = new Int32Array(places * 3);
  }

  /** The value of a pair, or -1. */
  get(left: number, right: number): number {
    return (this.slots[this.find(left, right) + 2] as number) - 1;
  }

  /** Sets the value (0 or more) of a pair. */
  set(left: number, right: number, value: number): void {
    if (this.size * 2 > this.mask) this.grow();
    const at = this.find(left, right);
    const slots = this.slots;
    if (slots[at + 2] === 0) {
      this.size++;
      slots[at] = left;
      slots[at + 1] = right;
    }
    slots[at + 2] = value + 1;
  }

  /** Offset of the pair's slot, or of the free one where it belongs. */
  private find(left: number, right: number): number {
    const slots = this.slots;
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    for (let place = hash & this.mask; ; place = (place + 1) & this.mask) {
      const at = place * 3;
      if (slots[at + 2] === 0 || (slots[at] === left && slots[at + 1] === right)) return at;
    }
  }

  private grow(): void {
    const old = this.slots;
    this.mask = this.mask * 2 + 1;
    this.slots = new Int32Array((this.mask + 1) * 3);
    this.size = 0;
    for (let at = 0; at < old.length; at += 3) {
      if (old[at + 2] !== 0) this.set(old[at] as number, old[at + 1] as number, (old[at + 2] as number) - 1);
    }
  }
}
