// Everything that JavaScript can pass wrongly to a kernel, and proof that it comes back as an Error.
//
// A table of valid calls, one per op, with the kind of each argument; every argument is then replaced by each wrong
// value of its kind. Run as a program with a seed it does that to the native backend and then calls the raw exports of
// the addon with random junk: backend.test.ts starts it as a child, because a mistake here would end the process.
//
// Does not: check what valid calls compute.

import { parentPort } from 'node:worker_threads';
import { nativeLibrary } from '../src/base/native.ts';
import { Random } from '../src/base/rng.ts';
import type { Backend } from '../src/tensor/backend.ts';
import { nativeBackend } from '../src/tensor/backend-native.ts';

type Kind =
  | 'compute'
  | 'flag'
  | 'size'
  | 'real'
  | 'floats'
  | 'floats?'
  | 'ints'
  | 'indices'
  | 'halves'
  | 'matrix'
  | 'step';
interface Argument {
  readonly name: string;
  readonly kind: Kind;
  readonly value: unknown;
}

const arg =
  (kind: Kind) =>
  (name: string, value: unknown): Argument => ({ name, kind, value });
const [flag, size, real] = [arg('flag'), arg('size'), arg('real')];
const compute = arg('compute')('compute', 'float32');
const floats = (name: string, count: number): Argument => arg('floats')(name, new Float32Array(count).fill(0.5));
const floatsOrNull = (name: string, count: number): Argument => arg('floats?')(name, new Float32Array(count));
const indices = (name: string, ...values: number[]): Argument => arg('indices')(name, Int32Array.from(values));
const halves = (name: string, count: number): Argument => arg('halves')(name, new Uint16Array(count));
const matrix = (name: string, rows: number, columns: number): Argument =>
  arg('matrix')(name, { data: new Float32Array(rows * columns).fill(0.5), offset: 0, stride: columns });
const step = (...names: string[]): Argument => arg('step')('step', Object.fromEntries(names.map((n) => [n, 0.5])));

type Op = Exclude<keyof Backend, 'name' | 'target' | 'threads' | 'allocate'>;
const norm = [floats('qkv', 3 * 32), floats('qweight', 4), floats('kweight', 4)];
const tables = [floats('cosine', 10), floats('sine', 10), indices('positions', 0, 3, 4)];
const heads = [size('H', 4), size('K', 2), size('hd', 4)];

/** One valid call per op. Arrays are exactly as long as they must be and indices reach the last row. */
const calls: Readonly<Record<Op, readonly Argument[]>> = {
  gemm: [
    compute,
    flag('transA', false),
    flag('transB', true),
    size('M', 2),
    size('N', 3),
    size('K', 4),
    matrix('a', 2, 4),
    matrix('b', 3, 4),
    flag('accumulate', false),
    matrix('c', 2, 3),
  ],
  embedding: [size('N', 3), size('D', 4), floats('weight', 20), indices('ids', 0, 4, 2), floats('out', 12)],
  embeddingBackward: [
    size('N', 3),
    size('D', 4),
    floats('dout', 12),
    indices('ids', 0, 4, 2),
    arg('real')('padding', -1),
    floats('dweight', 20),
  ],
  addRmsNorm: [
    size('N', 3),
    size('D', 4),
    floats('x', 12),
    floatsOrNull('delta', 12),
    floats('weight', 4),
    real('eps', 1e-5),
    floats('sum', 12),
    floats('out', 12),
    floats('rstd', 3),
  ],
  addRmsNormBackward: [
    size('N', 3),
    size('D', 4),
    floats('sum', 12),
    floats('weight', 4),
    floats('rstd', 3),
    floats('dout', 12),
    floats('dsum', 12),
    floats('dweight', 4),
  ],
  qkNormRope: [
    size('N', 3),
    ...heads,
    ...norm,
    real('eps', 1e-6),
    ...tables,
    floats('q', 48),
    floats('k', 24),
    floats('rstd', 18),
  ],
  qkNormRopeBackward: [
    size('N', 3),
    ...heads,
    ...norm,
    floats('rstd', 18),
    ...tables,
    floats('dq', 48),
    floats('dk', 24),
    floats('dqkv', 96),
    floats('dqweight', 4),
    floats('dkweight', 4),
  ],
  attention: [
    compute,
    size('Nq', 2),
    ...heads,
    real('scale', 0.5),
    matrix('q', 2, 16),
    matrix('k', 5, 8),
    matrix('v', 5, 8),
    indices('lo', 0, 3),
    indices('hi', 2, 5),
    floats('out', 32),
    floats('lse', 8),
  ],
  attentionBackward: [
    compute,
    size('B', 2),
    size('T', 2),
    ...heads,
    real('scale', 0.5),
    matrix('q', 4, 16),
    matrix('k', 4, 8),
    matrix('v', 4, 8),
    indices('lo', 0, 0, 2, 3),
    indices('hi', 1, 2, 3, 4),
    floats('out', 64),
    floats('lse', 16),
    floats('dout', 64),
    floats('dq', 64),
    floats('dk', 32),
    matrix('dv', 4, 8),
  ],
  xielu: [
    size('count', 5),
    floats('x', 5),
    floats('alphaP', 1),
    floats('alphaN', 1),
    real('beta', 0.5),
    real('eps', -1e-6),
    floats('out', 5),
  ],
  xieluBackward: [
    size('count', 5),
    floats('x', 5),
    floats('alphaP', 1),
    floats('alphaN', 1),
    real('beta', 0.5),
    real('eps', -1e-6),
    floats('dout', 5),
    floats('dx', 5),
    floats('dalphaP', 1),
    floats('dalphaN', 1),
  ],
  swiglu: [size('N', 3), size('F', 4), floats('gateUp', 24), floats('out', 12)],
  swigluBackward: [size('N', 3), size('F', 4), floats('gateUp', 24), floats('dout', 12), floats('dgateUp', 24)],
  relu2: [size('count', 5), floats('x', 5), floats('out', 5)],
  relu2Backward: [size('count', 5), floats('x', 5), floats('dout', 5), floats('dx', 5)],
  linearCrossEntropy: [
    compute,
    size('N', 3),
    size('D', 4),
    size('V', 5),
    floats('x', 12),
    floats('weight', 20),
    indices('labels', 0, 4, 1),
    floats('coefficient', 3),
    floats('loss', 3),
    floats('dx', 12),
    floats('dweight', 20),
  ],
  fill: [size('count', 5), real('value', 1), floats('out', 5)],
  add: [size('count', 5), floats('a', 5), floats('b', 5), floats('out', 5)],
  scale: [size('count', 5), real('factor', 2), floats('x', 5)],
  sumOfSquares: [size('count', 5), floats('x', 5)],
  toBf16: [size('count', 5), floats('x', 5), halves('out', 5)],
  fromBf16: [size('count', 5), halves('x', 5), floats('out', 5)],
  ademamix: [
    size('count', 5),
    floats('p', 5),
    floats('g', 5),
    floats('m1', 5),
    floats('m2', 5),
    floats('v', 5),
    step('clip', 'lr', 'beta1', 'beta2', 'beta3', 'alpha', 'eps', 'weightDecay', 'correction1', 'correction2'),
  ],
  adamw: [
    size('count', 5),
    floats('p', 5),
    floats('g', 5),
    floats('m', 5),
    floats('v', 5),
    step('clip', 'lr', 'beta1', 'beta2', 'eps', 'weightDecay', 'correction1', 'correction2'),
  ],
  peak: [compute, size('iterations', 3)],
};

/** A view of `count` floats whose buffer was given away. */
function detached(count: number): Float32Array {
  const array = new Float32Array(count);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

/** Wrong values for one argument, each with a word for people. */
function* wrongValues({ name, kind, value }: Argument): Generator<readonly [string, unknown]> {
  yield ['undefined', undefined];
  yield ['an object', {}];
  yield ['a function', () => 1];
  yield ['a symbol', Symbol('x')];
  if (kind !== 'floats?') yield ['null', null];
  if (kind === 'compute') {
    yield ['another type', 'float16'];
    yield ['a long string', 'bfloat16'.repeat(1000)];
    yield ['a number', 1];
  } else if (kind === 'flag') {
    yield ['a number', 1];
    yield ['a string', 'true'];
  } else if (kind === 'real') {
    yield ['a string', '1'];
    yield ['a bigint', 1n];
    if (name === 'padding') for (const bad of [-2, 0.5, NaN, 2 ** 31]) yield [String(bad), bad];
  } else if (kind === 'size') {
    for (const bad of [-1, 1.5, NaN, Infinity, 1e18, 2 ** 53]) yield [String(bad), bad];
    // `peak` may loop as long as it is told to: 2^40 rounds would be an answer, after a day.
    if (name !== 'iterations') for (const bad of [2 ** 40, 2 ** 31, (value as number) + 1000]) yield [String(bad), bad];
    if (name === 'hd') yield ['0', 0];
    yield ['a string', '2'];
    yield ['a bigint', 2n];
  } else if (kind === 'step') {
    yield ['a string', 'step'];
    for (const field of Object.keys(value as object))
      yield [`no ${field}`, { ...(value as object), [field]: undefined }];
  } else if (kind === 'matrix') {
    const m = value as { data: Float32Array; offset: number; stride: number };
    for (const offset of [-1, 0.5, NaN, 1, 2 ** 40, 2 ** 53 - 1, '0']) yield [`offset ${offset}`, { ...m, offset }];
    for (const stride of [-1, 0, 0.5, NaN, m.stride - 1, m.stride + 1, 2 ** 40, 2 ** 52]) {
      yield [`stride ${stride}`, { ...m, stride }];
    }
    yield ['one element short', { ...m, data: m.data.subarray(1) }];
    yield ['data detached', { ...m, data: detached(m.data.length) }];
    yield ['data a Float64Array', { ...m, data: new Float64Array(m.data) }];
    yield ['data undefined', { ...m, data: undefined }];
  } else {
    const array = value as Float32Array | Int32Array | Uint16Array;
    yield ['a number', 1];
    yield ['a plain array', Array.from(array)];
    yield ['a DataView', new DataView(new ArrayBuffer(1024))];
    yield ['an ArrayBuffer', new ArrayBuffer(1024)];
    yield ['a Float64Array', new Float64Array(array)];
    yield ['another kind', array instanceof Int32Array ? new Float32Array(array) : new Int32Array(array.length)];
    yield ['one element short', array.subarray(1)];
    yield ['empty', array.subarray(0, 0)];
    if (array instanceof Float32Array) yield ['detached', detached(array.length)];
    if (kind === 'indices') {
      for (const i of [0, array.length - 1]) {
        for (const bad of [-1, -(2 ** 31), 2 ** 31 - 1, 1000])
          yield [`[${i}] = ${bad}`, Int32Array.from(array).fill(bad, i, i + 1)];
      }
      if (name === 'lo') yield ['lo > hi', Int32Array.from(array).fill(4)];
      if (name === 'hi') yield ['hi < lo', new Int32Array(array.length)];
    }
  }
}

export interface Mistake {
  readonly op: string;
  readonly what: string;
  /** What was wrong with the answer; null where it was an Error `op: what, got X, expected Y`. */
  readonly complaint: string | null;
}

/** Makes every mistake of the table, after checking that the valid calls are valid. */
export function mistakes(backend: Backend): Mistake[] {
  const found: Mistake[] = [];
  for (const [op, args] of Object.entries(calls) as [Op, readonly Argument[]][]) {
    const call = (values: readonly unknown[]): void => {
      (backend[op] as (...args: unknown[]) => unknown).apply(backend, values as unknown[]);
    };
    const right = args.map((a) => a.value);
    call(right);
    args.forEach((argument, i) => {
      for (const [what, wrong] of wrongValues(argument)) {
        const complaint = complaintOf(op, () => call(right.with(i, wrong)));
        found.push({ op, what: `${argument.name}: ${what}`, complaint });
      }
    });
    found.push({ op, what: 'no arguments', complaint: complaintOf(op, () => call([])) });
  }
  for (const n of [0, 257, 1.5, NaN, -1, 2 ** 40, 'two', undefined]) {
    const complaint = complaintOf('(threads|setThreads)', () => {
      backend.threads = n as number;
    });
    found.push({ op: 'threads', what: String(n), complaint });
  }
  for (const n of [-1, 1.5, NaN, Infinity, 2 ** 53, 'one', undefined]) {
    found.push({
      op: 'allocate',
      what: String(n),
      complaint: complaintOf('allocate', () => backend.allocate(n as number)),
    });
  }
  return found;
}

function complaintOf(op: string, act: () => unknown): string | null {
  try {
    act();
  } catch (error) {
    if (!(error instanceof Error)) return `threw ${String(error)}`;
    return new RegExp(`^${op}: .+, got .+, expected .+`).test(error.message) ? null : `said "${error.message}"`;
  }
  return 'was accepted';
}

/** Calls every export of the addon with random junk; each call must return or throw. */
function fuzz(seed: number, rounds: number): number {
  const library = nativeLibrary();
  if ('why' in library) throw new Error(library.why);
  const { module } = library;
  const random = new Random(seed, 'fuzz');
  const shared = new Float32Array(new SharedArrayBuffer(64));
  const junk: readonly unknown[] = [
    undefined,
    null,
    true,
    false,
    0,
    1,
    2,
    3,
    4,
    -1,
    1.5,
    NaN,
    Infinity,
    2 ** 31,
    2 ** 40,
    2 ** 53,
    1e300,
    5n,
    '',
    'float32',
    'bfloat16',
    'avx2',
    'x'.repeat(5e3),
    {},
    [],
    [1, 2],
    () => 1,
    Symbol('s'),
    new Date(),
    new Float32Array(0),
    new Float32Array(4),
    new Float32Array(64),
    shared,
    detached(16),
    new Int32Array(16),
    Int32Array.of(-5, 1, 2 ** 31 - 1),
    new Uint16Array(16),
    new Float64Array(8),
    new DataView(new ArrayBuffer(8)),
    new Proxy({}, {}),
    new ArrayBuffer(16),
    new SharedArrayBuffer(16),
    new Uint8Array(3),
  ];
  const pick = (): unknown => junk[random.integer(junk.length)];
  type Call = (...args: unknown[]) => unknown;
  const functions: (readonly [Call, number])[] = [];
  for (const { name, available } of module.targets()) {
    if (!available) continue;
    const kernels = module.load(name) as Record<string, Call>;
    for (const [op, call] of Object.entries(kernels)) {
      if (typeof call !== 'function') continue;
      const flatLength = calls[op as Op].reduce((n, { kind, value }) => {
        return n + (kind === 'matrix' ? 3 : kind === 'step' ? Object.keys(value as object).length : 1);
      }, 0);
      functions.push([call, flatLength]);
    }
  }
  functions.push([module.load as Call, 1], [module.setThreads as Call, 1], [module.allocate as Call, 1]);
  functions.push([module.targets as Call, 0], [module.threads as Call, 0]);
  let numCalls = 0;
  for (let round = 0; round < rounds; round++) {
    for (const [call, arity] of functions) {
      // Mostly the right number of arguments, so that junk gets past the first check.
      const count = random.integer(4) === 0 ? random.integer(40) : arity;
      const receiver = random.integer(8) === 0 ? pick() : module;
      try {
        call.apply(receiver, Array.from({ length: count }, pick));
      } catch (error) {
        if (!(error instanceof Error)) throw new Error(`threw ${String(error)}`);
      }
      numCalls++;
    }
  }
  return numCalls;
}

// As a program: `backend.misuse.ts <seed>` prints what it found as JSON.
const seed = Number(process.argv[2]);
if (parentPort === null && /backend\.misuse\.[tj]s$/.test(process.argv[1] ?? '') && Number.isInteger(seed)) {
  const found = mistakes(nativeBackend({ threads: 2 }));
  const numFuzzed = fuzz(seed, 300);
  console.log(JSON.stringify({ mistakes: found, numFuzzed }));
}
