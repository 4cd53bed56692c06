// Apertus 8B from a context of 4,096 to 65,536 in four phases (Apertus report sections 2.5 and 3.4).
//
// It goes on from the weights that recipes/apertus-8b.ts ends with: `belay plan recipes/apertus-8b-long-context.ts`.
import { defineRecipe } from '../src/base/recipe.ts';
import { longContextRecipe } from './apertus/long-context.ts';

export default defineRecipe(longContextRecipe('8b'));
