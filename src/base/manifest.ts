// The manifest: what an artefact folder holds, from what it was made and by which part of the recipe.
//
// `manifest.json` is the last file written, so a folder with one is whole. Its `id` is a hash over kind, recipe
// part, files and the ids of the inputs, and over nothing that changes from run to run: two runs of the same recipe
// give the same ids. Ids of inputs make the family tree; any artefact can be followed down to its documents.
//
// Does not: decide whether a stage must run; stage.ts does.
import { existsSync, lstatSync, readdirSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join, relative, resolve, sep, win32 } from 'node:path';
import { z } from 'zod';
import { schemaProblems } from './schema.ts';
import { writeJsonAtomic } from './atomic.ts';
import { UserError } from './errors.ts';
import { hashFile, hashJson } from './hashing.ts';
import type { Json } from './json.ts';
import { readJson } from './json.ts';
import { version } from './version.ts';

export const manifestName = 'manifest.json';

/** Whether a path of a manifest stays inside its folder; manifests come from other people too. */
function isInside(path: string): boolean {
  return !isAbsolute(path) && !win32.isAbsolute(path) && !path.split(/[\\/]/).includes('..');
}

const fileSchema = z.object({
  path: z.string().refine(isInside, 'points outside of the folder'),
  bytes: z.number(),
  sha256: z.string(),
});
const inputSchema = z.object({
  /** The role of the input, e.g. `tokenizer`. */
  name: z.string(),
  /** Folder of the input, relative to this folder. */
  path: z.string(),
  /** The `id` of the input's manifest. */
  id: z.string(),
});
const manifestSchema = z.object({
  format: z.literal('belay-manifest-1'),
  id: z.string(),
  kind: z.string(),
  /** Version of the folder's layout; a newer one makes older folders stale. */
  version: z.number(),
  belay: z.string(),
  recipe: z.json(),
  inputs: z.array(inputSchema),
  files: z.array(fileSchema),
  /** Numbers a reader wants without opening the files; the same in every run of the recipe. */
  facts: z.record(z.string(), z.json()),
});

export type Manifest = z.infer<typeof manifestSchema>;

/** Role of the artefact that weights or a tokenizer were taken from, in another run mostly. */
export const baseRole = 'base';
/** Before the names of files that were taken from no artefact, in the recipe of what was made with them; their hashes follow. */
export const outsidePrefix = 'from:';

export interface NewManifest {
  readonly kind: string;
  readonly version: number;
  readonly recipe: Json;
  /** Role -> folder of an artefact with a manifest. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly facts: Readonly<Record<string, Json>>;
  /** Folder names and file names below `dir` that are not part of the artefact (logs, checkpoints). */
  readonly exclude?: readonly string[];
}

/** Hashes the files of `dir` and writes its manifest. `finalDir` is where the folder will end up, for relative paths. */
export function writeManifest(dir: string, manifest: NewManifest, finalDir = dir): Manifest {
  const files = listFiles(dir, manifest.exclude ?? []).map((path) => ({
    path: path.split(sep).join('/'),
    ...hashFile(join(dir, path)),
  }));
  const inputs = Object.entries(manifest.inputs)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, path]) => ({
      name,
      path: relative(resolve(finalDir), resolve(path)).split(sep).join('/') || '.',
      id: readManifest(path).id,
    }));
  const { kind, version: layout, recipe } = manifest;
  const id = hashJson({ kind, version: layout, recipe, inputs: inputs.map(({ name, id }) => ({ name, id })), files });
  const value: Manifest = {
    format: 'belay-manifest-1',
    id,
    kind,
    version: layout,
    belay: version,
    recipe: recipe as Manifest['recipe'],
    inputs,
    files,
    facts: manifest.facts as Manifest['facts'],
  };
  writeJsonAtomic(join(dir, manifestName), value);
  return value;
}

/** The manifest of a folder; a UserError where there is none or it is damaged. */
export function readManifest(dir: string): Manifest {
  const path = join(dir, manifestName);
  if (!existsSync(path)) {
    throw new UserError(`${dir} holds no finished artefact`, {
      found: existsSync(dir) ? 'a folder without manifest.json (the stage that writes it did not finish)' : 'nothing',
      expected: `${path}, which a stage writes last`,
      next: 'run the stage again: it goes on where it stopped',
    });
  }
  const parsed = manifestSchema.safeParse(readJson(path, 'manifest'));
  if (!parsed.success) {
    throw new UserError(`the manifest ${path} is damaged`, {
      found: schemaProblems(parsed.error),
      next: `remove ${dir} and run the stage again`,
    });
  }
  return parsed.data;
}

/** A value read from elsewhere as a manifest; undefined where it is none. */
export function asManifest(value: unknown): Manifest | undefined {
  const parsed = manifestSchema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}

/** The manifest of a folder if there is a whole one, else undefined. */
export function findManifest(dir: string): Manifest | undefined {
  try {
    return readManifest(dir);
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

/** Files whose size (and, when `deep`, hash) differs from the manifest, with what was found. */
export function checkFiles(dir: string, manifest: Manifest, deep: boolean): readonly string[] {
  const problems: string[] = [];
  for (const file of manifest.files) {
    const path = join(dir, file.path);
    const stats = statSync(path, { throwIfNoEntry: false });
    if (!stats) problems.push(`${path}: missing`);
    else if (stats.size !== file.bytes) problems.push(`${path}: ${stats.size} bytes, the manifest says ${file.bytes}`);
    else if (deep && hashFile(path).sha256 !== file.sha256) problems.push(`${path}: content differs from the manifest`);
  }
  return problems;
}

export interface FamilyNode {
  readonly name: string;
  readonly dir: string;
  /** The manifest found at `dir`, or undefined where the input is gone. */
  readonly manifest: Manifest | undefined;
  /** What the parent's manifest recorded, to tell a replaced input from the one that was used. */
  readonly recordedId: string;
  readonly inputs: readonly FamilyNode[];
}

/**
 * The family tree of an artefact folder. An input reached twice is expanded both times (trees here are small), but an
 * artefact that is its own ancestor, as no run makes one, is refused.
 */
export function familyTree(dir: string): FamilyNode {
  const manifest = readManifest(dir);
  const visit = (name: string, at: string, recordedId: string, below: readonly string[]): FamilyNode => {
    const found = findManifest(at);
    const path = descend(below, found?.id ?? recordedId, at);
    const inputs = (found?.inputs ?? []).map((input) => visit(input.name, resolve(at, input.path), input.id, path));
    return { name, dir: at, manifest: found, recordedId, inputs };
  };
  return visit('', resolve(dir), manifest.id, []);
}

/** The ids from the asked artefact down to `id`; a UserError where `id` is on the way already. */
export function descend(below: readonly string[], id: string, dir: string): readonly string[] {
  if (below.includes(id)) {
    throw new UserError(`the manifest in ${dir} names an artefact as its own ancestor`, {
      found: `the id ${id} twice on one way down`,
      expected: 'inputs that were there before what was made from them',
    });
  }
  return [...below, id];
}

/** The nearest folder at or above `path` that has a manifest. */
export function enclosingArtefact(path: string): string | undefined {
  let dir = resolve(path);
  if (!lstatSync(dir, { throwIfNoEntry: false })?.isDirectory()) dir = dirname(dir);
  for (;;) {
    if (existsSync(join(dir, manifestName))) return dir;
    const parent = dirname(dir);
    if (parent === dir) return undefined;
    dir = parent;
  }
}

/** What killed or superseded attempts leave beside an artefact, and where its tasks are done. */
const leftover = /\.(partial|replaced|superseded-\d+|work)$/;

/** Relative paths of the regular files below `dir`, sorted, without the manifest and the excluded names. */
function listFiles(dir: string, exclude: readonly string[], below = ''): string[] {
  const paths: string[] = [];
  for (const entry of readdirSync(join(dir, below), { withFileTypes: true })) {
    const path = join(below, entry.name);
    if (exclude.includes(entry.name) || path === manifestName || leftover.test(entry.name)) continue;
    if (entry.isDirectory()) paths.push(...listFiles(dir, exclude, path));
    else if (entry.isFile()) paths.push(path);
  }
  return paths.sort();
}
