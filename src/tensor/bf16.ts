// bfloat16 in a language that has no such type: the upper half of a float32, rounded to nearest even.
//
// Arrays are converted by Backend.toBf16/fromBf16; these are the one-number rules that the oracle and the
// tests share. NaN keeps its sign and becomes quiet, so that no payload bit that rounds away turns it into Inf.
//
// Does not: know of float16.

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The 16 bits of the bfloat16 nearest to `x` (first rounded to float32), ties to even. */
export function bf16Bits(x: number): number {
  float[0] = x;
  const u = bits[0]!;
  if (Number.isNaN(x)) return (u >>> 16) | 0x40;
  return (u + 0x7fff + ((u >>> 16) & 1)) >>> 16;
}

/** The number that 16 bits of bfloat16 stand for. */
export function bf16Value(half: number): number {
  bits[0] = half << 16;
  return float[0]!;
}

/** `x` rounded to bfloat16. */
export function roundToBf16(x: number): number {
  float[0] = x;
  const u = bits[0]!;
  bits[0] = Number.isNaN(x) ? u | 0x400000 : u + 0x7fff + ((u >>> 16) & 1);
  bits[0] &= 0xffff0000;
  return float[0]!;
}
