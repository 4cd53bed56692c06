// Rotary position embedding: frequencies with llama-3 scaling, and the tables the kernels read.
//
// Source: spec section 2.1 and golden/xielu_rope.json. wavelength L = 2 pi / f; L > original/low: f/factor;
// L < original/high: f; between: s = (original/L - low)/(high - low), f' = (1-s) f/factor + s f.
//
// Does not: rotate; the kernels do (halves, not interleaved pairs).
import type { RopeTable } from '../tensor/ops.ts';
import type { ModelRecipe } from '../base/recipe.ts';

type RopeSizes = Pick<ModelRecipe, 'headDim' | 'ropeTheta' | 'ropeScaling'>;

/** The headDim/2 angular frequencies, in radians per position. */
export function ropeFrequencies({ headDim, ropeTheta, ropeScaling }: RopeSizes): Float64Array {
  const frequencies = new Float64Array(headDim / 2);
  for (let i = 0; i < frequencies.length; i++) {
    const f = ropeTheta ** ((-2 * i) / headDim);
    frequencies[i] = f;
    if (!ropeScaling) continue;
    const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = ropeScaling;
    const wavelength = (2 * Math.PI) / f;
    if (wavelength > originalMaxPositions / lowFreqFactor) frequencies[i] = f / factor;
    else if (wavelength >= originalMaxPositions / highFreqFactor) {
      const smooth = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
      frequencies[i] = ((1 - smooth) * f) / factor + smooth * f;
    }
  }
  return frequencies;
}

/** Cosines and sines of positions 0 .. positions-1: [positions, headDim/2] each. */
export function ropeTable(sizes: RopeSizes, positions: number): RopeTable {
  const frequencies = ropeFrequencies(sizes);
  const half = frequencies.length;
  const cosine = new Float32Array(positions * half);
  const sine = new Float32Array(positions * half);
  for (let p = 0; p < positions; p++) {
    for (let i = 0; i < half; i++) {
      const angle = p * (frequencies[i] as number);
      cosine[p * half + i] = Math.cos(angle);
      sine[p * half + i] = Math.sin(angle);
    }
  }
  return { cosine, sine, positions };
}
