// The steps there are, by name: what a recipe, `belay data step` and a task of the pipeline choose from.
//
// Does not: hold the code of a step; each is a file in steps/.
import { schemaProblems } from '../base/schema.ts';
import { closest, UserError } from '../base/errors.ts';
import type { StepContext, StepDefinition, StepOf } from './step.ts';
import { definition as blockList } from './steps/block-list.ts';
import { definition as book } from './steps/book.ts';
import { definition as c4 } from './steps/c4.ts';
import { definition as classify } from './steps/classify.ts';
import { definition as code } from './steps/code.ts';
import { definition as decontaminate } from './steps/decontaminate.ts';
import { definition as exactDedup } from './steps/exact-dedup.ts';
import { definition as fineweb } from './steps/fineweb.ts';
import { definition as gopherQuality } from './steps/gopher-quality.ts';
import { definition as gopherRepetition } from './steps/gopher-repetition.ts';
import { definition as language } from './steps/language.ts';
import { definition as length } from './steps/length.ts';
import { definition as licence } from './steps/licence.ts';
import { definition as math } from './steps/math.ts';
import { definition as minhashDedup } from './steps/minhash-dedup.ts';
import { definition as optOut } from './steps/opt-out.ts';
import { definition as parallel } from './steps/parallel.ts';
import { definition as pii } from './steps/pii.ts';
import { definition as quality } from './steps/quality.ts';
import { definition as sample } from './steps/sample.ts';
import { definition as substringDedup } from './steps/substring-dedup.ts';
import { definition as topShare } from './steps/top-share.ts';
import { definition as toxicity } from './steps/toxicity.ts';
import { definition as unicode } from './steps/unicode.ts';

/** By name. */
export const stepDefinitions: readonly StepDefinition[] = [
  blockList,
  book,
  c4,
  classify,
  code,
  decontaminate,
  exactDedup,
  fineweb,
  gopherQuality,
  gopherRepetition,
  language,
  length,
  licence,
  math,
  minhashDedup,
  optOut,
  parallel,
  pii,
  quality,
  sample,
  substringDedup,
  topShare,
  toxicity,
  unicode,
];

/** The definition of a step. */
export function stepDefinition(name: string): StepDefinition {
  const found = stepDefinitions.find((definition) => definition.name === name);
  if (found) return found;
  const names = stepDefinitions.map((definition) => definition.name);
  const near = closest(name, names);
  throw new UserError(`there is no step "${name}"${near ? `; did you mean "${near}"?` : ''}`, {
    expected: names.join(', '),
  });
}

/** The settings of a step with their defaults. */
export function stepSettings(name: string, settings: unknown): unknown {
  const parsed = stepDefinition(name).settings.safeParse(settings);
  if (parsed.success) return parsed.data;
  throw new UserError(`the settings of the step ${name} are not right`, {
    found: schemaProblems(parsed.error, stepDefinition(name).settings),
    next: `docs/steps.md lists them`,
  });
}

/** Makes a step from its name and settings. */
export async function makeStep(name: string, settings: unknown, context: StepContext): Promise<StepOf> {
  return await stepDefinition(name).make(stepSettings(name, settings), context);
}

/** The settings, with defaults, of a step of a list; undefined where the list lacks it. */
export function settingsIn<T>(steps: readonly { readonly step: string }[], name: string): T | undefined {
  const found = steps.find(({ step }) => step === name);
  if (!found) return undefined;
  const { step: _, ...given } = found;
  return stepSettings(name, given) as T;
}
