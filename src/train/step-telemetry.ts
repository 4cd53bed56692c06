// What is measured around a step for the metrics: time, throughput against the limit, gradient noise, norms.
//
// Does not: change what training computes; nothing here is read by it.
import type { Json } from '../base/json.ts';
import type { Apertus } from '../model/apertus.ts';
import type { Optimizer } from '../optim/optimizer.ts';
import type { Group } from '../parallel/group.ts';
import type { Curriculum, Place } from './curriculum.ts';
import type { MetricFields } from './metrics-log.ts';
import type { Gradients } from './step.ts';
import {
  GradientNoise,
  measurePeak,
  parameterNorms,
  parameterSquares,
  Throughput,
  type ThroughputFields,
} from './telemetry.ts';

export interface StepTelemetryOptions {
  readonly model: Apertus;
  readonly group: Group;
  readonly curriculum: Curriculum;
  /** Steps between norms of each parameter (0: never). */
  readonly normsEverySteps: number;
  /** Floating-point operations of training on one token. */
  readonly flopsPerToken: (sequenceLength: number) => number;
}

export class StepTelemetry {
  private readonly options: StepTelemetryOptions;
  private noise = new GradientNoise();
  private throughput: { readonly phase: number; readonly of: Throughput } | undefined;
  private peak: number | undefined;
  private started = 0;

  constructor(options: StepTelemetryOptions) {
    this.options = options;
  }

  /** Measures, on all ranks at once, the rate that a fraction is told of; a fifth of a second. */
  measureLimit(): void {
    const { model, group } = this.options;
    const { backend, compute } = model.engine;
    const mine = Float64Array.of(measurePeak(backend, compute));
    const all = group.allGather(new Uint8Array(mine.buffer));
    this.peak = all.reduce((sum, bytes) => sum + (new Float64Array(Uint8Array.from(bytes).buffer)[0] as number), 0);
  }

  state(): Json {
    return this.noise.state();
  }

  restore(state: Json | undefined): void {
    this.noise = new GradientNoise(state);
  }

  /** A step begins. */
  start(): void {
    this.started = performance.now();
  }

  /** Norms of the gradient, before the update, where they are due; every rank asks for the same steps. */
  gradientNorms(step: number, optimizer: Optimizer, { weight }: Gradients): MetricFields {
    const { normsEverySteps, model, group } = this.options;
    if (normsEverySteps === 0 || step % normsEverySteps !== 0) return {};
    const { parameters } = model;
    const { from, to } = optimizer;
    const mine = parameterSquares(parameters, parameters.gradients, from, to);
    const squares = new Float64Array(mine.length);
    for (const bytes of group.allGather(new Uint8Array(mine.buffer))) {
      new Float64Array(Uint8Array.from(bytes).buffer).forEach((square, i) => {
        squares[i] = (squares[i] as number) + (weight > 0 ? square / weight ** 2 : square);
      });
    }
    return { gradientNorms: parameterNorms(parameters, squares).byName };
  }

  /** Norms of the weights, after the update, where they are due. */
  parameterNorms(step: number): MetricFields {
    const { normsEverySteps, model, group } = this.options;
    if (group.rank !== 0 || normsEverySteps === 0 || step % normsEverySteps !== 0) return {};
    const { parameters } = model;
    const { total, byName } = parameterNorms(
      parameters,
      parameterSquares(parameters, parameters.values, 0, parameters.size),
    );
    return { parameterNorm: total, parameterNorms: byName };
  }

  /** The step is over. */
  finish(place: Place, stepsTaken: number, gradients: Gradients): ThroughputFields & MetricFields {
    const { curriculum, flopsPerToken } = this.options;
    const { phase } = place;
    if (this.throughput?.phase !== phase.index) {
      const of = new Throughput({ flopsPerToken: flopsPerToken(phase.sequenceLength), peak: this.peak });
      this.throughput = { phase: phase.index, of };
    }
    const { shardSquares, shardWeights, norm, weight } = gradients;
    if (shardSquares.length > 1) this.noise.add(shardSquares, shardWeights, norm ** 2, weight);
    const seconds = (performance.now() - this.started) / 1000;
    const left = curriculum.tokens - curriculum.tokensBefore(stepsTaken);
    // In tokens that count, as the weights are.
    return { ...this.throughput.of.step(gradients.tokens, seconds, left), gradientNoiseScale: this.noise.scale };
  }
}
