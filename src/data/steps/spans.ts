// Sets of spans of one array of code units, equal where their units are: which lines, paragraphs or n-grams came before.
//
// Open addressing on 32-bit hashes; equal hashes are compared unit by unit, so answers are exact.
//
// Does not: keep the units; the array must stay as it is while the set is in use.

/** A mix of all bits into the low ones. */
export function mixed(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Slots for `count` entries: a power of two, at most half full. */
export function slotsFor(count: number): number {
  let slots = 16;
  while (slots < count * 2) slots *= 2;
  return slots;
}

export class SpanSet {
  private slots = new Int32Array(1 << 10);
  private mask = 0;
  private entries = 0;
  private starts = new Int32Array(1 << 9);
  private ends = new Int32Array(1 << 9);
  private hashes = new Int32Array(1 << 9);

  /** Empties it for spans of another text, `expected` of them or more. */
  clear(expected = 16): void {
    this.entries = 0;
    this.empty(slotsFor(expected));
  }

  private empty(size: number): void {
    this.mask = size - 1;
    if (this.slots.length < size) this.slots = new Int32Array(size);
    else this.slots.fill(0, 0, size);
  }

  /** Whether an equal span is in the set; otherwise adds this one. */
  has(codes: Uint16Array, start: number, end: number): boolean {
    // Two sums, so that the processor need not wait for one product before it begins the next.
    let hash = end - start;
    let other = 0;
    let i = start;
    for (; i + 1 < end; i += 2) {
      hash = (Math.imul(hash, 0x01000193) + (codes[i] as number)) | 0;
      other = (Math.imul(other, 0x01000193) + (codes[i + 1] as number)) | 0;
    }
    if (i < end) hash = (Math.imul(hash, 0x01000193) + (codes[i] as number)) | 0;
    return this.hasHashed(codes, start, end, mixed(hash ^ Math.imul(other, 0x9e3779b1)));
  }

  /** The same with a hash that the caller made; it must be well mixed. */
  hasHashed(codes: Uint16Array, start: number, end: number, hash: number): boolean {
    const length = end - start;
    for (let slot = hash & this.mask; ; slot = (slot + 1) & this.mask) {
      const entry = (this.slots[slot] as number) - 1;
      if (entry < 0) {
        this.add(slot, start, end, hash);
        return false;
      }
      if (this.hashes[entry] !== hash) continue;
      const other = this.starts[entry] as number;
      if ((this.ends[entry] as number) - other !== length) continue;
      let i = 0;
      while (i < length && codes[start + i] === codes[other + i]) i++;
      if (i === length) return true;
    }
  }

  private add(slot: number, start: number, end: number, hash: number): void {
    const entry = this.entries++;
    if (entry === this.starts.length) {
      for (const name of ['starts', 'ends', 'hashes'] as const) {
        const bigger = new Int32Array(this[name].length * 2);
        bigger.set(this[name]);
        this[name] = bigger;
      }
    }
    this.starts[entry] = start;
    this.ends[entry] = end;
    this.hashes[entry] = hash;
    this.slots[slot] = entry + 1;
    if (this.entries * 2 > this.mask) this.widen();
  }

  private widen(): void {
    this.empty((this.mask + 1) * 4);
    for (let entry = 0; entry < this.entries; entry++) {
      let slot = (this.hashes[entry] as number) & this.mask;
      while (this.slots[slot] !== 0) slot = (slot + 1) & this.mask;
      this.slots[slot] = entry + 1;
    }
  }
}
