// Our side of bench/train-step.ts: one whole training step, driven over standard input like its PyTorch peer.
//
// Reads one JSON line with the sizes; answers `run N` with the milliseconds of N steps and `peak` with the FLOP/s of
// independent multiply-adds on the same threads. BELAY_TARGET and BELAY_BENCH_COMPUTE choose kernels and precision.
import { createInterface } from 'node:readline';
import type { Compute } from '../src/tensor/backend.ts';
import { nativeBackend } from '../src/tensor/backend-native.ts';
import { Engine } from '../src/tensor/tensor.ts';
import { Random } from '../src/base/rng.ts';
import { Apertus } from '../src/model/apertus.ts';
import { Optimizer } from '../src/optim/optimizer.ts';
import { Stepper } from '../src/train/step.ts';
import { type StepSizes, stepModel } from './train-step.ts';

const compute = (process.env['BELAY_BENCH_COMPUTE'] ?? 'float32') as Compute;
const backend = nativeBackend({ threads: 2 });
const answer = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
let run: (() => Promise<number>) | undefined;

for await (const line of createInterface({ input: process.stdin })) {
  if (!run) {
    run = prepare(JSON.parse(line) as StepSizes);
    await run();
    answer({ ready: backend.target });
  } else if (line === 'peak') {
    const started = performance.now();
    const flops = backend.peak(compute, 1_500_000);
    answer([flops / ((performance.now() - started) / 1000)]);
  } else {
    const times: number[] = [];
    for (let i = Number(line.split(' ')[1]); i > 0; i--) times.push(await run());
    answer(times);
  }
}

/** A step over random tokens; AdamW and clipping at 1 as the peer does. */
function prepare(sizes: StepSizes): () => Promise<number> {
  const { B, T, V } = sizes;
  const model = new Apertus(new Engine(backend, compute), stepModel(sizes));
  model.initialise(0);
  const recipe = { name: 'adamw', beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1 } as const;
  const optimizer = new Optimizer(model.parameters, recipe, 1);
  const random = new Random(1, 'tokens');
  const N = B * T;
  const ids = (): Int32Array => Int32Array.from({ length: N }, () => random.integer(V));
  const row = (n: number): number => Math.floor(n / T) * T;
  const batch = {
    B,
    T,
    tokens: ids(),
    positions: Int32Array.from({ length: N }, (_, n) => n % T),
    lo: Int32Array.from({ length: N }, (_, n) => row(n)),
    hi: Int32Array.from({ length: N }, (_, n) => n + 1),
  };
  const rows = { batch, labels: ids(), lossMask: new Float32Array(N).fill(1) };
  const stepper = new Stepper(model, optimizer, 1);
  return async () => {
    const started = performance.now();
    const gradients = await stepper.gradients({ rows: () => rows }, { first: 0, batchSize: B, microBatchSize: null });
    stepper.update(gradients, 1e-3, 1);
    return performance.now() - started;
  };
}
