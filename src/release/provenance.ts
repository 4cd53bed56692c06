// The manifests of everything a model was made from, copied into its release with the tree that joins them.
//
// `provenance/<kind>-<id>.json` are manifests, byte for byte as their stages wrote them; `index.json` is the tree. So a
// release that was moved elsewhere can still say what it comes from.
//
// Does not: copy documents; the tree names them by hash.
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { type FamilyNode, familyTree, type Manifest, manifestName } from '../base/manifest.ts';

export interface ProvenanceNode {
  /** Role of the artefact for the one above it. */
  readonly name: string;
  readonly kind: string;
  readonly id: string;
  /** Its manifest, in the folder `provenance`. */
  readonly file: string;
  readonly inputs: readonly ProvenanceNode[];
}

export interface Provenance {
  readonly tree: readonly ProvenanceNode[];
  /** Each artefact once, in the order of the tree, with the role it is first met in. */
  readonly artefacts: readonly { readonly name: string; readonly kind: string; readonly manifest: Manifest }[];
}

/** Copies the manifests below the inputs into `into`/provenance and writes the tree. */
export function writeProvenance(into: string, inputs: Readonly<Record<string, string>>): Provenance {
  const folder = join(into, 'provenance');
  mkdirSync(folder, { recursive: true });
  const artefacts = new Map<string, Provenance['artefacts'][number]>();
  const visit = (name: string, { dir, manifest, recordedId, inputs: below }: FamilyNode): ProvenanceNode => {
    if (!manifest || manifest.id !== recordedId) {
      throw new UserError(`the origin of the release is not whole: ${dir}`, {
        found: manifest ? `an artefact ${manifest.id.slice(0, 12)}` : 'no finished artefact',
        expected: `${recordedId.slice(0, 12)}, from which "${name}" was made`,
        next: 'run the stages again, in order',
      });
    }
    const { kind, id } = manifest;
    const file = `${kind}-${id.slice(0, 12)}.json`;
    if (!artefacts.has(id)) {
      copyFileSync(join(dir, manifestName), join(folder, file));
      artefacts.set(id, { name, kind, manifest });
    }
    return { name, kind, id, file, inputs: below.map((node) => visit(node.name, node)) };
  };
  const tree = Object.entries(inputs).map(([name, dir]) => visit(name, familyTree(dir)));
  writeJsonAtomic(join(folder, 'index.json'), { format: 'belay-provenance-1', inputs: tree });
  return { tree, artefacts: [...artefacts.values()] };
}
