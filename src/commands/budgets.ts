// Minutes become steps, once: measured on this machine, saved in the run's recipe.
//
// Does not: measure again on a resume; the saved number stands.
import { duration } from '../base/progress.ts';
import { modelConfig } from '../model/config.ts';
import { type Budget, measureBudget } from '../train/budget.ts';
import type { Curriculum } from '../train/curriculum.ts';
import type { TrainingData } from '../train/step.ts';
import { makeEngine } from './engine.ts';
import type { Run } from './run-folder.ts';

/** What a training of so many steps would read. */
export interface Probe {
  readonly curriculum: Curriculum;
  readonly data: TrainingData;
}

/** Sets `steps` of a part of the recipe that names minutes. `probe(steps)` is like the run; its data are closed. */
export async function chooseSteps(run: Run, part: 'pretrain' | 'sft', probe: (steps: number) => Probe): Promise<void> {
  const recipe = run.recipe[part];
  if (!recipe || recipe.steps !== null || recipe.minutes === null) return;
  const { minutes } = recipe;
  const engine = makeEngine(recipe.compute, run.log);
  const { curriculum, data } = probe(100);
  let budget: Budget;
  try {
    const config = modelConfig(run.recipe.model);
    budget = await measureBudget(engine, config, curriculum, data, recipe.optimizer, minutes);
  } finally {
    await data.close?.();
  }
  engine.memory.trim();
  run.log.line(
    `${part}: ${duration(budget.secondsPerStep)} a step here, so ${minutes} minutes are ${budget.steps} steps (kept in plan.json)`,
  );
  run.recipe = { ...run.recipe, [part]: { ...recipe, steps: budget.steps } };
  run.budgets[part] = { minutes, ...budget };
  run.save();
}
