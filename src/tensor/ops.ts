// The ops of the engine, each with its gradient beside it.
//
// Every op is one or two calls of the backend over whole tensors. Shapes: N rows (B*T tokens), D model width,
// F feed-forward width, H query heads, K key/value heads, hd head width, V vocabulary.
//
// Does not: know the model; model/apertus.ts composes these.
import type { Strided } from './backend.ts';
import { type Engine, giveGradient, type Tensor, writable } from './tensor.ts';

/** Which rows each query row may attend to: key rows lo[i] <= j < hi[i]. */
export interface AttentionRange {
  readonly lo: Int32Array;
  readonly hi: Int32Array;
}

/** Rotation tables of RoPE: row p holds cos/sin of position p for hd/2 frequencies. */
export interface RopeTable {
  readonly cosine: Float32Array;
  readonly sine: Float32Array;
  readonly positions: number;
}

function fail(op: string, what: string, got: unknown, expected: unknown): never {
  throw new Error(`${op}: ${what}, got ${String(got)}, expected ${String(expected)}`);
}

function text(tensor: Tensor): string {
  return `[${tensor.shape.join(', ')}]`;
}

/** Rows and columns of a matrix. */
function matrix(op: string, name: string, tensor: Tensor): readonly [number, number] {
  if (tensor.shape.length !== 2) fail(op, `${name} must be a matrix`, text(tensor), 'two dimensions');
  return [tensor.shape[0] as number, tensor.shape[1] as number];
}

function vector(op: string, name: string, tensor: Tensor, length: number): void {
  if (tensor.shape.length !== 1 || tensor.size !== length) fail(op, `${name} must match`, text(tensor), `[${length}]`);
}

function indices(op: string, name: string, values: Int32Array, length: number, below: number): void {
  if (!(values instanceof Int32Array)) fail(op, `${name} must be an Int32Array`, typeof values, 'Int32Array');
  if (values.length !== length) fail(op, `${name} must have one entry per row`, values.length, length);
  for (let i = 0; i < length; i++) {
    const value = values[i] as number;
    if (value < 0 || value >= below) fail(op, `${name}[${i}] out of range`, value, `0..${below - 1}`);
  }
}

function sameEngine(op: string, first: Tensor, ...others: readonly Tensor[]): Engine {
  for (const other of others) {
    if (other.engine !== first.engine) fail(op, 'tensors of two engines', 'two engines', 'one');
  }
  return first.engine;
}

/** The buffer that an op adds the gradient of `tensor` to: a parameter's own, or a fresh one for an activation. */
function gradientBuffer(tensor: Tensor): Float32Array {
  tensor.grad = tensor.grad ? writable(tensor.grad) : tensor.engine.zeros(...tensor.shape);
  return tensor.grad.data;
}

function whole(data: Float32Array, stride: number): Strided {
  return { data, offset: 0, stride };
}

/** weight [V, D], ids [N] -> [N, D]. `padding` names an id whose row gets no gradient (HF: pad_token_id 3). */
export function embedding(weight: Tensor, ids: Int32Array, padding = -1): Tensor {
  const op = 'embedding';
  const [V, D] = matrix(op, 'weight', weight);
  indices(op, 'ids', ids, ids.length, V);
  const { engine } = weight;
  const N = ids.length;
  const out = engine.empty(N, D);
  engine.backend.embedding(N, D, weight.use(op), ids, out.data);
  if (weight.requiresGrad) {
    engine.record([out], [], () => {
      engine.backend.embeddingBackward(N, D, grad(out), ids, padding, gradientBuffer(weight));
    });
  }
  return out;
}

function grad(output: Tensor): Float32Array {
  if (!output.grad) throw new Error('backward: an output without gradient');
  return output.grad.data;
}

/** x [N, F_in], weight [F_out, F_in] -> x weight^T [N, F_out]. */
export function linear(x: Tensor, weight: Tensor): Tensor {
  const op = 'linear';
  const engine = sameEngine(op, x, weight);
  const [N, K] = matrix(op, 'x', x);
  const [M, K2] = matrix(op, 'weight', weight);
  if (K !== K2) fail(op, 'inner sizes differ', `x ${text(x)}, weight ${text(weight)}`, `weight [.., ${K}]`);
  const { backend, compute } = engine;
  const out = engine.empty(N, M);
  backend.gemm(compute, false, true, N, M, K, whole(x.use(op), K), whole(weight.use(op), K), false, whole(out.data, M));
  if (x.requiresGrad || weight.requiresGrad) {
    engine.record([out], [], () => {
      const dout = whole(grad(out), M);
      if (weight.requiresGrad) {
        backend.gemm(compute, true, false, M, K, N, dout, whole(x.use(op), K), true, whole(gradientBuffer(weight), K));
      }
      if (x.requiresGrad) {
        const dx = engine.empty(N, K);
        backend.gemm(compute, false, false, N, K, M, dout, whole(weight.use(op), K), false, whole(dx.data, K));
        giveGradient(x, dx);
      }
    });
  }
  return out;
}

/** RMSNorm of x: x / sqrt(mean(x^2) + eps) * weight; x [N, D], weight [D]. */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  return normalise('rmsNorm', x, undefined, weight, eps).normed;
}

/** sum = x + delta (the residual stream) and RMSNorm(sum), in one pass. x, delta [N, D]. */
export function addRmsNorm(x: Tensor, delta: Tensor, weight: Tensor, eps: number): { sum: Tensor; normed: Tensor } {
  return normalise('addRmsNorm', x, delta, weight, eps);
}

function normalise(
  op: string,
  x: Tensor,
  delta: Tensor | undefined,
  weight: Tensor,
  eps: number,
): { sum: Tensor; normed: Tensor } {
  const engine = sameEngine(op, x, weight, ...(delta ? [delta] : []));
  const [N, D] = matrix(op, 'x', x);
  if (delta && text(delta) !== text(x)) fail(op, 'x and delta differ', text(delta), text(x));
  vector(op, 'weight', weight, D);
  const { backend } = engine;
  const sum = delta ? engine.empty(N, D) : x;
  const normed = engine.empty(N, D);
  const rstd = engine.empty(N);
  backend.addRmsNorm(
    N,
    D,
    x.use(op),
    delta ? delta.use(op) : null,
    weight.use(op),
    eps,
    delta ? sum.data : null,
    normed.data,
    rstd.data,
  );
  const taped = engine.isRecording && (x.requiresGrad || weight.requiresGrad || delta?.requiresGrad === true);
  if (!taped) {
    rstd.free();
    return { sum, normed };
  }
  engine.record(delta ? [sum, normed] : [normed], [rstd], () => {
    // The kernel adds to what reached the residual stream from above; where nothing did, it starts from zero.
    const dsum = sum.grad ? writable(sum.grad) : engine.zeros(N, D);
    if (normed.grad) {
      backend.addRmsNormBackward(
        N,
        D,
        sum.use(op),
        weight.use(op),
        rstd.data,
        normed.grad.data,
        dsum.data,
        gradientBuffer(weight),
      );
    }
    if (!delta) {
      if (x.requiresGrad) x.grad = dsum;
      else dsum.free();
      return;
    }
    // Both summands receive the same gradient; whoever wants to write into it while it is shared makes a copy.
    sum.grad = undefined;
    giveGradient(delta, dsum.share());
    giveGradient(x, dsum);
  });
  return { sum, normed };
}

/** Heads of an attention block. */
export interface HeadShape {
  readonly H: number;
  readonly K: number;
  readonly hd: number;
}

/** Sizes of an attention block. */
export interface AttentionShape extends HeadShape {
  /** Rows of the batch (B) and tokens of each (T): N = B*T. */
  readonly B: number;
  readonly T: number;
}

/** The queries [N, H*hd] and keys [N, K*hd] in qkv [N, (H+2K)*hd], normalised per head and rotated to their positions. */
function normedHeads(
  op: string,
  qkv: Tensor,
  qNorm: Tensor,
  kNorm: Tensor,
  eps: number,
  rope: RopeTable,
  positions: Int32Array,
  { H, K, hd }: HeadShape,
): { readonly q: Tensor; readonly k: Tensor; readonly rstd: Tensor } {
  const { engine } = qkv;
  const width = (H + 2 * K) * hd;
  const [N, columns] = matrix(op, 'qkv', qkv);
  if (columns !== width) fail(op, 'qkv has the wrong shape', text(qkv), `[${N}, ${width}]`);
  vector(op, 'qNorm', qNorm, hd);
  vector(op, 'kNorm', kNorm, hd);
  indices(op, 'positions', positions, N, rope.positions);
  const q = engine.empty(N, H * hd);
  const k = engine.empty(N, K * hd);
  const rstd = engine.empty(N, H + K);
  engine.backend.qkNormRope(
    N,
    H,
    K,
    hd,
    qkv.use(op),
    qNorm.use(op),
    kNorm.use(op),
    eps,
    rope.cosine,
    rope.sine,
    positions,
    q.data,
    k.data,
    rstd.data,
  );
  return { q, k, rstd };
}

/**
 * QK-norm, RoPE and causal attention over packed documents.
 * qkv [N, (H+2K)*hd]: query, key, value heads side by side; qNorm, kNorm [hd]; positions [N] -> [N, H*hd].
 * Scores are scaled by hd^-0.5.
 */
export function attention(
  qkv: Tensor,
  qNorm: Tensor,
  kNorm: Tensor,
  eps: number,
  rope: RopeTable,
  positions: Int32Array,
  range: AttentionRange,
  shape: AttentionShape,
): Tensor {
  const op = 'attention';
  const engine = sameEngine(op, qkv, qNorm, kNorm);
  const { B, T, H, K, hd } = shape;
  const N = B * T;
  const width = (H + 2 * K) * hd;
  if (matrix(op, 'qkv', qkv)[0] !== N) fail(op, 'qkv has the wrong shape', text(qkv), `[${N}, ${width}]`);
  indices(op, 'range.lo', range.lo, N, N + 1);
  indices(op, 'range.hi', range.hi, N, N + 1);
  const { backend, compute } = engine;
  const scale = 1 / Math.sqrt(hd);
  const { q, k, rstd } = normedHeads(op, qkv, qNorm, kNorm, eps, rope, positions, shape);
  const out = engine.empty(N, H * hd);
  const lse = engine.empty(N, H);
  const v = (data: Float32Array): Strided => ({ data, offset: (H + K) * hd, stride: width });
  const { lo, hi } = range;
  backend.attention(
    compute,
    N,
    H,
    K,
    hd,
    scale,
    whole(q.data, H * hd),
    whole(k.data, K * hd),
    v(qkv.data),
    lo,
    hi,
    out.data,
    lse.data,
  );
  if (!engine.isRecording || !(qkv.requiresGrad || qNorm.requiresGrad || kNorm.requiresGrad)) {
    for (const tensor of [q, k, rstd, lse]) tensor.free();
    return out;
  }
  engine.record([out], [q, k, rstd, lse], () => {
    const dq = engine.empty(N, H * hd);
    const dk = engine.empty(N, K * hd);
    const dqkv = engine.empty(N, width);
    backend.attentionBackward(
      compute,
      B,
      T,
      H,
      K,
      hd,
      scale,
      whole(q.data, H * hd),
      whole(k.data, K * hd),
      v(qkv.use(op)),
      lo,
      hi,
      out.data,
      lse.data,
      grad(out),
      dq.data,
      dk.data,
      v(dqkv.data),
    );
    backend.qkNormRopeBackward(
      N,
      H,
      K,
      hd,
      qkv.data,
      qNorm.use(op),
      kNorm.use(op),
      rstd.data,
      rope.cosine,
      rope.sine,
      positions,
      dq.data,
      dk.data,
      dqkv.data,
      gradientBuffer(qNorm),
      gradientBuffer(kNorm),
    );
    dq.free();
    dk.free();
    giveGradient(qkv, dqkv);
  });
  return out;
}

/** Keys (normed, rotated) and values of earlier tokens: k, v [rows, K*hd]. */
export interface AttentionCache {
  readonly k: Tensor;
  readonly v: Tensor;
}

/**
 * The same attention for new tokens of running sequences, without gradients. qkv [N, (H+2K)*hd]; the keys and values of
 * row n are written to row `rows[n]` of the cache, then row n attends to the cache rows range.lo[n] <= j < range.hi[n].
 */
export function cachedAttention(
  qkv: Tensor,
  qNorm: Tensor,
  kNorm: Tensor,
  eps: number,
  rope: RopeTable,
  positions: Int32Array,
  range: AttentionRange,
  cache: AttentionCache,
  rows: Int32Array,
  shape: HeadShape,
): Tensor {
  const op = 'cachedAttention';
  const engine = sameEngine(op, qkv, qNorm, kNorm, cache.k, cache.v);
  if (engine.isRecording) fail(op, 'has no gradient', 'a running tape', 'none');
  const { H, K, hd } = shape;
  const width = (H + 2 * K) * hd;
  const [N] = matrix(op, 'qkv', qkv);
  const [capacity, cacheWidth] = matrix(op, 'cache.k', cache.k);
  if (cacheWidth !== K * hd || text(cache.v) !== text(cache.k)) {
    fail(op, 'the cache has the wrong shape', `k ${text(cache.k)}, v ${text(cache.v)}`, `[rows, ${K * hd}] twice`);
  }
  indices(op, 'rows', rows, N, capacity);
  indices(op, 'range.lo', range.lo, N, capacity + 1);
  indices(op, 'range.hi', range.hi, N, capacity + 1);
  const { backend, compute } = engine;
  const { q, k, rstd } = normedHeads(op, qkv, qNorm, kNorm, eps, rope, positions, shape);
  const keys = cache.k.use(op);
  const values = cache.v.use(op);
  const kv = K * hd;
  for (let n = 0; n < N; n++) {
    const to = (rows[n] as number) * kv;
    keys.set(k.data.subarray(n * kv, (n + 1) * kv), to);
    values.set(qkv.data.subarray(n * width + (H + K) * hd, (n + 1) * width), to);
  }
  const out = engine.empty(N, H * hd);
  const lse = engine.empty(N, H);
  const { lo, hi } = range;
  backend.attention(
    compute,
    N,
    H,
    K,
    hd,
    1 / Math.sqrt(hd),
    whole(q.data, H * hd),
    whole(keys, kv),
    whole(values, kv),
    lo,
    hi,
    out.data,
    lse.data,
  );
  for (const tensor of [q, k, rstd, lse]) tensor.free();
  return out;
}

/** Constants of xIELU (not learned): beta 0.5 and the clamp of the exponential. */
export interface XieluConstants {
  readonly beta: number;
  readonly eps: number;
}

/** xIELU with learned alphaP, alphaN [1] (inverse-softplus space); any shape in, the same out. */
export function xielu(x: Tensor, alphaP: Tensor, alphaN: Tensor, { beta, eps }: XieluConstants): Tensor {
  const op = 'xielu';
  const engine = sameEngine(op, x, alphaP, alphaN);
  vector(op, 'alphaP', alphaP, 1);
  vector(op, 'alphaN', alphaN, 1);
  const { backend } = engine;
  const out = engine.empty(...x.shape);
  backend.xielu(x.size, x.use(op), alphaP.use(op), alphaN.use(op), beta, eps, out.data);
  if (x.requiresGrad || alphaP.requiresGrad || alphaN.requiresGrad) {
    engine.record([out], [], () => {
      const dx = writable(out.grad as Tensor);
      out.grad = undefined;
      const dP = alphaP.requiresGrad ? gradientBuffer(alphaP) : new Float32Array(1);
      const dN = alphaN.requiresGrad ? gradientBuffer(alphaN) : new Float32Array(1);
      backend.xieluBackward(x.size, x.use(op), alphaP.data, alphaN.data, beta, eps, dx.data, dx.data, dP, dN);
      giveGradient(x, dx);
    });
  }
  return out;
}

/** SwiGLU: silu(gate) * up; gateUp [N, 2F] holds gate and up side by side -> [N, F]. */
export function swiglu(gateUp: Tensor): Tensor {
  const op = 'swiglu';
  const { engine } = gateUp;
  const [N, columns] = matrix(op, 'gateUp', gateUp);
  if (columns % 2 !== 0) fail(op, 'gate and up are of one width', text(gateUp), 'an even number of columns');
  const F = columns / 2;
  const { backend } = engine;
  const out = engine.empty(N, F);
  backend.swiglu(N, F, gateUp.use(op), out.data);
  if (gateUp.requiresGrad) {
    engine.record([out], [], () => {
      const dgateUp = engine.empty(N, columns);
      backend.swigluBackward(N, F, gateUp.use(op), grad(out), dgateUp.data);
      giveGradient(gateUp, dgateUp);
    });
  }
  return out;
}

/** Squared ReLU: max(x, 0)^2; any shape in, the same out. */
export function relu2(x: Tensor): Tensor {
  const op = 'relu2';
  const { engine } = x;
  const { backend } = engine;
  const out = engine.empty(...x.shape);
  backend.relu2(x.size, x.use(op), out.data);
  if (x.requiresGrad) {
    engine.record([out], [], () => {
      const dx = writable(out.grad as Tensor);
      out.grad = undefined;
      backend.relu2Backward(x.size, x.use(op), dx.data, dx.data);
      giveGradient(x, dx);
    });
  }
  return out;
}

/** Cross-entropy of every label, as numbers: x [N, D], weight [V, D], labels [N] -> losses [N] in nats. */
export function tokenLosses(x: Tensor, weight: Tensor, labels: Int32Array): Tensor {
  const { engine, N, D, V } = checkLoss('tokenLosses', x, weight, labels);
  const losses = engine.empty(N);
  engine.backend.linearCrossEntropy(
    engine.compute,
    N,
    D,
    V,
    x.data,
    weight.data,
    labels,
    null,
    losses.data,
    null,
    null,
  );
  return losses;
}

/**
 * sum_n coefficient[n] * CE(x weight^T, labels)[n], a scalar; logits are never held whole.
 * A mean over a mask is coefficient = mask / sum(mask). The gradient is computed in the same pass as the loss, so this
 * must be the last op before `backward`. `losses`, if given, receives the N single losses.
 */
export function linearCrossEntropy(
  x: Tensor,
  weight: Tensor,
  labels: Int32Array,
  coefficient: Float32Array,
  losses?: Float32Array,
): Tensor {
  const op = 'linearCrossEntropy';
  const { engine, N, D, V } = checkLoss(op, x, weight, labels);
  if (coefficient.length !== N) fail(op, 'coefficient must have one entry per row', coefficient.length, N);
  if (losses && losses.length !== N) fail(op, 'losses must have one entry per row', losses.length, N);
  const { backend, compute } = engine;
  const single = losses ?? engine.empty(N).data;
  const learns = engine.isRecording && (x.requiresGrad || weight.requiresGrad);
  const dx = learns ? engine.empty(N, D) : undefined;
  // The weight's gradient is exact only for an upstream gradient of 1, which backward checks.
  const dweight = learns ? (weight.requiresGrad ? gradientBuffer(weight) : engine.zeros(V, D).data) : null;
  backend.linearCrossEntropy(
    compute,
    N,
    D,
    V,
    x.use(op),
    weight.use(op),
    labels,
    learns ? coefficient : null,
    single,
    dx?.data ?? null,
    dweight,
  );
  let total = 0;
  for (let n = 0; n < N; n++) {
    const share = coefficient[n] as number;
    if (share !== 0) total += share * (single[n] as number);
  }
  const out = engine.from([total], 1);
  if (dx) {
    engine.record([out], [], () => {
      if (grad(out)[0] !== 1)
        fail(op, 'must be the last op', `an upstream gradient of ${grad(out)[0]}`, 'a gradient of 1');
      giveGradient(x, dx);
    });
  }
  return out;
}

function checkLoss(
  op: string,
  x: Tensor,
  weight: Tensor,
  labels: Int32Array,
): { engine: Engine; N: number; D: number; V: number } {
  const engine = sameEngine(op, x, weight);
  const [N, D] = matrix(op, 'x', x);
  const [V, D2] = matrix(op, 'weight', weight);
  if (D !== D2) fail(op, 'inner sizes differ', `x ${text(x)}, weight ${text(weight)}`, `weight [.., ${D}]`);
  indices(op, 'labels', labels, N, V);
  return { engine, N, D, V };
}
