import type { Log } from '../../base/progress.ts';
import type { DataRecipe } from '../../base/recipe.ts';

export async function buildDebian(_: {
  dir: string;
  from: string;
  seed: number;
  data: DataRecipe;
  log: Log;
}): Promise<Record<string, number>> {
  throw new Error('todo');
}
