// From minutes to steps: measures the rate of real steps once and says how many fit.
//
// The answer is saved in the run's recipe and never asked again, so a resumed run takes as many steps as it was
// meant to, on whatever machine it goes on.
//
// Does not: touch the run's own model; it measures on a copy.
import type { OptimizerRecipe } from '../base/recipe.ts';
import { Optimizer } from '../optim/optimizer.ts';
import { Apertus } from '../model/apertus.ts';
import type { ModelConfig } from '../model/config.ts';
import type { Engine } from '../tensor/tensor.ts';
import type { Curriculum } from './curriculum.ts';
import { Stepper, type TrainingData } from './step.ts';

export interface Budget {
  readonly steps: number;
  readonly secondsPerStep: number;
  readonly tokensPerSecond: number;
}

/** Steps that fit into `minutes`, at least `atLeast`, in tens: the median of timed steps of a curriculum after a warm-up. */
export async function measureBudget(
  engine: Engine,
  config: ModelConfig,
  curriculum: Curriculum,
  data: TrainingData,
  optimizer: OptimizerRecipe,
  minutes: number,
  { probes = 5, atLeast = 20 }: { readonly probes?: number; readonly atLeast?: number } = {},
): Promise<Budget> {
  const model = new Apertus(engine, config);
  model.initialise(0);
  const { phase } = curriculum.at(0);
  const stepper = new Stepper(model, new Optimizer(model.parameters, optimizer, 1), phase.shards);
  const seconds: number[] = [];
  let tokens = 0;
  for (let i = 0; i <= probes; i++) {
    const started = performance.now();
    const { phaseSamples, batchSize } = curriculum.at(i);
    const rows = { first: phaseSamples, batchSize, microBatchSize: phase.microBatchSize };
    const gradients = await stepper.gradients(data, rows);
    stepper.update(gradients, 0, 1);
    tokens = gradients.tokens;
    if (i > 0) seconds.push((performance.now() - started) / 1000);
  }
  seconds.sort((a, b) => a - b);
  const secondsPerStep = seconds[Math.floor(seconds.length / 2)] as number;
  const steps = Math.max(atLeast, Math.floor((minutes * 60) / secondsPerStep / 10) * 10);
  return { steps, secondsPerStep, tokensPerSecond: tokens / secondsPerStep };
}
