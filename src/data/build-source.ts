// The source stage: gets the raw documents of a recipe into a folder, so that everything after it has one input.
//
// `udhr` and `debian` become WARC files with plants; `warc` and `jsonl` stay where they are and are listed with their
// hashes, so that a changed file makes everything after it stale.
//
// Does not: filter anything.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import type { Json } from '../base/json.ts';
import type { Log } from '../base/progress.ts';
import { type Recipe, recipePart } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { buildUdhr } from './sources/udhr.ts';

export const sourceKind = 'source';
export const sourceListName = 'sources.json';

/** A file that is read where it is. */
export interface SourceFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface BuildSourceOptions {
  /** The folder to fill. */
  readonly dir: string;
  readonly recipe: Recipe;
  readonly log: Log;
}

/** Builds (or lists) the documents of a recipe: `part-*.warc.gz` and `planted.json`, or `sources.json`. */
export async function buildSource(options: BuildSourceOptions): Promise<StageResult> {
  const { dir, recipe, log } = options;
  const data = recipePart(recipe, 'data');
  const { source, plant, optOutAgents, personalData, heldOutSections } = data;
  const stage = {
    dir,
    kind: sourceKind,
    version: 1,
    inputs: {},
    onStart: (what: string) => log.line(what === 'skip' ? `source: ${dir} is up to date` : `source: ${source.kind}`),
  };
  if (source.kind === 'udhr') {
    // What is expected of the plants depends on the agents, the held-out sections and whether personal data is sought.
    const part = { seed: recipe.seed, source, plant, optOutAgents, personalData, heldOutSections };
    return runStage({
      ...stage,
      recipe: part as unknown as Json,
      run: (aside) => buildUdhr({ dir: aside, seed: recipe.seed, data, log }),
    });
  }
  if (plant !== null) {
    throw new UserError(`plants go into the source udhr only, not into ${source.kind}`, {
      next: 'set data.plant to null in the recipe',
    });
  }
  if (source.kind === 'debian') {
    const { buildDebian } = await import('./sources/debian.ts');
    const [folder] = source.paths;
    if (folder === undefined) {
      throw new UserError('the recipe names no folder for the source debian', {
        expected: 'data.source.paths: [folder]',
        next: 'fill one with: belay data get debian',
      });
    }
    const listed = listFiles([folder], /\.(?:html|page|xml)$/);
    const hash = hashes(listed);
    return runStage({
      ...stage,
      recipe: {
        seed: recipe.seed,
        source: { ...source, paths: [] },
        files: hash.map(({ sha256 }) => sha256),
      } as unknown as Json,
      run: (aside) => buildDebian({ dir: aside, from: folder, seed: recipe.seed, data, log }),
    });
  }
  const pattern = source.kind === 'warc' ? /\.warc(?:\.gz)?$/ : /\.jsonl(?:\.gz)?$/;
  const files = hashes(listFiles(source.paths, pattern));
  if (files.length === 0) {
    throw new UserError(`the recipe's source has no ${source.kind} files`, {
      found: source.paths.length === 0 ? 'no paths' : source.paths.join(', '),
      expected: `files or folders with files ending in .${source.kind} or .${source.kind}.gz`,
      next: 'set data.source.paths in the recipe',
    });
  }
  return runStage({
    ...stage,
    recipe: { source: { ...source, paths: [] }, files: files.map(({ sha256 }) => sha256) } as unknown as Json,
    run: async (aside) => {
      writeJsonAtomic(join(aside, sourceListName), files);
      return { files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
    },
  });
}

/** Files below the given files and folders, sorted within each. */
function listFiles(paths: readonly string[], pattern: RegExp): string[] {
  return paths.flatMap((path) => {
    if (!existsSync(path))
      throw new UserError(`the source ${path} does not exist`, { next: 'check data.source.paths in the recipe' });
    if (!statSync(path).isDirectory()) return [resolve(path)];
    return (readdirSync(path, { recursive: true }) as string[])
      .filter((name) => pattern.test(name) && statSync(join(path, name)).isFile())
      .sort()
      .map((name) => resolve(path, name));
  });
}

function hashes(paths: readonly string[]): SourceFile[] {
  return paths.map((path) => ({ path, ...hashFile(path) }));
}
