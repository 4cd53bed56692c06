// Minutes become steps, once: measured on this machine, saved in the run's recipe.
//
// Does not: measure again on a resume; the saved number stands.
import { duration } from '../base/progress.ts';
import { modelConfig } from '../model/config.ts';
import { type Budget, measureBudget } from '../train/budget.ts';
import type { TrainingData } from '../train/loop.ts';
import { makeEngine } from './engine.ts';
import type { Run } from './run-folder.ts';

/** Sets `steps` of a part of the recipe that names minutes. `data(steps)` gives batches like the run's; they are closed. */
export function chooseSteps(run: Run, part: 'pretrain' | 'sft', data: (steps: number) => TrainingData): void {
  const recipe = run.recipe[part];
  if (!recipe || recipe.steps !== null || recipe.minutes === null) return;
  const { minutes } = recipe;
  const engine = makeEngine(recipe.compute, run.log);
  const probe = data(100);
  let budget: Budget;
  try {
    budget = measureBudget(engine, modelConfig(run.recipe.model), probe, recipe.optimizer, minutes);
  } finally {
    probe.close?.();
  }
  engine.memory.trim();
  run.log.line(
    `${part}: ${duration(budget.secondsPerStep)} a step here, so ${minutes} minutes are ${budget.steps} steps (kept in plan.json)`,
  );
  run.recipe = { ...run.recipe, [part]: { ...recipe, steps: budget.steps } };
  run.budgets[part] = { minutes, ...budget };
  run.save();
}
