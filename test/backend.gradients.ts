// Numerical gradients: does each backward op return the derivative of its forward op?
//
// For an input x and a random direction d, <gradient, d> is compared with the slope of the loss along d, taken from
// values of the forward op at x +- h d and x +- h d / 2 (Richardson: the error falls with h^4). The loss is a random
// weighting of the outputs, summed in float64; but outputs are stored as float32, so a slope carries a rounding
// error of about u |weights| |outputs| / h. With h = 2^-5 that is 1e-5 of the slopes here and the h^4 term about as
// much; a wrong term in a gradient is off by tenths. Tolerance: 1e-3 (|gradient| |d| / sqrt(n) + 1).
//
// Does not: know what the derivative should look like.

import type { Backend } from '../src/tensor/backend.ts';
import { Random } from '../src/base/rng.ts';
import { packed, rotation } from './backend.cases.ts';

interface Problem {
  readonly inputs: Readonly<Record<string, Float32Array>>;
  loss(): number;
  gradients(): Readonly<Record<string, Float32Array>>;
}

export interface GradientCase {
  readonly name: string;
  readonly inputs: readonly string[];
  make(backend: Backend): Problem;
}

const normal = (random: Random, count: number, scale = 1, mean = 0): Float32Array =>
  Float32Array.from({ length: count }, () => mean + scale * random.normal());
const inner = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let total = 0;
  for (let i = 0; i < b.length; i++) total += a[i]! * b[i]!;
  return total;
};
const whole = (data: Float32Array, stride: number) => ({ data, offset: 0, stride });

/** Null where the gradient of `input` is right, else a sentence. */
export function gradientError(backend: Backend, of: GradientCase, input: string): string | null {
  const problem = of.make(backend);
  const x = problem.inputs[input]!;
  const gradient = problem.gradients()[input]!.slice();
  const random = new Random(2, of.name, input);
  const start = x.slice();
  for (let trial = 0; trial < 2; trial++) {
    const d = normal(random, x.length);
    const slope = (h: number): number => {
      const ends = [h, -h].map((step) => {
        for (let i = 0; i < x.length; i++) x[i] = start[i]! + step * d[i]!;
        return problem.loss();
      });
      x.set(start);
      return (ends[0]! - ends[1]!) / (2 * h);
    };
    const h = 2 ** -5;
    const want = (4 * slope(h / 2) - slope(h)) / 3;
    const got = inner(gradient, d);
    const size = Math.sqrt(inner(gradient, gradient) * (inner(d, d) / x.length));
    const bound = 1e-3 * (size + 1);
    if (!(Math.abs(got - want) <= bound)) return `d ${input}: got ${got}, expected ${want} within ${bound}`;
  }
  return null;
}

function gemm(backend: Backend): Problem {
  const random = new Random(3, 'gemm');
  const [M, N, K] = [7, 9, 11];
  const [a, b, weights] = [normal(random, M * K), normal(random, K * N), normal(random, M * N)];
  const c = new Float32Array(M * N);
  return {
    inputs: { a, b },
    loss() {
      backend.gemm('float32', false, false, M, N, K, whole(a, K), whole(b, N), false, whole(c, N));
      return inner(c, weights);
    },
    gradients() {
      const [da, db] = [new Float32Array(M * K), new Float32Array(K * N)];
      backend.gemm('float32', false, true, M, K, N, whole(weights, N), whole(b, N), false, whole(da, K));
      backend.gemm('float32', true, false, K, N, M, whole(a, K), whole(weights, N), false, whole(db, N));
      return { a: da, b: db };
    },
  };
}

function embedding(backend: Backend): Problem {
  const random = new Random(3, 'embedding');
  const [N, D, V] = [20, 6, 5];
  const ids = Int32Array.from({ length: N }, () => random.integer(V));
  const [weight, weights] = [normal(random, V * D), normal(random, N * D)];
  const out = new Float32Array(N * D);
  return {
    inputs: { weight },
    loss() {
      backend.embedding(N, D, weight, ids, out);
      return inner(out, weights);
    },
    gradients() {
      const dweight = new Float32Array(V * D);
      backend.embeddingBackward(N, D, weights, ids, -1, dweight);
      return { weight: dweight };
    },
  };
}

function addRmsNorm(backend: Backend): Problem {
  const random = new Random(3, 'rmsnorm');
  const [N, D] = [5, 19];
  const [x, delta] = [normal(random, N * D), normal(random, N * D)];
  const weight = normal(random, D, 0.3, 1);
  const [weights, above] = [normal(random, N * D), normal(random, N * D)];
  const [sum, out, rstd] = [new Float32Array(N * D), new Float32Array(N * D), new Float32Array(N)];
  const forward = (): void => backend.addRmsNorm(N, D, x, delta, weight, 1e-5, sum, out, rstd);
  return {
    inputs: { x, delta, weight },
    loss() {
      forward();
      return inner(out, weights) + inner(sum, above);
    },
    gradients() {
      forward();
      const dsum = above.slice();
      const dweight = new Float32Array(D);
      backend.addRmsNormBackward(N, D, sum, weight, rstd, weights, dsum, dweight);
      return { x: dsum, delta: dsum, weight: dweight };
    },
  };
}

function qkNormRope(backend: Backend): Problem {
  const random = new Random(3, 'qknorm');
  const [N, H, K, hd] = [5, 4, 2, 10];
  const qkv = normal(random, N * (H + 2 * K) * hd);
  const [qweight, kweight] = [normal(random, hd, 0.3, 1), normal(random, hd, 0.3, 1)];
  const positions = Int32Array.from({ length: N }, () => random.integer(30));
  const { cosine, sine } = rotation(30, hd);
  const [qs, ks] = [normal(random, N * H * hd), normal(random, N * K * hd)];
  const [q, k, rstd] = [new Float32Array(qs.length), new Float32Array(ks.length), new Float32Array(N * (H + K))];
  const forward = (): void =>
    backend.qkNormRope(N, H, K, hd, qkv, qweight, kweight, 1e-6, cosine, sine, positions, q, k, rstd);
  return {
    inputs: { qkv, qweight, kweight },
    loss() {
      forward();
      return inner(q, qs) + inner(k, ks);
    },
    gradients() {
      forward();
      const [dqkv, dq, dk] = [new Float32Array(qkv.length), new Float32Array(hd), new Float32Array(hd)];
      backend.qkNormRopeBackward(
        ...([N, H, K, hd, qkv, qweight, kweight, rstd, cosine, sine, positions] as const),
        ...([qs, ks, dqkv, dq, dk] as const),
      );
      return { qkv: dqkv, qweight: dq, kweight: dk };
    },
  };
}

function attention(backend: Backend): Problem {
  const random = new Random(3, 'attention');
  const [B, T, H, K, hd] = [2, 11, 4, 2, 7];
  const N = B * T;
  const { lo, hi } = packed([4, 7, 11]);
  hi[5] = lo[5]!;
  const [q, k, v] = [normal(random, N * H * hd), normal(random, N * K * hd), normal(random, N * K * hd)];
  const weights = normal(random, N * H * hd);
  const [out, lse] = [new Float32Array(N * H * hd), new Float32Array(N * H)];
  const scale = hd ** -0.5;
  const matrices = [whole(q, H * hd), whole(k, K * hd), whole(v, K * hd)] as const;
  const forward = (): void => backend.attention('float32', N, H, K, hd, scale, ...matrices, lo, hi, out, lse);
  return {
    inputs: { q, k, v },
    loss() {
      forward();
      return inner(out, weights);
    },
    gradients() {
      forward();
      const [dq, dk, dv] = [new Float32Array(q.length), new Float32Array(k.length), new Float32Array(v.length)];
      backend.attentionBackward(
        ...(['float32', B, T, H, K, hd, scale, ...matrices, lo, hi, out, lse, weights, dq, dk] as const),
        whole(dv, K * hd),
      );
      return { q: dq, k: dk, v: dv };
    },
  };
}

function xielu(backend: Backend): Problem {
  const random = new Random(3, 'xielu');
  // At 0 the second derivative jumps, which no finite difference likes: stay away from it.
  const x = normal(random, 200, 2).map((value) => value + 0.5 * Math.sign(value));
  const [p, n, weights] = [new Float32Array([0.7]), new Float32Array([-0.4]), normal(random, x.length)];
  const out = new Float32Array(x.length);
  return {
    inputs: { x, alphaP: p, alphaN: n },
    loss() {
      backend.xielu(x.length, x, p, n, 0.5, -1e-6, out);
      return inner(out, weights);
    },
    gradients() {
      const [dx, dp, dn] = [new Float32Array(x.length), new Float32Array(1), new Float32Array(1)];
      backend.xieluBackward(x.length, x, p, n, 0.5, -1e-6, weights, dx, dp, dn);
      return { x: dx, alphaP: dp, alphaN: dn };
    },
  };
}

function swiglu(backend: Backend): Problem {
  const random = new Random(3, 'swiglu');
  const [N, F] = [7, 19];
  const [gateUp, weights] = [normal(random, N * 2 * F, 2), normal(random, N * F)];
  const out = new Float32Array(N * F);
  return {
    inputs: { gateUp },
    loss() {
      backend.swiglu(N, F, gateUp, out);
      return inner(out, weights);
    },
    gradients() {
      const dgateUp = new Float32Array(gateUp.length);
      backend.swigluBackward(N, F, gateUp, weights, dgateUp);
      return { gateUp: dgateUp };
    },
  };
}

function relu2(backend: Backend): Problem {
  const random = new Random(3, 'relu2');
  // At 0 the second derivative jumps, as that of xIELU does.
  const x = normal(random, 200, 2).map((value) => value + 0.5 * Math.sign(value));
  const weights = normal(random, x.length);
  const out = new Float32Array(x.length);
  return {
    inputs: { x },
    loss() {
      backend.relu2(x.length, x, out);
      return inner(out, weights);
    },
    gradients() {
      const dx = new Float32Array(x.length);
      backend.relu2Backward(x.length, x, weights, dx);
      return { x: dx };
    },
  };
}

function linearCrossEntropy(backend: Backend): Problem {
  const random = new Random(3, 'cross-entropy');
  const [N, D, V] = [12, 9, 21];
  const [x, weight, coefficient] = [normal(random, N * D), normal(random, V * D, 0.5), normal(random, N)];
  const labels = Int32Array.from({ length: N }, () => random.integer(V));
  const loss = new Float32Array(N);
  return {
    inputs: { x, weight },
    loss() {
      backend.linearCrossEntropy('float32', N, D, V, x, weight, labels, null, loss, null, null);
      return inner(loss, coefficient);
    },
    gradients() {
      const [dx, dw] = [new Float32Array(N * D), new Float32Array(V * D)];
      backend.linearCrossEntropy('float32', N, D, V, x, weight, labels, coefficient, loss, dx, dw);
      return { x: dx, weight: dw };
    },
  };
}

export const gradientCases: readonly GradientCase[] = [
  { name: 'gemm', inputs: ['a', 'b'], make: gemm },
  { name: 'embedding', inputs: ['weight'], make: embedding },
  { name: 'addRmsNorm', inputs: ['x', 'delta', 'weight'], make: addRmsNorm },
  { name: 'qkNormRope', inputs: ['qkv', 'qweight', 'kweight'], make: qkNormRope },
  { name: 'attention', inputs: ['q', 'k', 'v'], make: attention },
  { name: 'xielu', inputs: ['x', 'alphaP', 'alphaN'], make: xielu },
  { name: 'swiglu', inputs: ['gateUp'], make: swiglu },
  { name: 'relu2', inputs: ['x'], make: relu2 },
  { name: 'linearCrossEntropy', inputs: ['x', 'weight'], make: linearCrossEntropy },
];
