// The run folder: where the stages of a run lie, and which recipe it follows.
//
// `recipe.json` is the resolved recipe, with the numbers of steps that were chosen once; `plan.json` says from which
// recipe and from what measured rate. Running again with the same recipe goes on with the saved numbers, and so do the
// parts of a changed recipe that did not change.
//
// Does not: run stages; line.ts does.
import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { canonicalJson, readJson } from '../base/json.ts';
import type { Log } from '../base/progress.ts';
import { loadRecipe, parseRecipe, type Recipe, setInRecipe } from '../base/recipe.ts';

/** Folders of a run, by stage. */
export const stageFolders = {
  source: 'source',
  documents: 'documents',
  tokenizer: 'tokenizer',
  tokens: 'tokens',
  pretrain: 'pretrain',
  conversations: 'conversations',
  sft: 'sft',
  memorisation: 'memorisation',
  evaluation: 'evaluation',
  release: 'release',
} as const;
export type StageName = keyof typeof stageFolders;

const planSchema = z.object({
  /** The recipe as it was given, before steps were chosen. */
  given: z.json(),
  /** Where minutes became steps: the rate that was measured. */
  budgets: z.record(
    z.string(),
    z.object({ minutes: z.number(), steps: z.int(), secondsPerStep: z.number(), tokensPerSecond: z.number() }),
  ),
});
export type RunPlan = z.infer<typeof planSchema>;

export interface OpenRunOptions {
  /** The run folder. */
  readonly out: string;
  /** Recipe file; without it the one saved in the run folder is followed. */
  readonly recipe?: string | undefined;
  /** `path=value` assignments, made to the recipe before anything else. */
  readonly set?: readonly string[] | undefined;
  readonly log: Log;
  /** Go on from checkpoints of another dispatch target. */
  readonly allowOtherTarget?: boolean | undefined;
}

export class Run {
  readonly dir: string;
  readonly log: Log;
  readonly allowOtherTarget: boolean;
  recipe: Recipe;
  readonly plan: RunPlan;

  constructor(dir: string, recipe: Recipe, plan: RunPlan, options: OpenRunOptions) {
    this.dir = dir;
    this.recipe = recipe;
    this.plan = plan;
    this.log = options.log;
    this.allowOtherTarget = options.allowOtherTarget ?? false;
  }

  /** Folder of a stage. */
  folder(stage: StageName): string {
    return join(this.dir, stageFolders[stage]);
  }

  get eventsPath(): string {
    return join(this.dir, 'events.jsonl');
  }

  /** Saves the resolved recipe and the plan. */
  save(): void {
    writeJsonAtomic(join(this.dir, 'recipe.json'), this.recipe);
    writeJsonAtomic(join(this.dir, 'plan.json'), this.plan);
  }
}

/** Opens a run folder, new or old, with its recipe. */
export async function openRun(options: OpenRunOptions): Promise<Run> {
  const dir = resolve(options.out);
  const savedPath = join(dir, 'recipe.json');
  const planPath = join(dir, 'plan.json');
  const saved = existsSync(savedPath) && existsSync(planPath);
  if (!saved && options.recipe === undefined) {
    throw new UserError(`${dir} is not a run folder yet`, {
      found: existsSync(dir) ? 'a folder without recipe.json' : 'nothing',
      next: 'name a recipe, e.g. --recipe recipes/demo.ts',
    });
  }
  const plan = existsSync(planPath) ? planSchema.parse(readJson(planPath, 'plan')) : undefined;
  const before = plan && parseRecipe(plan.given, planPath);
  let given = options.recipe === undefined ? (before as Recipe) : await loadRecipe(options.recipe);
  if (options.set && options.set.length > 0) given = setInRecipe(given, options.set);
  if (saved && plan && before) {
    const resolved = parseRecipe(readJson(savedPath), savedPath);
    if (canonicalJson(given) === canonicalJson(before)) return new Run(dir, resolved, plan, options);
    options.log.line(`the recipe of ${dir} changed: stages that depend on the change run again`);
    const run = new Run(dir, given, { given: given as unknown as RunPlan['given'], budgets: {} }, options);
    keepBudgets(run, before, resolved, plan);
    run.save();
    return run;
  }
  mkdirSync(dir, { recursive: true });
  const run = new Run(dir, given, { given: given as unknown as RunPlan['given'], budgets: {} }, options);
  run.save();
  return run;
}

/** Steps chosen before stand where neither the model nor the part that names minutes changed. */
function keepBudgets(run: Run, before: Recipe, resolved: Recipe, plan: RunPlan): void {
  if (canonicalJson(run.recipe.model) !== canonicalJson(before.model)) return;
  for (const part of ['pretrain', 'sft'] as const) {
    const [now, then, chosen] = [run.recipe[part], before[part], resolved[part]];
    if (!now || !then || !chosen || canonicalJson(now) !== canonicalJson(then)) continue;
    run.recipe = { ...run.recipe, [part]: chosen };
    if (plan.budgets[part]) run.plan.budgets[part] = plan.budgets[part];
  }
}
