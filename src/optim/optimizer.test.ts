import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goldenJson } from '../../test/golden.ts';
import type { OptimizerRecipe } from '../base/recipe.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { ParameterSet } from '../tensor/parameters.ts';
import { Engine } from '../tensor/tensor.ts';
import { alphaAt, beta3At, Optimizer } from './optimizer.ts';

type Values = { matrix: number[][]; vector: number[]; scalar: number[] };
interface Golden {
  initial_params: Values;
  gradients: Values[];
  lr_constant: number[];
  lr_variable: number[];
  runs: {
    name: string;
    optimizer: string;
    learning_rates: 'constant' | 'variable';
    max_grad_norm: number | null;
    hyperparameters: {
      betas: number[];
      alpha?: number;
      beta3_warmup?: number | null;
      alpha_warmup?: number | null;
      eps: number;
      weight_decay: number;
    };
    params_after_step_float64: Values[];
    grad_norms: number[];
  }[];
  ademamix_schedule: {
    alpha_final: number;
    beta1: number;
    beta3_final: number;
    values: { warmup: number; step: number; alpha: number; beta3: number }[];
  };
}
const golden = goldenJson<Golden>('optimizers.json');
const flat = (values: Values): number[] => [...values.matrix.flat(), ...values.vector, ...values.scalar];

for (const run of golden.runs) {
  test(`25 steps of ${run.name} stay within 1e-5 of the reference`, () => {
    const engine = new Engine(jsBackend());
    const parameters = new ParameterSet(engine, [
      { name: 'matrix', shape: [3, 4] },
      { name: 'vector', shape: [5] },
      { name: 'scalar', shape: [1] },
    ]);
    parameters.values.set(flat(golden.initial_params));
    const { betas, alpha, beta3_warmup, eps, weight_decay } = run.hyperparameters;
    const [beta1 = 0, beta2 = 0, beta3 = 0] = betas;
    const recipe: OptimizerRecipe =
      run.optimizer === 'AdEMAMix'
        ? {
            name: 'ademamix',
            beta1,
            beta2,
            beta3,
            alpha: alpha ?? 0,
            eps,
            weightDecay: weight_decay,
            warmupSteps: beta3_warmup ?? null,
          }
        : { name: 'adamw', beta1, beta2, eps, weightDecay: weight_decay };
    const optimizer = new Optimizer(parameters, recipe, golden.gradients.length);
    for (const [step, gradients] of golden.gradients.entries()) {
      parameters.gradients.set(flat(gradients));
      const lr = (run.learning_rates === 'constant' ? golden.lr_constant : golden.lr_variable)[step] as number;
      const { gradientNorm } = optimizer.update(lr, run.max_grad_norm);
      const wantNorm = run.grad_norms[step];
      if (typeof wantNorm === 'number') assert.ok(Math.abs(gradientNorm - wantNorm) <= 1e-5 * (1 + wantNorm));
      for (const [i, want] of flat(run.params_after_step_float64[step] as Values).entries()) {
        const got = parameters.values[i] as number;
        assert.ok(Math.abs(got - want) <= 1e-5, `step ${step + 1}, element ${i}: got ${got}, want ${want}`);
      }
    }
  });
}

test('alpha(t) and beta3(t) of AdEMAMix are the reference values', () => {
  const { alpha_final, beta1, beta3_final, values } = golden.ademamix_schedule;
  for (const { warmup, step, alpha, beta3 } of values) {
    assert.ok(Math.abs(alphaAt(step, alpha_final, warmup) - alpha) <= 1e-12 * alpha);
    assert.ok(Math.abs(beta3At(step, beta1, beta3_final, warmup) - beta3) <= 1e-12 * beta3);
  }
});
