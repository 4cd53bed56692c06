// Apertus weights as a Hugging Face folder: config.json with model.safetensors, or shards with an index.
//
// Reads what transformers, vLLM and Apertus' own converter write, in float32 or bfloat16, and writes the same. Every
// expected tensor must be there once with the expected shape, and nothing else: a folder of another architecture is
// refused rather than half loaded.
//
// Does not: convert from Megatron's layout (megatron-convert.ts); handle tokenizers.
import { existsSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { type Dtype, type NewTensor, SafetensorsFile, writeSafetensors } from '../tensor/safetensors.ts';
import type { Engine } from '../tensor/tensor.ts';
import { Apertus } from './apertus.ts';
import { fromHfConfig, type ModelConfig, toHfConfig } from './config.ts';

const single = 'model.safetensors';
const index = 'model.safetensors.index.json';
/** transformers' default shard size is 5 GB. */
const defaultShardBytes = 5_000_000_000;

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** The model of a Hugging Face folder. */
export function loadHfFolder(dir: string, engine: Engine, options: { readonly gradients?: boolean } = {}): Apertus {
  const configPath = join(dir, 'config.json');
  if (!existsSync(configPath)) {
    throw new UserError(`${dir} is not a model folder`, {
      found: existsSync(dir) ? 'no config.json in it' : 'nothing at this path',
      expected: 'a Hugging Face folder: config.json and model.safetensors (or its shards and index)',
    });
  }
  const { where, close } = openHfWeights(dir);
  try {
    const config = withConstants(fromHfConfig(readJson(configPath), configPath), where, engine);
    const model = new Apertus(engine, config, options);
    const missing = model.parameters.slices.filter(({ name }) => !where.has(name)).map(({ name }) => name);
    if (missing.length > 0) {
      throw new UserError(`${dir} lacks ${missing.length} weights of its config.json`, {
        found: `no ${missing.slice(0, 3).join(', ')}${missing.length > 3 ? ', ...' : ''}`,
        next: 'check that all shards were copied',
      });
    }
    const known = new Set(model.parameters.slices.map(({ name }) => name));
    const extra = [...where.keys()].filter((name) => !known.has(name) && !/\.mlp\.act_fn\.(beta|eps)$/.test(name));
    if (extra.length > 0) {
      throw new UserError(`${dir} holds weights that its config.json does not describe`, {
        found: extra.slice(0, 5).join(', '),
        expected: `the ${known.size} parameters of an Apertus with ${config.layers} layers`,
      });
    }
    for (const { name, shape } of model.parameters.slices) {
      const file = where.get(name) as SafetensorsFile;
      const found = file.tensors.get(name)?.shape ?? [];
      if (found.join() !== shape.join()) {
        throw new UserError(`${file.path}: ${name} has the wrong shape`, {
          found: `[${found.join(', ')}]`,
          expected: `[${shape.join(', ')}] by config.json`,
        });
      }
      file.read(name, engine.backend, model.parameters.valuesOf(name));
    }
    return model;
  } finally {
    close();
  }
}

export interface SaveOptions {
  readonly dtype: 'float32' | 'bfloat16';
  /** 2 for a base model, 68 (`<|assistant_end|>`) for one that chats. */
  readonly eosTokenId: number;
  readonly shardBytes?: number;
}

/** Writes config.json and the weights; several shards with an index when they exceed `shardBytes`. */
export function saveHfFolder(dir: string, model: Apertus, options: SaveOptions): void {
  mkdirSync(dir, { recursive: true });
  const { config, parameters, engine } = model;
  const dtype: Dtype = options.dtype === 'float32' ? 'F32' : 'BF16';
  const tensors: NewTensor[] = parameters.slices.map(({ name, shape }) => ({
    name,
    shape,
    values: parameters.valuesOf(name),
  }));
  for (let i = 0; i < config.layers && config.activation === 'xielu'; i++) {
    const at = `model.layers.${i}.mlp.act_fn`;
    tensors.push({ name: `${at}.beta`, shape: [], values: Float32Array.of(config.xieluBeta) });
    tensors.push({ name: `${at}.eps`, shape: [], values: Float32Array.of(config.xieluEps) });
  }
  tensors.sort((a, b) => (a.name < b.name ? -1 : 1));
  const bytes = (tensor: NewTensor): number => tensor.values.length * (dtype === 'F32' ? 4 : 2);
  writeJsonAtomic(join(dir, 'config.json'), toHfConfig(config, options));
  for (const shard of hfShards(tensors, bytes, options.shardBytes)) {
    writeSafetensors(join(dir, shard.file), shard.tensors, dtype, engine.backend);
  }
  writeHfIndex(dir, tensors, bytes, options.shardBytes);
}

/** Files of a Hugging Face folder and the tensors each one holds, in the given order. */
export function hfShards<T>(
  tensors: readonly T[],
  bytes: (tensor: T) => number,
  shardBytes = defaultShardBytes,
): { readonly file: string; readonly tensors: readonly T[] }[] {
  const shards: T[][] = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    if (filled > 0 && filled + bytes(tensor) > shardBytes) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)?.push(tensor);
    filled += bytes(tensor);
  }
  const digits = (n: number): string => String(n).padStart(5, '0');
  return shards.map((shard, i) => ({
    file: shards.length === 1 ? single : `model-${digits(i + 1)}-of-${digits(shards.length)}.safetensors`,
    tensors: shard,
  }));
}

/** The index that several files need; one file needs none. */
export function writeHfIndex<T extends { readonly name: string }>(
  dir: string,
  tensors: readonly T[],
  bytes: (tensor: T) => number,
  shardBytes?: number,
): void {
  const shards = hfShards(tensors, bytes, shardBytes);
  if (shards.length === 1) return;
  const weightMap: Record<string, string> = {};
  for (const shard of shards) for (const { name } of shard.tensors) weightMap[name] = shard.file;
  const total = tensors.reduce((sum, tensor) => sum + bytes(tensor), 0);
  writeJsonAtomic(join(dir, index), { metadata: { total_size: total }, weight_map: weightMap });
}

/** The open weight files of a folder, by name of the tensor; a UserError where two hold the same. Close them. */
export function openHfWeights(dir: string): {
  readonly where: ReadonlyMap<string, SafetensorsFile>;
  readonly close: () => void;
} {
  const files = openWeights(dir);
  const close = (): void => {
    for (const file of files) file.close();
  };
  const where = new Map<string, SafetensorsFile>();
  for (const file of files) {
    for (const name of file.tensors.keys()) {
      const other = where.get(name);
      if (other) {
        close();
        throw new UserError(`${dir} holds ${name} twice`, {
          found: `in ${basename(other.path)} and ${basename(file.path)}`,
          expected: 'every weight in one shard',
        });
      }
      where.set(name, file);
    }
  }
  return { where, close };
}

function openWeights(dir: string): SafetensorsFile[] {
  if (existsSync(join(dir, single))) return [new SafetensorsFile(join(dir, single))];
  const path = join(dir, index);
  if (!existsSync(path)) {
    throw new UserError(`${dir} holds no weights`, { expected: `${single}, or ${index} with its shards` });
  }
  const parsed = indexSchema.safeParse(readJson(path, 'index'));
  if (!parsed.success) throw new UserError(`${path} is not a weight index`, { found: schemaProblems(parsed.error) });
  const names = [...new Set(Object.values(parsed.data.weight_map))].sort();
  for (const name of names) {
    // Shard names come from a file: they must stay inside the folder.
    if (name.includes('/') || name.includes('\\') || name === '..') {
      throw new UserError(`${path} names a shard outside its folder`, { found: name, expected: 'plain file names' });
    }
  }
  const files: SafetensorsFile[] = [];
  try {
    for (const name of names) files.push(new SafetensorsFile(join(dir, name)));
  } catch (error) {
    for (const file of files) file.close();
    throw error;
  }
  return files;
}

/** xIELU's constants as stored (a bfloat16 folder holds them rounded), where the folder has them. */
function withConstants(config: ModelConfig, where: ReadonlyMap<string, SafetensorsFile>, engine: Engine): ModelConfig {
  const read = (part: string, fallback: number): number => {
    const name = `model.layers.0.mlp.act_fn.${part}`;
    return where.get(name)?.read(name, engine.backend)[0] ?? fallback;
  };
  return { ...config, xieluBeta: read('beta', config.xieluBeta), xieluEps: read('eps', config.xieluEps) };
}
