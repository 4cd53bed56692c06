// Words as numbers: a table of byte strings that the native kernels read as it stands.
//
// Open addressing by FNV-1a, the hash that fastText numbers n-grams by, so a token is hashed once. Words lie one after the
// other in a pool.
//
// Does not: forget a word; `clear` forgets all.

const fnvStart = 2166136261;

/** One byte more; taken as signed, as the C++ of the original does. */
export function fnvStep(hash: number, byte: number): number {
  return Math.imul(hash ^ ((byte << 24) >> 24), 16777619);
}

/** FNV-1a of bytes, 32 bits, signed. */
export function fnv(bytes: Uint8Array, start: number, end: number): number {
  let hash = fnvStart | 0;
  for (let i = start; i < end; i++) hash = fnvStep(hash, bytes[i] as number);
  return hash;
}

export class WordTable {
  size = 0;
  /** Number of a word and 1, or 0; a power of two of them, at most half full. */
  slots = new Int32Array(1 << 10);
  /** Word i is the bytes from starts[i] to starts[i + 1] of the pool. */
  starts = new Int32Array((1 << 9) + 1);
  pool = new Uint8Array(1 << 12);
  hashes = new Int32Array(1 << 9);

  /** Number of a word, or -1. */
  find(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const { slots, starts, pool, hashes } = this;
    const mask = slots.length - 1;
    const length = end - start;
    search: for (let at = hash & mask; ; at = (at + 1) & mask) {
      const word = (slots[at] as number) - 1;
      if (word < 0) return -1;
      const from = starts[word] as number;
      if (hashes[word] !== hash || (starts[word + 1] as number) - from !== length) continue;
      for (let i = 0; i < length; i++) if (pool[from + i] !== bytes[start + i]) continue search;
      return word;
    }
  }

  /** Number of a word, a new one where it is new. */
  add(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const known = this.find(bytes, start, end, hash);
    if (known >= 0) return known;
    const word = this.size;
    if (2 * (word + 1) > this.slots.length) this.widen();
    const from = this.starts[word] as number;
    const to = from + end - start;
    if (to > this.pool.length) this.pool = larger(this.pool, new Uint8Array(Math.max(2 * this.pool.length, to)));
    for (let i = start; i < end; i++) this.pool[from + i - start] = bytes[i] as number;
    this.starts[word + 1] = to;
    this.hashes[word] = hash;
    this.place(word, hash);
    this.size++;
    return word;
  }

  /** Bytes of a word. */
  word(number: number): Uint8Array {
    return this.pool.subarray(this.starts[number], this.starts[number + 1]);
  }

  clear(): void {
    this.size = 0;
    this.slots.fill(0);
  }

  private place(word: number, hash: number): void {
    const mask = this.slots.length - 1;
    let at = hash & mask;
    while (this.slots[at] !== 0) at = (at + 1) & mask;
    this.slots[at] = word + 1;
  }

  private widen(): void {
    this.slots = new Int32Array(2 * this.slots.length);
    this.hashes = larger(this.hashes, new Int32Array(this.slots.length / 2));
    this.starts = larger(this.starts, new Int32Array(this.slots.length / 2 + 1));
    for (let word = 0; word < this.size; word++) this.place(word, this.hashes[word] as number);
  }
}

function larger<T extends Uint8Array | Int32Array>(from: T, into: T): T {
  into.set(from);
  return into;
}
