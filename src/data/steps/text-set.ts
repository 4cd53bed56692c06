// A set of short texts in 12 to 27 bytes each, whatever their length: XXH64 of their bytes in a table of open addresses.
//
// A block list has millions of domains; as strings in a Set they cost ten times as much. Equal hashes are taken for equal
// texts: among five million entries a text that is not there is taken for one once in 10^12.
//
// Does not: give the texts back, or forget one.
import { high, low, xxh64 } from './xxhash.ts';

export class TextSet {
  size = 0;
  /** Halves of the hashes, in pairs; 0, 0 is a free slot. */
  private slots = new Uint32Array(1 << 11);
  private scratch = Buffer.alloc(1 << 10);

  add(text: string): void {
    const at = this.find(text);
    if ((this.slots[at] as number) !== 0 || (this.slots[at + 1] as number) !== 0) return;
    this.slots[at] = high;
    this.slots[at + 1] = keptLow();
    // Seven tenths full.
    if (++this.size * 20 > this.slots.length * 7) this.grow();
  }

  has(text: string): boolean {
    if (this.size === 0) return false;
    const at = this.find(text);
    return (this.slots[at] as number) !== 0 || (this.slots[at + 1] as number) !== 0;
  }

  /** The slot of a text, or the free one where it would stand. */
  private find(text: string): number {
    if (this.scratch.length < 3 * text.length) this.scratch = Buffer.alloc(6 * text.length);
    xxh64(this.scratch, 0, this.scratch.write(text, 0, 'utf8'), 0);
    return slotOf(this.slots, high, keptLow());
  }

  private grow(): void {
    const { slots } = this;
    const grown = new Uint32Array(slots.length * 2);
    for (let i = 0; i < slots.length; i += 2) {
      const [first, second] = [slots[i] as number, slots[i + 1] as number];
      if (first === 0 && second === 0) continue;
      const at = slotOf(grown, first, second);
      grown[at] = first;
      grown[at + 1] = second;
    }
    this.slots = grown;
  }
}

/** The low half of the last hash; one hash is another, so that no text is a free slot. */
function keptLow(): number {
  return high === 0 && low === 0 ? 1 : low;
}

function slotOf(slots: Uint32Array, first: number, second: number): number {
  const mask = slots.length - 2;
  for (let at = (second * 2) & mask; ; at = (at + 2) & mask) {
    const [a, b] = [slots[at] as number, slots[at + 1] as number];
    if ((a === first && b === second) || (a === 0 && b === 0)) return at;
  }
}
