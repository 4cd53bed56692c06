// A stage: inputs and a part of the recipe go in, a folder with a manifest comes out.
//
// A folder whose manifest was made from the same recipe part and the same input ids is up to date and skipped. A
// stage that is killed leaves no manifest, so running again does it again; a resumable stage (training) keeps its
// folder and goes on from what it finds there.
//
// Does not: know what any stage does, or in which order they run; commands/ does.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { beginFolder, commitFolder, discardFolder, recoverFolder, writeJsonAtomic } from './atomic.ts';
import { UserError } from './errors.ts';
import { canonicalJson, type Json, readJson } from './json.ts';
import { hashJson } from './hashing.ts';
import { checkFiles, findManifest, type Manifest, manifestName, readManifest, writeManifest } from './manifest.ts';

export interface StageOptions {
  readonly dir: string;
  readonly kind: string;
  /** Raise it when the meaning or layout of the output changes: older folders become stale. */
  readonly version: number;
  readonly recipe: Json;
  /** Role -> folder of an earlier artefact. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Keep the folder between attempts and let `run` continue in it. */
  readonly resumable?: boolean;
  /** For a folder that a user names: refuse it where it holds anything but what this stage left there. */
  readonly keepsOthers?: boolean;
  /** Names below the folder that are not part of the artefact. */
  readonly exclude?: readonly string[];
  /** Names below the folder that may be there before the stage begins; they stay, and are no work that is put aside. */
  readonly early?: readonly string[];
  /** Called once when the stage is skipped or starts. */
  readonly onStart?: (what: 'skip' | 'run' | 'resume') => void;
  /** Fills `dir` and returns the facts for the manifest. */
  readonly run: (dir: string) => Promise<Readonly<Record<string, Json>>>;
}

export interface StageResult {
  readonly dir: string;
  readonly manifest: Manifest;
  readonly skipped: boolean;
}

/** Runs a stage unless its folder is up to date. */
export async function runStage(options: StageOptions): Promise<StageResult> {
  const { dir, kind, version, recipe, inputs } = options;
  const inputIds = Object.entries(inputs)
    .map(([name, path]) => ({ name, id: readManifest(path).id }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  recoverFolder(dir);
  const existing = findManifest(dir);
  if (existing && isUpToDate(existing, options, inputIds) && checkFiles(dir, existing, false).length === 0) {
    options.onStart?.('skip');
    return { dir, manifest: existing, skipped: true };
  }
  refuseTaken(options, existing, existing !== undefined && isUpToDate(existing, options, inputIds));

  const make = { kind, version, recipe, inputs, ...(options.exclude ? { exclude: options.exclude } : {}) };
  if (!options.resumable) {
    options.onStart?.('run');
    const aside = beginFolder(dir);
    try {
      const facts = await options.run(aside);
      writeManifest(aside, { ...make, facts }, dir);
      commitFolder(dir);
    } catch (error) {
      discardFolder(dir);
      throw error;
    }
    return { dir, manifest: readManifest(dir), skipped: false };
  }

  const key = hashJson({ kind, version, recipe, inputs: inputIds });
  const resuming = claimFolder(dir, key, options.early);
  options.onStart?.(resuming ? 'resume' : 'run');
  const facts = await options.run(dir);
  const manifest = writeManifest(dir, { ...make, exclude: [...(options.exclude ?? []), attemptName], facts });
  return { dir, manifest, skipped: false };
}

/** Refuses a path that something else has: a file, and with `keepsOthers` all that is not this stage's own work. */
function refuseTaken({ dir, kind, keepsOthers }: StageOptions, existing: Manifest | undefined, isOwn: boolean): void {
  const stats = existsSync(dir) ? statSync(dir) : undefined;
  if (!stats || (stats.isDirectory() && (!keepsOthers || isOwn || readdirSync(dir).length === 0))) return;
  const made =
    existing?.kind === kind ? `a ${kind} that was made of something else` : `a folder with ${existing?.kind}`;
  throw new UserError(`${dir} ${stats.isDirectory() ? 'holds something else' : 'is no folder'}`, {
    found: !stats.isDirectory() ? 'a file' : existing ? made : 'a folder that is no finished work of belay',
    expected: `a folder that does not exist yet, or the same ${kind}`,
    next: 'name another folder, or remove this first',
  });
}

const attemptName = 'stage.json';

/**
 * True when `dir` holds an attempt at the same work, unfinished or damaged since; anything else there is moved to
 * `<dir>.superseded-N`.
 */
function claimFolder(dir: string, key: string, early: readonly string[] = []): boolean {
  const path = join(dir, attemptName);
  if (existsSync(dir) && readdirSync(dir).some((name) => !early.includes(name))) {
    if (existsSync(path) && (readJson(path, 'stage record') as { key?: string }).key === key) {
      // From here on the folder is unfinished again, whatever it was.
      rmSync(join(dir, manifestName), { force: true });
      return true;
    }
    for (let n = 1; ; n++) {
      const aside = `${dir}.superseded-${n}`;
      if (existsSync(aside)) continue;
      renameSync(dir, aside);
      break;
    }
  }
  mkdirSync(dir, { recursive: true });
  writeJsonAtomic(path, { key });
  return false;
}

function isUpToDate(
  manifest: Manifest,
  stage: StageOptions,
  inputIds: readonly { readonly name: string; readonly id: string }[],
): boolean {
  return (
    manifest.kind === stage.kind &&
    manifest.version === stage.version &&
    canonicalJson(manifest.recipe) === canonicalJson(stage.recipe) &&
    canonicalJson(manifest.inputs.map(({ name, id }) => ({ name, id }))) === canonicalJson(inputIds)
  );
}
