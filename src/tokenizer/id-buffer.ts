// Token ids that are still being written: a typed array that grows.
//
// Does not: know what ids mean.

export class IdBuffer {
  ids: Int32Array<ArrayBuffer> = new Int32Array(1 << 12);
  length = 0;

  push(id: number): void {
    if (this.length === this.ids.length) this.reserve(1);
    this.ids[this.length++] = id;
  }

  /** Makes room for `more` ids. */
  reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.ids.length) return;
    const grown = new Int32Array(Math.max(needed, 2 * this.ids.length));
    grown.set(this.ids.subarray(0, this.length));
    this.ids = grown;
  }

  /** What was written, as an array of its own. */
  toInt32Array(): Int32Array<ArrayBuffer> {
    return this.ids.slice(0, this.length);
  }

  toArray(): number[] {
    const out: number[] = new Array(this.length);
    for (let i = 0; i < out.length; i++) out[i] = this.ids[i] as number;
    return out;
  }
}
