// Random numbers that are the same on every machine: named streams for our own choices, MT19937 where a format
// or a published method prescribes it (Megatron's indices, the Goldfish table).
//
// Does not: offer cryptographic randomness.
import { createHash } from 'node:crypto';

/**
 * A stream of random numbers named by a seed and a path of words, so that adding a stream never shifts another one.
 * Generator: xoshiro128** (Blackman and Vigna, 2018), seeded by SHA-256.
 */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d: number;
  private spare: number | undefined;

  constructor(seed: number, ...name: readonly (string | number)[]) {
    const digest = createHash('sha256')
      .update([seed, ...name].join('/'))
      .digest();
    this.a = digest.readInt32LE(0);
    this.b = digest.readInt32LE(4);
    this.c = digest.readInt32LE(8);
    this.d = digest.readInt32LE(12) | 1;
  }

  /** The next 32 bits, unsigned. */
  bits(): number {
    const t = Math.imul(this.b, 5);
    const result = Math.imul((t << 7) | (t >>> 25), 9) >>> 0;
    const shifted = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= shifted;
    this.d = (this.d << 11) | (this.d >>> 21);
    return result;
  }

  /** A real number in [0, 1) with 53 random bits. */
  real(): number {
    return ((this.bits() >>> 5) * 67108864 + (this.bits() >>> 6)) / 9007199254740992;
  }

  /** An integer in [0, n), without modulo bias; n <= 2^32. */
  integer(n: number): number {
    if (!(n >= 1 && n <= 4294967296)) throw new Error(`Random.integer: n must be in [1, 2^32], got ${n}`);
    const limit = 4294967296 - (4294967296 % n);
    for (;;) {
      const bits = this.bits();
      if (bits < limit) return bits % n;
    }
  }

  /** A standard normal number (polar method of Marsaglia). */
  normal(): number {
    if (this.spare !== undefined) {
      const value = this.spare;
      this.spare = undefined;
      return value;
    }
    for (;;) {
      const u = 2 * this.real() - 1;
      const v = 2 * this.real() - 1;
      const s = u * u + v * v;
      if (s > 0 && s < 1) {
        const factor = Math.sqrt((-2 * Math.log(s)) / s);
        this.spare = v * factor;
        return u * factor;
      }
    }
  }

  /** One item of a list that is not empty. */
  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)] as T;
  }

  /** Shuffles in place (Fisher-Yates) and returns the list. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const swapped = items[i] as T;
      items[i] = items[j] as T;
      items[j] = swapped;
    }
    return items;
  }
}

/** MT19937 (Matsumoto and Nishimura, 1998) with init_genrand seeding, as numpy.RandomState and torch's CPU generator use it. */
export class Mt19937 {
  private readonly state = new Uint32Array(624);
  private at = 624;

  constructor(seed: number) {
    const state = this.state;
    state[0] = seed >>> 0;
    for (let i = 1; i < 624; i++) {
      const previous = (state[i - 1] as number) ^ ((state[i - 1] as number) >>> 30);
      state[i] = Math.imul(1812433253, previous) + i;
    }
  }

  /** The next 32 bits, unsigned. */
  bits(): number {
    if (this.at === 624) this.refill();
    let y = this.state[this.at++] as number;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  private refill(): void {
    const state = this.state;
    for (let i = 0; i < 624; i++) {
      const y = ((state[i] as number) & 0x80000000) | ((state[(i + 1) % 624] as number) & 0x7fffffff);
      state[i] = (state[(i + 397) % 624] as number) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }

  /** numpy.RandomState.shuffle: masked rejection from the last element down. Works in place on any indexable array. */
  shuffle(items: { [index: number]: number; readonly length: number }): void {
    for (let i = items.length - 1; i > 0; i--) {
      const mask = i === 0 ? 0 : 2 ** (32 - Math.clz32(i)) - 1;
      let j = (this.bits() & mask) >>> 0;
      while (j > i) j = (this.bits() & mask) >>> 0;
      const swapped = items[i] as number;
      items[i] = items[j] as number;
      items[j] = swapped;
    }
  }
}
