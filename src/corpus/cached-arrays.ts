// A set of arrays in a cache folder: made once, found again by the name of its description, never trusted blindly.
//
// For a base name there are `<base>-<array>.npy`, `<base>-description.txt` (both as Megatron lays them out) and
// `<base>-belay.json`, which is ours: what the arrays were made from, and their sizes and SHA-256. A set is used when
// the description is the one expected, every array has the expected header and size, small sets have the expected
// hashes, and the source is still the one they were made from; else it is made anew. Everything is written under a
// name of its own and renamed, our file last, so any number of processes may make the same set at once: their bytes
// are equal.
//
// Does not: delete sets that nobody asks for any more.
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { syncFolder } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import { errorText } from '../base/json.ts';
import type { Description } from './megatron-description.ts';
import { NpyFile, npyBytes, type NpyType, NpyWriter } from './npy.ts';

export interface ArrayShape {
  readonly name: string;
  readonly type: NpyType;
  readonly shape: readonly number[];
}

export interface CachedArraysOptions {
  /** The cache folder; made when it is not there. */
  readonly dir: string;
  readonly description: Description;
  readonly arrays: readonly ArrayShape[];
  /** The file whose content decides what is in the arrays; null where the description alone does. */
  readonly source: string | null;
  /** Makes the arrays, each once and in the order given: `fill(name, push)` calls `push` for every number. */
  readonly build: (fill: (name: string, run: (push: (value: number) => void) => void) => void) => void;
}

/** Sets up to this size are hashed whenever they are opened: it takes less than a tenth of a second. */
const hashedBytes = 1 << 26;
/** Files aside that nobody wrote to for this long belong to a process that was killed. */
const abandonedMs = 3_600_000;

const notesSchema = z.object({
  /** `stamp` is what `stat` said when the file was hashed last: while it is the same, the file need not be read. */
  source: z.object({ bytes: z.int(), sha256: z.string(), stamp: z.string() }).nullable(),
  files: z.record(z.string(), z.object({ bytes: z.int(), sha256: z.string() })),
});
type Notes = z.infer<typeof notesSchema>;

/** The arrays in the order given, and whether they had to be made. Throws a UserError where the folder cannot be written. */
export function openCachedArrays(options: CachedArraysOptions): { readonly files: NpyFile[]; readonly built: boolean } {
  const found = tryOpen(options);
  if (found) return { files: found, built: false };
  try {
    build(options);
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) {
      throw new UserError(`cannot write the index cache in ${options.dir}`, {
        found: errorText(error),
        expected: 'a folder to write to, with room',
        cause: error,
      });
    }
    throw error;
  }
  return { files: openAll(options), built: true };
}

function openAll({ dir, description, arrays }: CachedArraysOptions): NpyFile[] {
  const files: NpyFile[] = [];
  try {
    for (const { name, type, shape } of arrays) {
      const file = new NpyFile(join(dir, `${description.base}-${name}.npy`));
      files.push(file);
      if (file.type !== type || String(file.shape) !== String(shape)) {
        throw new Error(`${file.path} holds ${file.type} [${file.shape}], not ${type} [${shape}]`);
      }
    }
    return files;
  } catch (error) {
    for (const file of files) file.close();
    throw error;
  }
}

/** The arrays, where they are there, whole and made from the present source. */
function tryOpen(options: CachedArraysOptions): NpyFile[] | undefined {
  const { dir, description, arrays, source } = options;
  const path = (name: string): string => join(dir, `${description.base}-${name}`);
  let files: NpyFile[] | undefined;
  try {
    if (readFileSync(path('description.txt'), 'utf8') !== description.text) return undefined;
    const notes = notesSchema.parse(JSON.parse(readFileSync(path('belay.json'), 'utf8')));
    files = openAll(options);
    const total = arrays.reduce((sum, { type, shape }) => sum + npyBytes(type, shape), 0);
    const whole = arrays.every(({ name, type, shape }) => {
      const noted = notes.files[`${name}.npy`];
      if (noted?.bytes !== npyBytes(type, shape)) return false;
      return total > hashedBytes || hashFile(path(`${name}.npy`)).sha256 === noted.sha256;
    });
    if (whole && sourceIsSame(source, notes, path('belay.json'))) return files;
  } catch {
    // Whatever cannot be read is made anew.
  }
  for (const file of files ?? []) file.close();
  return undefined;
}

function sourceIsSame(source: string | null, notes: Notes, notesPath: string): boolean {
  if (source === null) return notes.source === null;
  const stamp = stampOf(source);
  if (notes.source?.stamp === stamp) return true;
  const now = hashFile(source);
  if (now.sha256 !== notes.source?.sha256) return false;
  try {
    writeAside(notesPath, `${JSON.stringify({ ...notes, source: { ...now, stamp } })}\n`);
  } catch {
    // The folder may be read-only by now; the file is then hashed each time.
  }
  return true;
}

function build({ dir, description, arrays, source, build: run }: CachedArraysOptions): void {
  mkdirSync(dir, { recursive: true });
  removeAbandoned(dir, description.base);
  const path = (name: string): string => join(dir, `${description.base}-${name}`);
  const files: Notes['files'] = {};
  // Before the source is read for the arrays: if it is replaced meanwhile, the stamp will not fit.
  const from = source === null ? null : { stamp: stampOf(source), ...hashFile(source) };
  run((name, fill) => {
    const array = arrays.find((one) => one.name === name);
    if (!array) throw new Error(`openCachedArrays: no array ${name}`);
    const aside = asideOf(path(`${name}.npy`));
    const writer = new NpyWriter(aside, array.type, array.shape);
    try {
      fill((value) => writer.push(value));
      files[`${name}.npy`] = writer.close();
      renameSync(aside, path(`${name}.npy`));
    } catch (error) {
      writer.abort();
      rmSync(aside, { force: true });
      throw error;
    }
  });
  writeAside(path('description.txt'), description.text);
  writeAside(path('belay.json'), `${JSON.stringify({ source: from, files } satisfies Notes)}\n`);
  syncFolder(dir);
}

/** A path beside `path` that no other writer uses. */
function asideOf(path: string): string {
  return `${path}.${process.pid}-${randomBytes(4).toString('hex')}.partial`;
}

function writeAside(path: string, text: string): void {
  const aside = asideOf(path);
  try {
    writeFileSync(aside, text, { flush: true });
    renameSync(aside, path);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
}

function removeAbandoned(dir: string, base: string): void {
  for (const name of readdirSync(dir)) {
    if (!name.startsWith(base) || !name.endsWith('.partial')) continue;
    const stats = statSync(join(dir, name), { throwIfNoEntry: false });
    if (stats && Date.now() - stats.mtimeMs > abandonedMs) rmSync(join(dir, name), { force: true });
  }
}

function stampOf(path: string): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join('-');
}
