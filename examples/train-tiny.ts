// Trains a very small Apertus in memory: text -> tokenizer -> ids -> rows -> loss that falls.
//
//   node --import tsx examples/train-tiny.ts
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  Apertus,
  defaultBackend,
  Engine,
  learningRate,
  modelConfig,
  Optimizer,
  parseRecipe,
  type Schedule,
  silentLog,
  type TokenBatch,
  Tokenizer,
  trainBpe,
  writeTokenizerFiles,
} from '../src/index.ts';

const sentence = 'All human beings are born free and equal in dignity and rights. ';

/** A tokenizer of the sentence, through the files that other libraries read too. */
async function trainTokenizer(vocabularySize: number): Promise<Tokenizer> {
  const dir = mkdtempSync(join(tmpdir(), 'belay-example-'));
  try {
    writeTokenizerFiles(dir, await trainBpe([sentence.repeat(20)], vocabularySize, silentLog));
    return Tokenizer.load(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** One row of T tokens: each sees itself and those before it, and is to predict the next one. */
function rowOf(ids: readonly number[], T: number): { readonly batch: TokenBatch; readonly labels: Int32Array } {
  const positions = Int32Array.from({ length: T }, (_, t) => t);
  const batch = {
    B: 1,
    T,
    tokens: Int32Array.from(ids.slice(0, T)),
    positions,
    lo: new Int32Array(T),
    hi: positions.map((t) => t + 1),
  };
  return { batch, labels: Int32Array.from(ids.slice(1, T + 1)) };
}

/** Trains for `steps` steps and returns the loss of each, in nats per token. */
export async function trainTiny(steps = 30): Promise<number[]> {
  const tokenizer = await trainTokenizer(340);
  const { batch, labels } = rowOf(tokenizer.encode(sentence.repeat(12), { bos: true }), 128);

  // A recipe fills in every default that is not given.
  const { model: sizes } = parseRecipe(
    {
      name: 'tiny',
      model: {
        layers: 2,
        hidden: 64,
        intermediate: 128,
        activation: 'xielu',
        heads: 2,
        kvHeads: 1,
        headDim: 32,
        vocabularySize: tokenizer.vocabularySize,
        initStd: 0.02,
      },
    },
    'the example',
  );
  const model = new Apertus(new Engine(defaultBackend()), modelConfig(sizes));
  model.initialise(28);
  const adamw = { name: 'adamw', beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 } as const;
  const optimizer = new Optimizer(model.parameters, adamw, steps);
  const schedule: Schedule = { style: 'WSD', initial: 0, peak: 1e-2, final: 0, warmup: 3, total: steps, cooldown: 10 };

  const coefficient = new Float32Array(labels.length).fill(1 / labels.length);
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    model.parameters.zeroGradients();
    losses.push(model.engine.gradients(() => model.loss(batch, labels, coefficient)));
    optimizer.update(learningRate(schedule, step), 1);
  }
  return losses;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const [i, loss] of (await trainTiny()).entries())
    if (i % 5 === 4) console.log(`step ${i + 1}: ${loss.toFixed(3)}`);
}
