// `belay plan RECIPE`: what a recipe costs before anything is run.
//
// Does not: compute or word it; plan-recipe.ts and plan-text.ts do.
import { buildCommand } from '@stricli/core';
import { loadRecipe, setInRecipe } from '../base/recipe.ts';
import { planRecipe } from './plan-recipe.ts';
import { planText } from './plan-text.ts';

interface Flags {
  readonly set?: readonly string[];
  readonly json: boolean;
}

export const command = buildCommand<Flags, [string]>({
  docs: {
    brief: 'What a recipe costs',
    fullDescription: `Prints parameters, FLOPs, memory, checkpoint size and time of a recipe, without running it, and a line for each
phase where it has some. FLOPs are counted as in appendix D of the Apertus report; hours and energy follow from the
throughputs that the recipe states; the rate of this machine is measured in a quarter of a second.

EXAMPLE
  belay plan apertus-70b
  belay plan apertus-8b --set hardware.devices=2048
  belay plan recipes/demo.ts --json`,
  },
  parameters: {
    flags: {
      set: {
        kind: 'parsed',
        parse: String,
        brief: 'change a value of the recipe: path=value; may be repeated',
        variadic: true,
        optional: true,
      },
      json: { kind: 'boolean', brief: 'one JSON object', default: false },
    },
    positional: {
      kind: 'tuple',
      parameters: [
        { parse: String, brief: 'a recipe: .ts, .js or .json, or the name of a shipped one', placeholder: 'RECIPE' },
      ],
    },
  },
  async func({ set = [], json }, path) {
    const recipe = await loadRecipe(path);
    const plan = planRecipe(set.length > 0 ? setInRecipe(recipe, set) : recipe);
    process.stdout.write(json ? `${JSON.stringify(plan)}\n` : planText(plan));
  },
});
