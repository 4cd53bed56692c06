// The interface every backend implements: one method per fused op of native/kernels.h, over typed arrays.
//
// Shapes: N rows (B*T tokens), D model width, F feed-forward width, H query heads, K key/value heads, hd head
// width, V vocabulary. Everything is row-major float32; `compute` says how matrix-product operands are rounded.
// The comments of native/kernels.h are the contract of each method; a method here takes the same arguments in
// the same order, without strides where the array is contiguous.
//
// Does not: know of gradients (ops.ts), lifetimes (tensor.ts) or models.

/** How the operands of matrix products are rounded before they are multiplied (accumulation is float32). */
export type Compute = 'float32' | 'bfloat16';

/** A matrix inside a typed array: element (r, c) is data[offset + r * stride + c]. */
export interface Strided {
  readonly data: Float32Array;
  readonly offset: number;
  readonly stride: number;
}

export interface AdemamixStep {
  readonly clip: number;
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  /** beta3(t), already warmed up for this step. */
  readonly beta3: number;
  /** alpha(t), already warmed up for this step. */
  readonly alpha: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** 1 - beta1^t. */
  readonly correction1: number;
  /** 1 - beta2^t. */
  readonly correction2: number;
}

export interface AdamwStep {
  readonly clip: number;
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly correction1: number;
  readonly correction2: number;
}

export interface Backend {
  /** `js` (the oracle) or `cpu` (native kernels). */
  readonly name: 'js' | 'cpu';
  /** Dispatch target whose bits this backend produces: `js`, `portable`, `avx2`, `avx512`, `avx512bf16`. */
  readonly target: string;
  /** Threads that kernels run on. Results do not depend on it. */
  threads: number;

  /** Zeroed memory of at least `bytes`, aligned to 64 bytes where the backend is native. */
  allocate(bytes: number): ArrayBuffer;

  gemm(
    compute: Compute,
    transA: boolean,
    transB: boolean,
    M: number,
    N: number,
    K: number,
    a: Strided,
    b: Strided,
    accumulate: boolean,
    c: Strided,
  ): void;

  embedding(N: number, D: number, weight: Float32Array, ids: Int32Array, out: Float32Array): void;
  embeddingBackward(
    N: number,
    D: number,
    dout: Float32Array,
    ids: Int32Array,
    padding: number,
    dweight: Float32Array,
  ): void;

  addRmsNorm(
    N: number,
    D: number,
    x: Float32Array,
    delta: Float32Array | null,
    weight: Float32Array,
    eps: number,
    sum: Float32Array | null,
    out: Float32Array,
    rstd: Float32Array,
  ): void;
  addRmsNormBackward(
    N: number,
    D: number,
    sum: Float32Array,
    weight: Float32Array,
    rstd: Float32Array,
    dout: Float32Array,
    dsum: Float32Array,
    dweight: Float32Array,
  ): void;

  qkNormRope(
    N: number,
    H: number,
    K: number,
    hd: number,
    qkv: Float32Array,
    qweight: Float32Array,
    kweight: Float32Array,
    eps: number,
    cosine: Float32Array,
    sine: Float32Array,
    positions: Int32Array,
    q: Float32Array,
    k: Float32Array,
    rstd: Float32Array,
  ): void;
  qkNormRopeBackward(
    N: number,
    H: number,
    K: number,
    hd: number,
    qkv: Float32Array,
    qweight: Float32Array,
    kweight: Float32Array,
    rstd: Float32Array,
    cosine: Float32Array,
    sine: Float32Array,
    positions: Int32Array,
    dq: Float32Array,
    dk: Float32Array,
    dqkv: Float32Array,
    dqweight: Float32Array,
    dkweight: Float32Array,
  ): void;

  attention(
    compute: Compute,
    Nq: number,
    H: number,
    K: number,
    hd: number,
    scale: number,
    q: Strided,
    k: Strided,
    v: Strided,
    lo: Int32Array,
    hi: Int32Array,
    out: Float32Array,
    lse: Float32Array,
  ): void;
  attentionBackward(
    compute: Compute,
    B: number,
    T: number,
    H: number,
    K: number,
    hd: number,
    scale: number,
    q: Strided,
    k: Strided,
    v: Strided,
    lo: Int32Array,
    hi: Int32Array,
    out: Float32Array,
    lse: Float32Array,
    dout: Float32Array,
    dq: Float32Array,
    dk: Float32Array,
    dv: Strided,
  ): void;

  xielu(
    count: number,
    x: Float32Array,
    alphaP: Float32Array,
    alphaN: Float32Array,
    beta: number,
    eps: number,
    out: Float32Array,
  ): void;
  xieluBackward(
    count: number,
    x: Float32Array,
    alphaP: Float32Array,
    alphaN: Float32Array,
    beta: number,
    eps: number,
    dout: Float32Array,
    dx: Float32Array,
    dalphaP: Float32Array,
    dalphaN: Float32Array,
  ): void;

  swiglu(N: number, F: number, gateUp: Float32Array, out: Float32Array): void;
  swigluBackward(N: number, F: number, gateUp: Float32Array, dout: Float32Array, dgateUp: Float32Array): void;
  relu2(count: number, x: Float32Array, out: Float32Array): void;
  relu2Backward(count: number, x: Float32Array, dout: Float32Array, dx: Float32Array): void;

  linearCrossEntropy(
    compute: Compute,
    N: number,
    D: number,
    V: number,
    x: Float32Array,
    weight: Float32Array,
    labels: Int32Array,
    coefficient: Float32Array | null,
    loss: Float32Array,
    dx: Float32Array | null,
    dweight: Float32Array | null,
  ): void;

  fill(count: number, value: number, out: Float32Array): void;
  add(count: number, a: Float32Array, b: Float32Array, out: Float32Array): void;
  scale(count: number, factor: number, x: Float32Array): void;
  sumOfSquares(count: number, x: Float32Array): number;
  toBf16(count: number, x: Float32Array, out: Uint16Array): void;
  fromBf16(count: number, x: Uint16Array, out: Float32Array): void;

  ademamix(
    count: number,
    p: Float32Array,
    g: Float32Array,
    m1: Float32Array,
    m2: Float32Array,
    v: Float32Array,
    step: AdemamixStep,
  ): void;
  adamw(count: number, p: Float32Array, g: Float32Array, m: Float32Array, v: Float32Array, step: AdamwStep): void;

  /** Floating-point operations of `iterations` rounds of multiply-adds on every thread (for bench/ and doctor). */
  peak(compute: Compute, iterations: number): number;
}
