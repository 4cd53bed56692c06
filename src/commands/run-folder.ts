// The run folder: where the stages of a run lie, and which recipe it follows.
//
// `plan.json` holds the recipe as it was given, the one that is followed (with the numbers of steps that were chosen
// once) and the measured rates; `recipe.json` is a copy of the one that is followed. Running again with the same recipe
// goes on with the saved numbers, and so do the parts of a changed recipe that did not change.
//
// Does not: run stages; line.ts does.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { makeFolder, writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { canonicalJson, errorText, readJson } from '../base/json.ts';
import { type LockHolder, takeLock } from '../base/lock.ts';
import { duration, type Log } from '../base/progress.ts';
import type { CleanOptions } from '../data/clean.ts';
import { type Group, soloGroup } from '../parallel/group.ts';
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
  /** The recipe that is followed; `recipe.json` is a copy of it for people and other verbs. */
  resolved: z.json(),
  /** Where minutes became steps: the rate that was measured. */
  budgets: z.record(
    z.string(),
    z.object({ minutes: z.number(), steps: z.int(), secondsPerStep: z.number(), tokensPerSecond: z.number() }),
  ),
});
type PlanFile = z.infer<typeof planSchema>;

/** File of a run folder that says what is followed and why; a folder without one is not a run folder yet. */
export const planName = 'plan.json';

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
  /** Who trains; default: this process alone. */
  readonly ranks?: TrainingRanks;
  /** How documents are cleaned. */
  readonly cleaning?: CleaningOptions;
}

export type CleaningOptions = Pick<CleanOptions, 'workers' | 'keepRemoved' | 'keepIntermediate'>;

/** The processes that train a run together, as the first of them sees them. */
export interface TrainingRanks {
  /** The group of all of them, ready to train the run. */
  begin(run: Run): Promise<Group>;
  /** Training is over on this rank. */
  trained(): void;
}

const alone: TrainingRanks = { begin: async () => soloGroup(), trained: () => {} };

export class Run {
  readonly dir: string;
  readonly log: Log;
  readonly allowOtherTarget: boolean;
  readonly ranks: TrainingRanks;
  readonly cleaning: CleaningOptions;
  /** What is followed. */
  recipe: Recipe;
  readonly budgets: PlanFile['budgets'];
  private readonly given: Recipe;

  constructor(dir: string, given: Recipe, resolved: Recipe, budgets: PlanFile['budgets'], options: OpenRunOptions) {
    this.dir = dir;
    this.given = given;
    this.recipe = resolved;
    this.budgets = { ...budgets };
    this.log = options.log;
    this.allowOtherTarget = options.allowOtherTarget ?? false;
    this.ranks = options.ranks ?? alone;
    this.cleaning = options.cleaning ?? {};
  }

  /** Folder of a stage. */
  folder(stage: StageName): string {
    return join(this.dir, stageFolders[stage]);
  }

  get eventsPath(): string {
    return join(this.dir, 'events.jsonl');
  }

  /** Saves the plan (one file, so that a kill leaves the old or the new) and the copy of the recipe beside it. */
  save(): void {
    writeJsonAtomic(join(this.dir, planName), { given: this.given, resolved: this.recipe, budgets: this.budgets });
    writeJsonAtomic(join(this.dir, 'recipe.json'), this.recipe);
  }
}

/** Opens a run folder, new or old, with its recipe; waits where another process works in it. */
export async function openRun(options: OpenRunOptions): Promise<Run> {
  const dir = resolve(options.out);
  const planPath = join(dir, planName);
  if (!existsSync(planPath) && options.recipe === undefined) {
    throw new UserError(`${dir} is not a run folder yet`, {
      found: existsSync(dir) ? `a folder without ${planName}` : 'nothing',
      next: 'name a recipe, e.g. --recipe recipes/demo.ts',
    });
  }
  makeFolder(dir);
  await takeLock(join(dir, lockName), {
    onWait: ({ pid, host }) => {
      options.log.line(`${dir}: process ${pid} on ${host} works here; waiting for it to end`);
    },
    onSilent: ({ pid, host }, seconds) => {
      options.log.line(`${dir}: process ${pid} on ${host} gave no sign of life for ${duration(seconds)}; taking over`);
    },
    onLost: (other) => giveUp(dir, other),
    onUntouched: (error) => {
      options.log.line(`${dir}: a start on another host may take over after a minute: ${errorText(error)}`);
    },
  });
  const plan = existsSync(planPath) ? planSchema.parse(readJson(planPath, 'plan')) : undefined;
  const before = plan && parseRecipe(plan.given, planPath);
  let given = options.recipe === undefined ? (before as Recipe) : await loadRecipe(options.recipe);
  if (options.set && options.set.length > 0) given = setInRecipe(given, options.set);
  if (!plan || !before) {
    const run = new Run(dir, given, given, {}, options);
    run.save();
    return run;
  }
  const resolved = parseRecipe(plan.resolved, planPath);
  if (canonicalJson(given) === canonicalJson(before)) return new Run(dir, given, resolved, plan.budgets, options);
  options.log.line(`the recipe of ${dir} changed: stages that depend on the change run again`);
  const run = new Run(dir, given, given, {}, options);
  keepBudgets(run, before, resolved, plan.budgets);
  run.save();
  return run;
}

/** Ends this process, whose run another one took over while it stood still. */
function giveUp(dir: string, { pid, host }: LockHolder): never {
  const error = new UserError(`process ${pid} on ${host} has taken over ${dir}`, {
    found: 'this process gave no sign of life for a while: it was stopped, or did not reach the file system',
    next: 'let the other one go on; this one has ended and changes nothing any more',
  });
  process.stderr.write(`belay: ${error.message}\n`);
  process.exit(error.exitCode);
}

/** The run as its plan says, for a rank that trains it with the first: it opens and saves nothing. */
export function loadRun(out: string, options: Pick<OpenRunOptions, 'log' | 'allowOtherTarget'>): Run {
  const dir = resolve(out);
  const planPath = join(dir, planName);
  const plan = planSchema.parse(readJson(planPath, 'plan'));
  const given = parseRecipe(plan.given, planPath);
  return new Run(dir, given, parseRecipe(plan.resolved, planPath), plan.budgets, { out, ...options });
}

/** Name of the lock in a run folder. */
export const lockName = 'run.lock';
/** Held while a campaign is submitted from the folder. */
export const submitLockName = 'submit.lock';

/** Steps chosen before stand where neither the model nor the part that names minutes changed. */
function keepBudgets(run: Run, before: Recipe, resolved: Recipe, budgets: PlanFile['budgets']): void {
  for (const part of ['pretrain', 'sft'] as const) {
    const [now, then, chosen] = [run.recipe[part], before[part], resolved[part]];
    if (!now || !then || !chosen || canonicalJson(now) !== canonicalJson(then)) continue;
    // Asked for here: a recipe for a corpus alone has none.
    if (canonicalJson(run.recipe.model) !== canonicalJson(before.model)) return;
    run.recipe = { ...run.recipe, [part]: chosen };
    if (budgets[part]) run.budgets[part] = budgets[part];
  }
}
