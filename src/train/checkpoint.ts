// Checkpoints: everything a run needs to go on, whole or not there.
//
// `checkpoints/step-000000200/` holds the weights, the optimizer's moments and `checkpoint.json` (written last: step,
// samples, dispatch target, SHA-256 of each file). It is built aside, flushed and renamed. On loading every hash is
// checked; a damaged checkpoint is named, set aside as `.damaged`, and the one before it used.
//
// Does not: decide when to save; loop.ts does.
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { beginFolder, commitFolder, recoverFolder, writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import { errorText, readJson } from '../base/json.ts';
import type { Optimizer } from '../optim/optimizer.ts';
import type { ParameterSet } from '../tensor/parameters.ts';
import { type NewTensor, SafetensorsFile, writeSafetensors } from '../tensor/safetensors.ts';

const weightsName = 'weights.safetensors';
const optimizerName = 'optimizer.safetensors';
const stateName = 'checkpoint.json';

const stateSchema = z.object({
  format: z.literal('belay-checkpoint-1'),
  /** Steps taken, and samples (sequences) consumed by them. */
  step: z.int(),
  samples: z.int(),
  /** Dispatch target and precision whose bits the run has. */
  target: z.string(),
  compute: z.enum(['float32', 'bfloat16']),
  /** Loss of the last step. */
  loss: z.number(),
  files: z.array(z.object({ path: z.string(), sha256: z.string(), bytes: z.int() })),
});
export type CheckpointState = z.infer<typeof stateSchema>;

/** Saves a checkpoint below `dir` and removes the oldest beyond `keep`. Returns its folder. */
export function saveCheckpoint(
  dir: string,
  state: Omit<CheckpointState, 'format' | 'files'>,
  parameters: ParameterSet,
  optimizer: Optimizer,
  keep: number,
): string {
  const folder = join(dir, `step-${String(state.step).padStart(9, '0')}`);
  const aside = beginFolder(folder);
  const { backend } = parameters.engine;
  const weights = parameters.slices.map(
    ({ name, shape }): NewTensor => ({ name, shape, values: parameters.valuesOf(name) }),
  );
  writeSafetensors(join(aside, weightsName), weights, 'F32', backend);
  const moments = [...optimizer.state].map(([name, values]): NewTensor => ({ name, shape: [values.length], values }));
  writeSafetensors(join(aside, optimizerName), moments, 'F32', backend, { step: String(optimizer.step) });
  const files = [weightsName, optimizerName].map((path) => ({ path, ...hashFile(join(aside, path)) }));
  writeJsonAtomic(join(aside, stateName), { format: 'belay-checkpoint-1', ...state, files });
  commitFolder(folder);
  for (const old of checkpointFolders(dir).slice(keep)) rmSync(old, { recursive: true, force: true });
  return folder;
}

/**
 * Loads the newest whole checkpoint below `dir` into the parameters and the optimizer; undefined where there is none.
 * `onDamaged` is told about each one that is passed over.
 */
export function loadLatestCheckpoint(
  dir: string,
  parameters: ParameterSet,
  optimizer: Optimizer,
  onDamaged: (folder: string, why: string) => void,
): CheckpointState | undefined {
  sweep(dir);
  for (const folder of checkpointFolders(dir)) {
    const state = readState(folder);
    if (typeof state === 'string') {
      onDamaged(folder, state);
      const aside = `${folder}.damaged`;
      rmSync(aside, { recursive: true, force: true });
      renameSync(folder, aside);
      continue;
    }
    loadInto(folder, parameters, optimizer);
    optimizer.step = state.step;
    return state;
  }
  return undefined;
}

/** Checkpoint folders, newest first; half-written ones are not among them. */
export function checkpointFolders(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => /^step-\d{9}$/.test(name))
    .sort()
    .reverse()
    .map((name) => join(dir, name));
}

/** Removes what killed saves left. */
function sweep(dir: string): void {
  if (!existsSync(dir)) return;
  for (const name of readdirSync(dir)) {
    const path = join(dir, name);
    if (name.endsWith('.replaced')) recoverFolder(path.slice(0, -'.replaced'.length));
    if (name.endsWith('.partial')) rmSync(path, { recursive: true, force: true });
  }
}

/** The checked state of a checkpoint, or what is wrong with it. */
function readState(folder: string): CheckpointState | string {
  try {
    const parsed = stateSchema.safeParse(readJson(join(folder, stateName), 'checkpoint'));
    if (!parsed.success) return z.prettifyError(parsed.error);
    for (const { path, sha256, bytes } of parsed.data.files) {
      const found = hashFile(join(folder, path));
      if (found.bytes !== bytes) return `${path} has ${found.bytes} bytes, expected ${bytes}`;
      if (found.sha256 !== sha256) return `the content of ${path} differs from what was saved`;
    }
    return parsed.data;
  } catch (error) {
    return errorText(error);
  }
}

function loadInto(folder: string, parameters: ParameterSet, optimizer: Optimizer): void {
  const { backend } = parameters.engine;
  const weights = new SafetensorsFile(join(folder, weightsName));
  const moments = new SafetensorsFile(join(folder, optimizerName));
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
    for (const [name, values] of optimizer.state) moments.read(name, backend, values);
  } finally {
    weights.close();
    moments.close();
  }
}
