// Which files a source consists of, and the reader of each by its name.
//
// Folders are listed in the order of their names, compared by UTF-16 units: the same on every system.
//
// Does not: read.
import { existsSync, readdirSync, realpathSync, type Stats, statSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { UserError } from '../../base/errors.ts';
import { compressedNames } from '../../base/pieces.ts';
import {
  type ReadLimits,
  type RobotsRecord,
  readJsonlDocuments,
  readWarcDocuments,
  type SourceItem,
} from './documents.ts';
import { readParquetDocuments } from './parquet-documents.ts';
import { readTextDocument } from './text-documents.ts';

/** Kinds of files that are read where they are, with the names of such files. */
export const fileNames = {
  warc: new RegExp(`\\.(?:warc|wet)${compressedNames}$`),
  jsonl: new RegExp(`\\.jsonl${compressedNames}$`),
  parquet: /\.parquet$/,
  text: new RegExp(`\\.(?:txt|md)${compressedNames}$`),
} as const;
export type FileKind = keyof typeof fileNames;

export interface ListedFile {
  /** Absolute. */
  readonly path: string;
  /** Below the folder it was found in, with `/`; of a file that was named itself, its own name. */
  readonly name: string;
}

/** Files among the given files and below the given folders, sorted within each folder. */
export function listFiles(paths: readonly string[], names: RegExp): ListedFile[] {
  return paths.flatMap((path) => {
    if (!existsSync(path))
      throw new UserError(`the source ${path} does not exist`, { next: 'check data.source.paths in the recipe' });
    if (!statSync(path).isDirectory()) return [{ path: resolve(path), name: path.split(sep).at(-1) as string }];
    return filesBelow(path, '', [realpathSync(path)])
      .filter((name) => names.test(name))
      .map((name) => ({ path: resolve(path, name), name }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  });
}

/** Names of the files below `dir`, behind links too; a link to a folder around it leads nowhere new. */
function filesBelow(dir: string, below: string, around: readonly string[]): string[] {
  return readdirSync(join(dir, below)).flatMap((entry) => {
    const name = below === '' ? entry : `${below}/${entry}`;
    const found = foundAt(join(dir, name));
    if (!found?.isDirectory()) return found?.isFile() ? [name] : [];
    const real = realpathSync(join(dir, name));
    return around.includes(real) ? [] : filesBelow(dir, name, [...around, real]);
  });
}

/** Undefined for a link that leads nowhere, or around in a circle. */
function foundAt(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch (error) {
    if (['ENOENT', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/**
 * The documents of a file, and what of it had to be rejected. `source` is the collection where the file names none; robots.txt
 * files of a crawl go to `onRobots`.
 */
export function readDocuments(
  file: ListedFile,
  source: string,
  limits?: ReadLimits,
  onRobots?: (robots: RobotsRecord) => void | Promise<void>,
): AsyncGenerator<SourceItem> {
  const { path, name } = file;
  if (fileNames.jsonl.test(path)) return readJsonlDocuments(path, source, limits);
  if (fileNames.parquet.test(path)) return readParquetDocuments(path, source, limits);
  if (fileNames.text.test(path)) return readTextDocument(path, source, limits, name);
  if (fileNames.warc.test(path)) return readWarcDocuments(path, source, limits, onRobots);
  throw new UserError(`no reader for ${path}`, {
    expected: 'a name that ends in .warc, .wet, .jsonl, .txt or .md (also with .gz or .zst), or in .parquet',
  });
}
