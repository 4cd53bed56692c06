// Runs the one list of cases (backend.cases.ts) on every backend that this machine has.
//
// js is held to formulas and numerical gradients; each available native target to js, to the same bits on 1, 2 and 3
// threads and to the same table of mistakes. A target that cannot run is one skipped test that says why.
//
// Does not: measure speed.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { nativeLibrary } from '../src/base/native.ts';
import type { Backend, Compute } from '../src/tensor/backend.ts';
import { jsBackend } from '../src/tensor/backend-js.ts';
import { nativeBackend, nativeStatus } from '../src/tensor/backend-native.ts';
import {
  attentionCase,
  backendCases,
  type Case,
  crossEntropyCase,
  decodeCase,
  difference,
  embeddingCase,
  gemmCase,
  type Outputs,
  packed,
  qkNormRopeCase,
  relu2Case,
  rmsNormCase,
  swigluCase,
  threadCases,
  xieluCase,
} from './backend.cases.ts';
import { gradientCases, gradientError } from './backend.gradients.ts';
import { type Mistake, mistakes } from './backend.misuse.ts';

const oracle = jsBackend();
const cases = backendCases();
const large = threadCases();
const status = nativeStatus();

function same(got: Outputs, want: Record<string, ArrayLike<number>>, of: Case): void {
  const found = difference(got, want, of);
  assert.equal(found, null, `${of.op} ${of.name}: ${found}`);
}

/** What the oracle makes of a case: it is slow, and every target asks. */
const known = new Map<Case, Outputs>();
function oracleOf(of: Case): Outputs {
  let outputs = known.get(of);
  if (outputs === undefined) known.set(of, (outputs = of.run(oracle)));
  return outputs;
}

function gradients(backend: Backend): void {
  describe('gradients equal numerical slopes', () => {
    for (const of of gradientCases) {
      for (const input of of.inputs) {
        test(`${of.name}: ${input}`, () => assert.equal(gradientError(backend, of, input), null));
      }
    }
  });
}

function mistakesAreErrors(find: () => readonly Mistake[]): void {
  describe('mistakes are errors that name op, got and expected', () => {
    let found: readonly Mistake[] = [];
    before(() => {
      found = find();
    });
    const ops = [...new Set(mistakes(oracle).map((mistake) => mistake.op))];
    for (const op of ops) {
      test(op, () => {
        const made = found.filter((mistake) => mistake.op === op);
        assert.ok(made.length > 0);
        assert.deepEqual(
          made.filter((mistake) => mistake.complaint !== null),
          [],
        );
      });
    }
  });
}

describe('js', () => {
  describe('equals an independent formula', () => {
    for (const of of cases) {
      const { formula } = of;
      if (formula !== undefined) test(`${of.op} ${of.name}`, () => same(oracleOf(of), formula.call(of), of));
    }
  });
  gradients(oracle);
  mistakesAreErrors(() => mistakes(oracle));
});

/** Cases of shapes that fast-check draws (seed fixed: every machine draws the same). */
const odd = fc.oneof(
  fc.integer({ min: 1, max: 70 }),
  fc.constantFrom(1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129),
);
const compute = fc.constantFrom<Compute>('float32', 'bfloat16');
const small = fc.integer({ min: 1, max: 4 });
const drawn: Readonly<Record<string, fc.Arbitrary<Case>>> = {
  gemm: fc.tuple(compute, fc.boolean(), fc.boolean(), fc.boolean(), odd, odd, odd).map((shape) => gemmCase(...shape)),
  embedding: fc.tuple(odd, odd, odd, fc.integer({ min: -1, max: 3 })).map((shape) => embeddingCase(...shape)),
  addRmsNorm: fc.tuple(odd, odd, fc.boolean()).map((shape) => rmsNormCase(...shape)),
  qkNormRope: fc
    .tuple(odd, small, small, small)
    .map(([N, groups, K, quarter]) => qkNormRopeCase(N, groups * K, K, 2 * quarter * quarter)),
  attention: fc
    .tuple(compute, fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 5 }), small, small, odd)
    .map(([c, lengths, groups, K, hd]) => {
      const T = lengths.reduce((a, b) => a + b, 0);
      return attentionCase(c, 1, T, groups * K, K, hd, packed(lengths), `documents of ${lengths}`);
    }),
  decoding: fc
    .tuple(compute, small, small, odd, fc.array(fc.tuple(odd, odd), { minLength: 1, maxLength: 6 }))
    .map(([c, groups, K, hd, pairs]) => {
      const lo = Int32Array.from(pairs, ([a, b]) => Math.min(a, b));
      const hi = Int32Array.from(pairs, ([a, b]) => Math.max(a, b));
      return decodeCase(c, groups * K, K, hd, Math.max(...hi), { lo, hi }, `ranges ${lo} to ${hi}`);
    }),
  xielu: fc.tuple(odd, fc.integer({ min: -4, max: 4 }), small).map(([n, p, a]) => xieluCase(n * n, p, a / 2)),
  swiglu: fc.tuple(odd, odd).map((shape) => swigluCase(...shape)),
  relu2: odd.map((n) => relu2Case(n * n)),
  linearCrossEntropy: fc
    .tuple(compute, odd, odd, odd, fc.constantFrom('loss', 'gradient', 'some zero') as fc.Arbitrary<'loss'>)
    .map((shape) => crossEntropyCase(...shape)),
};

/** Bits as integers, all NaN alike. */
function bits(values: Outputs[string]): string {
  const copy = values.slice();
  for (let i = 0; i < copy.length; i++) if (Number.isNaN(copy[i]!)) copy[i] = NaN;
  return Buffer.from(copy.buffer).toString('latin1');
}

for (const { name, available, why } of status.targets) {
  if (!available) {
    describe(`cpu/${name}`, () => test('every case', { skip: why ?? 'not available' }, () => {}));
    continue;
  }
  describe(`cpu/${name}`, () => {
    const backend = nativeBackend({ target: name, threads: 2 });
    describe('equals js', () => {
      for (const of of cases) {
        const title = `${of.op} ${of.name}`;
        const { spreads } = of;
        if (spreads === undefined) test(title, () => same(of.run(backend), oracleOf(of), of));
        else
          test(`${title}, but for where it spreads`, () =>
            assert.equal(difference(of.run(backend), oracleOf(of), of, true), null));
      }
    });
    describe('equals js on drawn shapes', () => {
      for (const [op, shapes] of Object.entries(drawn)) {
        test(op, () => {
          fc.assert(
            fc.property(shapes, (of) => same(of.run(backend), of.run(oracle), of)),
            { seed: 7, numRuns: 25 },
          );
        });
      }
    });
    describe('has the same bits on 1, 2 and 3 threads', () => {
      for (const of of large) {
        test(`${of.op} ${of.name}`, () => {
          const runs = [1, 2, 3].map((threads) => {
            backend.threads = threads;
            return of.run(backend);
          });
          backend.threads = 2;
          for (const [output, values] of Object.entries(runs[0]!)) {
            for (const run of runs) assert.ok(bits(run[output]!) === bits(values), `${output} differs`);
          }
          same(runs[0]!, oracleOf(of), of);
        });
      }
    });
    gradients(backend);
    test('peak counts operations', () => {
      for (const kind of ['float32', 'bfloat16'] as const) {
        const once = backend.peak(kind, 1000);
        assert.ok(once > 0 && Number.isFinite(once));
        const ratio = backend.peak(kind, 100000) / once; // rounds may be rounded to whole bundles
        assert.ok(ratio > 90 && ratio < 110, `100 times the rounds are ${ratio} times the operations`);
      }
    });
  });
}

const reason = status.why ?? undefined;
describe('native bridge', () => {
  if (reason !== undefined) {
    test('every native target, and the bridge', { skip: reason }, () => {});
    return;
  }
  const child = (): { mistakes: Mistake[]; numFuzzed: number } => {
    const file = fileURLToPath(import.meta.url).replace(/backend\.test\.([tj]s)$/, 'backend.misuse.$1');
    // execFileSync throws where the child ends by a signal or a status other than 0.
    const args = [...process.execArgv.filter((word) => !word.startsWith('--test')), file, '5'];
    return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 1e8 })) as ReturnType<
      typeof child
    >;
  };
  let report: ReturnType<typeof child> | undefined;
  const once = (): NonNullable<typeof report> => (report ??= child());
  mistakesAreErrors(() => once().mistakes);
  test('random junk never ends the process', () => assert.ok(once().numFuzzed > 10000));

  test('an unknown target is refused in a sentence', () => {
    assert.throws(
      () => nativeBackend({ target: 'abacus' }),
      /load: target, got abacus, expected one that runs here: \w+/,
    );
  });

  test('memory is zeroed, aligned and writable', () => {
    const backend = nativeBackend();
    for (const bytes of [0, 1, 64, 4097, 2 ** 21, 2 ** 21 + 12, 5 * 2 ** 20]) {
      const buffer = backend.allocate(bytes);
      assert.equal(buffer.byteLength, bytes);
      const view = new Uint8Array(buffer);
      assert.ok(view.every((byte) => byte === 0));
      view.fill(1);
    }
  });

  test('memory beyond 4 GiB comes from JavaScript', () => {
    const buffer = nativeBackend().allocate(2 ** 32 + 4096);
    assert.equal(buffer.byteLength, 2 ** 32 + 4096);
    const view = new Float32Array(buffer, 2 ** 32, 1024);
    nativeBackend().fill(1024, 3, view);
    assert.equal(view[1023], 3);
  });

  test('memory that is no longer reachable is given back', async () => {
    const { setFlagsFromString } = await import('node:v8');
    const { runInNewContext } = await import('node:vm');
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const backend = nativeBackend();
    const resident = async (): Promise<number> => {
      for (let i = 0; i < 5; i++) {
        collect();
        await new Promise((resolve) => setImmediate(resolve));
      }
      return process.memoryUsage().rss;
    };
    const first = await resident();
    for (let i = 0; i < 40; i++) {
      backend.fill(2 ** 22, 1, new Float32Array(backend.allocate(2 ** 24)));
      if (i % 8 === 7) await resident();
    }
    const grown = (await resident()) - first;
    assert.ok(grown < 10 * 2 ** 24, `40 buffers of 16 MiB left ${grown} bytes behind`);
  });

  test('shared memory works like any other', () => {
    const shared = new Float32Array(new SharedArrayBuffer(4000), 400, 500);
    const backend = nativeBackend();
    backend.fill(500, 2, shared);
    backend.scale(499, 3, shared);
    assert.deepEqual([shared[0], shared[498], shared[499]], [6, 6, 2]);
    assert.equal(backend.sumOfSquares(500, shared), 36 * 499 + 4);
  });

  test('worker threads may use it at the same time', async () => {
    const library = nativeLibrary();
    const program = `
      const { parentPort, workerData } = require('node:worker_threads');
      const addon = require(workerData.path);
      const kernels = addon.load(workerData.target);
      const a = new Float32Array(100 * 100).fill(1), c = new Float32Array(100 * 100);
      let wrong = 0;
      for (let i = 0; i < 200; i++) {
        kernels.gemm('float32', false, false, 100, 100, 100, a, 0, 100, a, 0, 100, false, c, 0, 100);
        if (c.some((value) => value !== 100)) wrong++;
        c.fill(0);
        if (i % 50 === 0) addon.setThreads(1 + (i % 3));
      }
      parentPort.postMessage(wrong);`;
    const target = nativeBackend().target;
    const runs = Array.from({ length: 3 }, () => {
      const worker = new Worker(program, { eval: true, workerData: { path: library.path, target } });
      return new Promise<number>((resolve, reject) => worker.on('message', resolve).on('error', reject));
    });
    assert.deepEqual(await Promise.all(runs), [0, 0, 0]);
  });
});
