// The fast backend: native/addon.cpp behind the Backend interface.
//
// A matrix {data, offset, stride} goes over the bridge as three arguments and an optimizer's step as one argument per
// field; everything is checked on the other side, so this file only unpacks. BELAY_TARGET forces a dispatch target
// and BELAY_THREADS the number of threads; the pool of threads belongs to the process, not to one backend.
//
// Does not: choose between this backend and the TypeScript one (backend-select.ts).

import { availableParallelism } from 'node:os';
import { UserError } from '../base/errors.ts';
import { type NativeModule, type NativeTarget, nativeLibrary } from '../base/native.ts';
import type { AdamwStep, AdemamixStep, Backend, Strided } from './backend.ts';

/** What `belay doctor` prints about the native backend. */
export interface NativeStatus {
  readonly path: string;
  /** Why the library is not used, or null. */
  readonly why: string | null;
  readonly compiler: string | null;
  /** Best first; the first available one runs unless BELAY_TARGET says otherwise. */
  readonly targets: readonly NativeTarget[];
}

export function nativeStatus(): NativeStatus {
  const library = nativeLibrary();
  if ('why' in library) return { path: library.path, why: library.why, compiler: null, targets: [] };
  return { path: library.path, why: null, compiler: library.module.compiler, targets: library.module.targets() };
}

/** Arguments as they cross the bridge. */
type Flat<P extends readonly unknown[]> = P extends readonly [infer A, ...infer R]
  ? A extends Strided
    ? [Float32Array, number, number, ...Flat<R>]
    : A extends AdemamixStep
      ? [...Ten, ...Flat<R>]
      : A extends AdamwStep
        ? [...Eight, ...Flat<R>]
        : [A, ...Flat<R>]
  : [];
type Eight = [number, number, number, number, number, number, number, number];
type Ten = [...Eight, number, number];
type Kernels = {
  [Op in Exclude<keyof Backend, 'name' | 'target' | 'threads' | 'allocate'>]: (
    ...args: Flat<Parameters<Backend[Op]>>
  ) => ReturnType<Backend[Op]>;
} & { readonly target: string };

/** The native kernels of `target` (the best this processor has), or an Error that says why there are none. */
export function nativeBackend(options: { target?: string; threads?: number } = {}): Backend {
  const library = nativeLibrary();
  if ('why' in library) throw new Error(`native backend: ${library.why}`);
  const { module } = library;
  const target = options.target ?? (targetFromEnvironment(module) || bestTarget(module));
  const kernels = module.load(target) as Kernels;
  const threads = options.threads ?? threadsFromEnvironment();
  if (threads !== undefined) module.setThreads(threads);
  else if (module.threads() === 0) module.setThreads(Math.min(availableParallelism(), 256));

  return {
    name: 'cpu',
    target: kernels.target,
    get threads() {
      return module.threads();
    },
    set threads(n: number) {
      module.setThreads(n);
    },
    allocate: (bytes) => module.allocate(bytes) ?? new ArrayBuffer(bytes),
    gemm: (compute, transA, transB, M, N, K, a, b, accumulate, c) =>
      kernels.gemm(compute, transA, transB, M, N, K, ...flat(a), ...flat(b), accumulate, ...flat(c)),
    embedding: kernels.embedding,
    embeddingBackward: kernels.embeddingBackward,
    addRmsNorm: kernels.addRmsNorm,
    addRmsNormBackward: kernels.addRmsNormBackward,
    qkNormRope: kernels.qkNormRope,
    qkNormRopeBackward: kernels.qkNormRopeBackward,
    attention: (compute, Nq, H, K, hd, scale, q, k, v, lo, hi, out, lse) =>
      kernels.attention(compute, Nq, H, K, hd, scale, ...flat(q), ...flat(k), ...flat(v), lo, hi, out, lse),
    attentionBackward: (compute, B, T, H, K, hd, scale, q, k, v, lo, hi, out, lse, dout, dq, dk, dv) =>
      kernels.attentionBackward(
        compute,
        B,
        T,
        H,
        K,
        hd,
        scale,
        ...flat(q),
        ...flat(k),
        ...flat(v),
        lo,
        hi,
        out,
        lse,
        dout,
        dq,
        dk,
        ...flat(dv),
      ),
    xielu: kernels.xielu,
    xieluBackward: kernels.xieluBackward,
    swiglu: kernels.swiglu,
    swigluBackward: kernels.swigluBackward,
    relu2: kernels.relu2,
    relu2Backward: kernels.relu2Backward,
    linearCrossEntropy: kernels.linearCrossEntropy,
    fill: kernels.fill,
    add: kernels.add,
    scale: kernels.scale,
    sumOfSquares: kernels.sumOfSquares,
    toBf16: kernels.toBf16,
    fromBf16: kernels.fromBf16,
    ademamix: (count, p, g, m1, m2, v, s) =>
      kernels.ademamix(
        count,
        p,
        g,
        m1,
        m2,
        v,
        s?.clip,
        s?.lr,
        s?.beta1,
        s?.beta2,
        s?.beta3,
        s?.alpha,
        s?.eps,
        s?.weightDecay,
        s?.correction1,
        s?.correction2,
      ),
    adamw: (count, p, g, m, v, s) =>
      kernels.adamw(
        count,
        p,
        g,
        m,
        v,
        s?.clip,
        s?.lr,
        s?.beta1,
        s?.beta2,
        s?.eps,
        s?.weightDecay,
        s?.correction1,
        s?.correction2,
      ),
    peak: kernels.peak,
  };
}

/** Optional chaining although the type forbids it: the bridge then names the op in its message. */
function flat(m: Strided): [Float32Array, number, number] {
  return [m?.data, m?.offset, m?.stride];
}

function bestTarget(module: NativeModule): string {
  const targets = module.targets();
  const best = targets.find((target) => target.available);
  if (best !== undefined) return best.name;
  throw new Error(`native backend: no target runs here: ${targets.map((t) => `${t.name}: ${t.why}`).join('; ')}`);
}

function threadsFromEnvironment(): number | undefined {
  const text = process.env['BELAY_THREADS'];
  if (text === undefined || text === '') return undefined;
  const n = Number(text);
  if (Number.isInteger(n) && n >= 1 && n <= 256) return n;
  throw new UserError('BELAY_THREADS is no number of threads', { found: text, expected: 'a whole number in 1..256' });
}

/** The target that BELAY_TARGET forces, or an empty string; one that cannot run is the user's to correct. */
function targetFromEnvironment(module: NativeModule): string {
  const name = process.env['BELAY_TARGET'] ?? '';
  const targets = module.targets();
  const target = targets.find((candidate) => candidate.name === name);
  if (name === '' || target?.available) return name;
  throw new UserError(`BELAY_TARGET=${name} cannot run here`, {
    found: target ? (target.why ?? 'not available') : 'no such target',
    expected: targets.flatMap((candidate) => (candidate.available ? [candidate.name] : [])).join(', '),
  });
}
