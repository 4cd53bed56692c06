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
import { takeStep, type TrainingData } from './loop.ts';

export interface Budget {
  readonly steps: number;
  readonly secondsPerStep: number;
  readonly tokensPerSecond: number;
}

/** Steps that fit into `minutes`, at least `atLeast`, in tens. The median of `probes` timed steps after a warm-up. */
export function measureBudget(
  engine: Engine,
  config: ModelConfig,
  data: TrainingData,
  optimizer: OptimizerRecipe,
  minutes: number,
  { probes = 5, atLeast = 20 }: { readonly probes?: number; readonly atLeast?: number } = {},
): Budget {
  const model = new Apertus(engine, config);
  model.initialise(0);
  const stepper = new Optimizer(model.parameters, optimizer, 1);
  const seconds: number[] = [];
  let tokens = 0;
  for (let i = 0; i <= probes; i++) {
    const started = performance.now();
    ({ tokens } = takeStep(model, data.step(i), 0, stepper, 1));
    if (i > 0) seconds.push((performance.now() - started) / 1000);
  }
  seconds.sort((a, b) => a - b);
  const secondsPerStep = seconds[Math.floor(seconds.length / 2)] as number;
  const steps = Math.max(atLeast, Math.floor((minutes * 60) / secondsPerStep / 10) * 10);
  return { steps, secondsPerStep, tokensPerSecond: tokens / secondsPerStep };
}
