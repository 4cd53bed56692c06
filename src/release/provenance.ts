// The manifests of everything a model was made from, copied into its release with the tree that joins them.
//
// `provenance/<kind>-<id>.json` are manifests, byte for byte as their stages wrote them; `index.json` is the tree. So a
// release that was moved elsewhere can still say what it comes from.
//
// An artefact that came from elsewhere (`pretrain.from`, `tokenizer.from`) is here without those it was made of; a release
// brings their manifests along, and they go on into the next one.
//
// Does not: copy documents; the tree names them by hash.
import { copyFileSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { asManifest, descend, findManifest, type Manifest, manifestName, readManifest } from '../base/manifest.ts';

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

/** A manifest, and the file it was read from. */
export interface KnownManifest {
  readonly manifest: Manifest;
  readonly path: string;
}

/** Folder of an artefact that holds the manifests of all its ancestors, in files of any name ending in .json. */
export const provenanceName = 'provenance';

/** Manifests of ancestors that travel with an artefact, by id. Files that are no manifest are passed over. */
export function readProvenance(dir: string): ReadonlyMap<string, KnownManifest> {
  const folder = join(dir, provenanceName);
  const known = new Map<string, KnownManifest>();
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return known;
  for (const name of readdirSync(folder).sort()) {
    if (!name.endsWith('.json')) continue;
    const path = join(folder, name);
    const manifest = asManifest(readJson(path, 'manifest'));
    if (manifest) known.set(manifest.id, { manifest, path });
  }
  return known;
}

/** The tree of an artefact and its ancestors, each told to `on` before its own; a UserError where one is not known. */
function walk(
  { name, dir, id }: { readonly name: string; readonly dir: string; readonly id: string },
  on: (found: KnownManifest, node: Omit<ProvenanceNode, 'inputs'>) => void,
  known: ReadonlyMap<string, KnownManifest> = new Map(),
  below: readonly string[] = [],
): ProvenanceNode {
  const here = findManifest(dir);
  const isHere = here?.id === id;
  const found = isHere ? { manifest: here, path: join(dir, manifestName) } : known.get(id);
  if (!found) {
    throw new UserError(`the origin of the release is not whole: ${dir}`, {
      found: here ? `an artefact ${here.id.slice(0, 12)}` : 'no finished artefact',
      expected: `${id.slice(0, 12)}, from which "${name}" was made`,
      next:
        'run the stages again, in order. What came from elsewhere needs the artefacts it was made of beside it, or no ' +
        'manifest.json: then its files are known by their hashes alone',
    });
  }
  const path = descend(below, id, dir);
  const carried = isHere ? new Map([...known, ...readProvenance(dir)]) : known;
  const { kind, inputs } = found.manifest;
  const node = { name, kind, id, file: `${kind}-${id.slice(0, 12)}.json` };
  on(found, node);
  const visit = (input: Manifest['inputs'][number]): ProvenanceNode =>
    walk({ name: input.name, dir: resolve(dir, input.path), id: input.id }, on, carried, path);
  return { ...node, inputs: inputs.map(visit) };
}

/** Refuses an artefact in `dir` of whose ancestors one is not known: no release could say what it was made of. */
export function requireOrigin(name: string, dir: string): void {
  walk({ name, dir, id: readManifest(dir).id }, () => {});
}

/** Copies the manifests below the inputs into `into`/provenance and writes the tree. */
export function writeProvenance(into: string, inputs: Readonly<Record<string, string>>): Provenance {
  const folder = join(into, provenanceName);
  mkdirSync(folder, { recursive: true });
  const artefacts = new Map<string, Provenance['artefacts'][number]>();
  const tree = Object.entries(inputs).map(([name, dir]) =>
    walk({ name, dir, id: readManifest(dir).id }, ({ manifest, path }, node) => {
      if (artefacts.has(node.id)) return;
      copyFileSync(path, join(folder, node.file));
      artefacts.set(node.id, { name: node.name, kind: node.kind, manifest });
    }),
  );
  writeJsonAtomic(join(folder, 'index.json'), { format: 'belay-provenance-1', inputs: tree });
  return { tree, artefacts: [...artefacts.values()] };
}
