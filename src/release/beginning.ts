// What the weights of a released model began with, where that was another model: its documents are nobody's to forget.
//
// Source: template of the European Commission for the summary of training content (24 July 2025), section 1.2, which asks
// for the models that a model was made from; their content is told by their own summaries.
//
// Does not: count what that model was trained on.
import { resolve } from 'node:path';
import { baseRole, findManifest, outsidePrefix, readManifest } from '../base/manifest.ts';

/** How many characters of a hash tell it from all others for people. */
const shown = 12;

/** The model whose weights the pretraining in `dir` began with, in words for a card; undefined where they were random. */
export function beginningOf(dir: string): string | undefined {
  const { inputs, recipe } = readManifest(dir);
  const base = inputs.find(({ name }) => name === baseRole);
  if (base) {
    const found = findManifest(resolve(dir, base.path));
    // Another artefact may be in its folder by now.
    const facts = found?.id === base.id ? found.facts : {};
    const name = typeof facts['modelName'] === 'string' ? facts['modelName'] : 'a model trained with belay';
    return `${name} (artefact ${base.id.slice(0, shown)})`;
  }
  const hashes = Object.entries(recipe as Readonly<Record<string, unknown>>).filter(([key]) =>
    key.startsWith(outsidePrefix),
  );
  if (hashes.length === 0) return undefined;
  const files = hashes.map(([key, hash]) => `${key.slice(outsidePrefix.length)} ${String(hash).slice(0, shown)}`);
  return `weights from outside (SHA-256 of ${files.join(', ')})`;
}
