// What the steps toxicity and quality share: an embedder and heads that belong together, loaded once in a thread.
//
// Does not: judge; the steps do.
import { UserError } from '../../base/errors.ts';
import { embedderFiles, type Embedder, openEmbedder } from '../embedder/embedder.ts';
import { headFiles, type HeadKind, type Heads, loadHeads } from '../heads/head.ts';

export interface EmbeddingHeads {
  readonly embedder: Embedder;
  readonly heads: Heads;
}

/** The files that the settings of a step name. */
export function filesOfHeads({ embedder, heads }: { readonly embedder: string; readonly heads: string }): string[] {
  return [...embedderFiles(embedder), ...headFiles(heads)];
}

/** Loads both; a UserError where the heads were trained on another embedder. */
export async function openHeads(
  settings: { readonly embedder: string; readonly heads: string },
  kind: HeadKind,
): Promise<EmbeddingHeads> {
  const heads = loadHeads(settings.heads, kind);
  const embedder = await openEmbedder(settings.embedder);
  if (embedder.sha256 !== heads.embedder || embedder.width !== heads.width) {
    throw new UserError(`the heads in ${settings.heads} were trained on another embedder`, {
      found: `${settings.embedder}: ${embedder.width} numbers, ${embedder.sha256}`,
      expected: `${heads.width} numbers, ${heads.embedder}`,
      next: 'use that embedder, or train the heads again (belay data train-head)',
    });
  }
  return { embedder, heads };
}
