// Finds the newest whole checkpoint and loads it into this rank's parameters and its range of the optimizer.
//
// Each file's SHA-256 is checked first. A damaged checkpoint is named and the one before it used. Moments were written
// in ranges, one file per rank; a reader takes from each file what overlaps its own range, so any number of ranks loads
// what any other number saved.
//
// Does not: decide whether a checkpoint fits the run (target, precision); loop.ts does.
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import { errorText, readJson } from '../base/json.ts';
import type { ParameterSet } from '../tensor/parameters.ts';
import { SafetensorsFile } from '../tensor/safetensors.ts';
import type { Attempt } from './attempt.ts';
import { repairLatest, setDamagedAside } from './checkpoint-commit.ts';
import {
  checkpointFolders,
  checkpointFormat,
  folderName,
  latestName,
  stateName,
  stepOf,
  weightsName,
} from './checkpoint-folder.ts';
import { type CheckpointState, checkpointStateSchema, type SavedOptimizer } from './checkpoint-state.ts';

export interface LoadOptions {
  /** Only checkpoints of this step and earlier ones (rollbacks). */
  readonly atMostStep?: number;
  /** This one and no other: what rank 0 found, for the other ranks. They check only the files they read. */
  readonly step?: number;
  /** The attempt on whose behalf it loads (rank 0): damaged ones are set aside as `.damaged`, `latest` put right. */
  readonly attempt?: Attempt;
}

/**
 * Loads the newest whole checkpoint below `dir`; undefined where there is none. `onDamaged` is told about each one
 * passed over. A UserError where a checkpoint is whole but of another model, optimizer or format, or where
 * `options.step` is not whole.
 */
export function loadLatestCheckpoint(
  dir: string,
  parameters: ParameterSet,
  optimizer: SavedOptimizer,
  onDamaged: (folder: string, why: string) => void,
  options: LoadOptions = {},
): CheckpointState | undefined {
  const { atMostStep = Number.POSITIVE_INFINITY, step, attempt } = options;
  if (step !== undefined) return loadStep(join(dir, folderName(step)), parameters, optimizer);
  for (const folder of checkpointFolders(dir).filter((each) => stepOf(each) <= atMostStep)) {
    const state = readState(folder, () => true);
    if (typeof state === 'string') {
      onDamaged(folder, state);
      if (attempt) setDamagedAside(dir, attempt, folder);
      continue;
    }
    loadInto(folder, state, parameters, optimizer);
    if (attempt && atMostStep === Number.POSITIVE_INFINITY) checkLatest(dir, attempt, basename(folder));
    return state;
  }
  return undefined;
}

function loadStep(folder: string, parameters: ParameterSet, optimizer: SavedOptimizer): CheckpointState {
  const overlaps = (path: string): boolean => {
    if (path === weightsName) return true;
    const file = new SafetensorsFile(join(folder, path));
    try {
      const [from, to] = rangeOf(file);
      return from < optimizer.to && to > optimizer.from;
    } finally {
      file.close();
    }
  };
  const state = readState(folder, overlaps);
  if (typeof state === 'string')
    throw new UserError(`this rank cannot read the checkpoint ${folder} that rank 0 could read`, {
      found: state,
      next: 'see whether all hosts see the same folder, then start the run again',
    });
  loadInto(folder, state, parameters, optimizer);
  return state;
}

/** The state of a checkpoint whose files (those for which `checks` says so) are what was saved, or what is wrong. */
export function readState(folder: string, checks: (path: string) => boolean): CheckpointState | string {
  let value: unknown;
  try {
    value = readJson(join(folder, stateName), 'checkpoint');
  } catch (error) {
    return damage(folder, error);
  }
  const format = z.object({ format: z.string() }).safeParse(value).data?.format;
  // Not damage: setting it aside would be the wrong answer to a newer or an older belay.
  if (format !== undefined && format !== checkpointFormat)
    throw new UserError(`the checkpoint ${folder} is of another version of belay`, {
      found: format,
      expected: checkpointFormat,
      next: 'go on with the version that wrote it, or move the folder away to begin again',
    });
  const parsed = checkpointStateSchema.safeParse(value);
  if (!parsed.success) return schemaProblems(parsed.error);
  try {
    for (const { path, sha256, bytes } of parsed.data.files.filter((file) => checks(file.path))) {
      const found = hashFile(join(folder, path));
      if (found.bytes !== bytes) return `${path} has ${found.bytes} bytes, expected ${bytes}`;
      if (found.sha256 !== sha256) return `the content of ${path} differs from what was saved`;
    }
  } catch (error) {
    return damage(folder, error);
  }
  return parsed.data;
}

/** What is wrong with a checkpoint whose files cannot be read; throws where the file system, not the checkpoint, is. */
function damage(folder: string, error: unknown): string {
  const { code } = ((error as Error).cause ?? error) as NodeJS.ErrnoException;
  if (code === undefined || ['ENOENT', 'ENOTDIR', 'EISDIR'].includes(code)) return errorText(error);
  throw new UserError(`the checkpoint ${folder} cannot be read`, {
    found: errorText(error),
    next: 'see what is wrong with the file system (rights, open files, the disk), then run again',
    cause: error,
  });
}

/** After a kill between commit and `latest`, or a damaged newest one, `latest` names another folder or none. */
function checkLatest(dir: string, attempt: Attempt, name: string): void {
  const path = join(dir, latestName);
  if (!existsSync(path) || readFileSync(path, 'utf8').trim() !== name) repairLatest(dir, attempt, name);
}

/** First and last element (exclusive) of the flat buffer whose moments a file has. */
function rangeOf(file: SafetensorsFile): readonly [number, number] {
  return [Number(file.metadata['from']), Number(file.metadata['to'])];
}

function loadInto(folder: string, state: CheckpointState, parameters: ParameterSet, optimizer: SavedOptimizer): void {
  const { backend } = parameters.engine;
  const weights = new SafetensorsFile(join(folder, weightsName));
  try {
    for (const { name, shape } of parameters.slices) {
      const found = weights.tensors.get(name)?.shape;
      if (found?.join() !== shape.join()) {
        throw new UserError(`the checkpoint ${folder} belongs to another model`, {
          found: found ? `${name} [${found.join(', ')}]` : `no ${name}`,
          expected: `${name} [${shape.join(', ')}]`,
        });
      }
      weights.read(name, backend, parameters.valuesOf(name));
    }
  } finally {
    weights.close();
  }
  const names = [...optimizer.state.keys()];
  let loaded = 0;
  for (const { path } of state.files) {
    if (path === weightsName) continue;
    const file = new SafetensorsFile(join(folder, path));
    try {
      const [from, to] = rangeOf(file);
      if ([...file.tensors.keys()].join() !== names.join()) {
        throw new UserError(`the checkpoint ${folder} belongs to another optimizer`, {
          found: `moments ${[...file.tensors.keys()].join(', ')}`,
          expected: names.join(', '),
        });
      }
      optimizer.step = Number(file.metadata['step']);
      const [first, last] = [Math.max(from, optimizer.from), Math.min(to, optimizer.to)];
      if (first >= last) continue;
      for (const [name, values] of optimizer.state)
        file.readPart(name, first - from, values.subarray(first - optimizer.from, last - optimizer.from));
      loaded += last - first;
    } finally {
      file.close();
    }
  }
  if (loaded !== optimizer.to - optimizer.from)
    throw new Error(`${folder}: moments of ${loaded} elements, expected ${optimizer.to - optimizer.from}`);
}
