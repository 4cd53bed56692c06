// Trains one head on vectors and labels, with belay's own engine: AdamW, linear warm-up, dropout, the epoch with the lowest loss on
// held-out documents.
//
// Sources: swiss-ai/pretrain-data (toxicity: 6 epochs, AdamW 3e-4, batches of 64, warm-up of 200 steps, half of each class,
// 10 % for validation, the best validation loss is saved) and epfml/fineweb2-hq (quality: 6 epochs, AdamW 3e-4, batches of 256).
// Weights begin as PyTorch's Linear does, and AdamW decays all of them by 0.01 as PyTorch's does, biases too. Checked step
// by step against PyTorch (train.test.ts).
//
// Does not: make vectors, or write files (train-folder.ts).
import { z } from 'zod';
import { UserError } from '../../base/errors.ts';
import { Random } from '../../base/rng.ts';
import { Optimizer } from '../../optim/optimizer.ts';
import { learningRate } from '../../optim/schedule.ts';
import type { Backend } from '../../tensor/backend.ts';
import { addBias, crossEntropy, dropout, relu } from '../../tensor/head-ops.ts';
import { linear } from '../../tensor/ops.ts';
import { ParameterSet } from '../../tensor/parameters.ts';
import { Engine, type Tensor } from '../../tensor/tensor.ts';
import { type HeadKind, type HeadWeights, outputsOf, scoreOf, tensorNames } from './head.ts';
import { type Metrics, metricsOf } from './metrics.ts';

const count = z.int().min(1);
const schema = z.strictObject({
  /** Units of the hidden layer. */
  hidden: count,
  dropout: z.number().min(0).lt(1).default(0.2),
  epochs: count.default(6),
  batch: count,
  learningRate: z.number().positive().default(3e-4),
  /** Steps of the linear warm-up from 0. */
  warmup: z.int().min(0),
  weightDecay: z.number().min(0).default(0.01),
  /** Share of the documents that the epoch is chosen by. */
  validation: z.number().gt(0).lt(1).default(0.1),
  /** Whether the larger class is cut to the size of the smaller one. */
  balance: z.boolean().default(true),
});

export type HeadSettings = z.output<typeof schema>;

/** The settings of each kind, with the defaults of its source. */
export const headSettings = {
  toxicity: schema.extend({
    hidden: count.default(768),
    batch: count.default(64),
    warmup: z.int().min(0).default(200),
  }),
  quality: schema.extend({ hidden: count.default(256), batch: count.default(256), warmup: z.int().min(0).default(0) }),
} as const;

/** The weights in the making: a step at a time. */
export class HeadTrainer {
  readonly parameters: ParameterSet;
  private readonly engine: Engine;
  private readonly settings: HeadSettings;
  private readonly width: number;
  private readonly outputs: 1 | 2;
  private readonly optimizer: Optimizer;
  private readonly random: Random;

  constructor(backend: Backend, kind: HeadKind, width: number, settings: HeadSettings, seed: number, name: string) {
    this.engine = new Engine(backend);
    this.settings = settings;
    this.width = width;
    this.outputs = outputsOf[kind];
    const { hidden, weightDecay } = settings;
    // Biases are matrices of one row, because weight decay is for matrices.
    this.parameters = new ParameterSet(this.engine, [
      { name: tensorNames.hiddenWeight, shape: [hidden, width] },
      { name: tensorNames.hiddenBias, shape: [1, hidden] },
      { name: tensorNames.outputWeight, shape: [this.outputs, hidden] },
      { name: tensorNames.outputBias, shape: [1, this.outputs] },
    ]);
    const start = new Random(seed, 'head', name, 'weights');
    for (const { name: tensor, size } of this.parameters.slices) {
      const bound = 1 / Math.sqrt(tensor.startsWith('classifier.0') ? width : hidden);
      const values = this.parameters.valuesOf(tensor);
      for (let i = 0; i < size; i++) values[i] = (2 * start.real() - 1) * bound;
    }
    this.optimizer = new Optimizer(
      this.parameters,
      { name: 'adamw', beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay },
      0,
    );
    this.random = new Random(seed, 'head', name, 'dropout');
  }

  /** One step on a batch: vectors [N, width] and their labels. Returns the mean loss before the step. */
  step(vectors: Float32Array, labels: Int32Array): number {
    const { learningRate: peak, warmup } = this.settings;
    this.parameters.zeroGradients();
    const loss = this.engine.gradients(() => crossEntropy(this.logits(vectors, labels.length, true), labels));
    const schedule = { style: 'constant', initial: 0, peak, final: peak, warmup, total: warmup } as const;
    this.optimizer.update(learningRate(schedule, this.optimizer.step), null);
    return loss;
  }

  /** Mean loss of vectors [N, width], without dropout. */
  loss(vectors: Float32Array, labels: Int32Array): number {
    return this.engine.scope(() => crossEntropy(this.logits(vectors, labels.length, false), labels).item());
  }

  /** A copy of the weights as they are. */
  weights(): HeadWeights {
    const of = (name: string): Float32Array => this.parameters.valuesOf(name).slice();
    const { width, outputs } = this;
    return {
      width,
      hidden: this.settings.hidden,
      outputs,
      hiddenWeight: of(tensorNames.hiddenWeight),
      hiddenBias: of(tensorNames.hiddenBias),
      outputWeight: of(tensorNames.outputWeight),
      outputBias: of(tensorNames.outputBias),
    };
  }

  private logits(vectors: Float32Array, rows: number, trains: boolean): Tensor {
    const p = (name: string): Tensor => this.parameters.tensor(name);
    const x = this.engine.view(vectors, rows, this.width);
    const hidden = relu(addBias(linear(x, p(tensorNames.hiddenWeight)), p(tensorNames.hiddenBias)));
    const kept = trains ? dropout(hidden, this.settings.dropout, this.random) : hidden;
    return addBias(linear(kept, p(tensorNames.outputWeight)), p(tensorNames.outputBias));
  }
}

/** Vectors [labels.length, width] one after the other, and 0 or 1 for each. */
export interface LabelledVectors {
  readonly vectors: Float32Array;
  readonly labels: Uint8Array;
}

export interface HeadEpoch {
  /** Mean over the steps of the epoch, with dropout. */
  readonly trainLoss: number;
  readonly loss: number;
  readonly accuracy: number;
  readonly f1: number;
  readonly auc: number | null;
}

export interface TrainedHead {
  readonly weights: HeadWeights;
  /** Documents that were trained on and held out, after balancing. */
  readonly trained: number;
  readonly validated: number;
  readonly epochs: readonly HeadEpoch[];
  /** The epoch whose weights these are, from 1. */
  readonly best: number;
}

export interface TrainHeadOptions {
  readonly backend: Backend;
  readonly kind: HeadKind;
  readonly width: number;
  readonly settings: HeadSettings;
  readonly seed: number;
  /** Names the random streams: the language. */
  readonly name: string;
  readonly data: LabelledVectors;
  /** After each epoch. */
  readonly onEpoch?: (number: number, epoch: HeadEpoch) => void;
}

/** Numbers of the documents to train on and to hold out: both classes in both, of one size each where they are balanced. */
export function splitLabels(
  labels: Uint8Array,
  { balance, validation }: Pick<HeadSettings, 'balance' | 'validation'>,
  random: Random,
): { readonly train: number[]; readonly held: number[] } {
  const classes = [0, 1].map((label) => {
    const numbers: number[] = [];
    for (const [i, one] of labels.entries()) if (one === label) numbers.push(i);
    return random.shuffle(numbers);
  });
  const smaller = Math.min(...classes.map(({ length }) => length));
  const train: number[] = [];
  const held: number[] = [];
  for (const numbers of classes) {
    const used = balance ? numbers.slice(0, smaller) : numbers;
    const cut = Math.max(1, Math.round(used.length * validation));
    held.push(...used.slice(0, cut));
    train.push(...used.slice(cut));
  }
  return { train, held };
}

/** Trains a head; each class must have two documents at least. */
export function trainHead(options: TrainHeadOptions): TrainedHead {
  const { backend, kind, width, settings, seed, name, data, onEpoch } = options;
  const { train, held } = splitLabels(data.labels, settings, new Random(seed, 'head', name, 'split'));
  const rows = (numbers: readonly number[]): { vectors: Float32Array; labels: Int32Array } => {
    const vectors = new Float32Array(numbers.length * width);
    for (const [i, number] of numbers.entries()) {
      vectors.set(data.vectors.subarray(number * width, (number + 1) * width), i * width);
    }
    return { vectors, labels: Int32Array.from(numbers, (number) => data.labels[number] as number) };
  };
  const validation = rows(held);
  const trainer = new HeadTrainer(backend, kind, width, settings, seed, name);
  const epochs: HeadEpoch[] = [];
  let best = { number: 0, loss: Number.POSITIVE_INFINITY, weights: trainer.weights() };
  for (let number = 1; number <= settings.epochs; number++) {
    new Random(seed, 'head', name, 'epoch', number).shuffle(train);
    let sum = 0;
    let steps = 0;
    for (let at = 0; at < train.length; at += settings.batch, steps++) {
      const { vectors, labels } = rows(train.slice(at, at + settings.batch));
      sum += trainer.step(vectors, labels);
    }
    const weights = trainer.weights();
    const loss = trainer.loss(validation.vectors, validation.labels);
    const epoch = { trainLoss: sum / Math.max(1, steps), loss, ...metricsOfHead(weights, validation) };
    epochs.push(epoch);
    onEpoch?.(number, epoch);
    if (loss < best.loss) best = { number, loss, weights };
  }
  if (best.number === 0) {
    throw new UserError(`the head for ${name} cannot be trained: its loss is not a number in any epoch`, {
      next: 'a smaller learningRate, or an embedder whose vectors are finite',
    });
  }
  return { weights: best.weights, trained: train.length, validated: held.length, epochs, best: best.number };
}

function metricsOfHead(head: HeadWeights, { vectors, labels }: { vectors: Float32Array; labels: Int32Array }): Metrics {
  const { width } = head;
  const scores = Array.from(labels, (_, i) => scoreOf(head, vectors.subarray(i * width, (i + 1) * width)));
  return metricsOf(scores, labels);
}
