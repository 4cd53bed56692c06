// Apertus weights from Hugging Face folders to Megatron's layout, back, and from one Megatron split to another.
//
// Weights are moved as they are stored, bit by bit and a few rows at a time: nothing is computed and no tensor is in
// memory whole. Every target is a list of rectangles of Hugging Face tensors (megatron-layout.ts); a source answers for
// any rectangle. The target folder appears whole or not at all.
//
// Does not: change dtypes; read or write optimizer states; know torch's pickles.
import { copyFileSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beginFolder, commitFolder, writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { type Log, silentLog } from '../base/progress.ts';
import type { ModelRecipe } from '../base/recipe.ts';
import { bf16Bits } from '../tensor/bf16.ts';
import { type DeclaredTensor, SafetensorsWriter, tensorBytes } from '../tensor/safetensors.ts';
import { parameterSpecs } from './apertus.ts';
import { fromHfConfig, type ModelConfig, modelConfig, toHfConfig, xieluBeta, xieluEps } from './config.ts';
import { hfShards, writeHfIndex } from './hf-folder.ts';
import { rankFileName } from './megatron-folder.ts';
import { type MegatronSplit, megatronTensors, paddedVocabulary, type Part } from './megatron-layout.ts';
import { HfWeights, MegatronWeights, type ReplicaDifference, type WeightSource } from './megatron-source.ts';

export interface ConvertOptions {
  readonly from: 'hf' | 'megatron';
  readonly to: 'hf' | 'megatron';
  /** How to cut the model, for `to: 'megatron'`. */
  readonly split?: MegatronSplit;
  /** The vocabulary is padded to a multiple of this times the tensor ranks (--make-vocab-size-divisible-by; 128). */
  readonly vocabularyMultiple?: number;
  /** A config.json to use instead of the source folder's own. */
  readonly configPath?: string;
  /** The model of a recipe, where there is no config.json at all. */
  readonly model?: ModelRecipe;
  /** Largest file of a Hugging Face folder (5 GB). */
  readonly shardBytes?: number;
  readonly log?: Log;
}

export interface ConvertResult {
  readonly out: string;
  readonly files: number;
  readonly tensors: number;
  readonly bytes: number;
  /** How the Megatron folder is cut; from one split to another that of the new one. */
  readonly split: MegatronSplit;
  /** Rows of Megatron's embedding, padding included. */
  readonly vocabularyRows: number;
  /** Weights of which Megatron's tensor ranks hold copies that are not equal; rank 0's was taken. */
  readonly replicasThatDiffer: readonly ReplicaDifference[];
}

/** A file to write: tensors as stacks of rectangles, or as given bytes. */
interface TargetFile {
  readonly file: string;
  readonly tensors: readonly TargetTensor[];
}

interface TargetTensor extends DeclaredTensor {
  readonly content: readonly Part[] | Uint8Array;
}

/** Rows are moved in pieces of at most so many bytes. */
const pieceBytes = 32 << 20;

/** Files of a model folder that are no weights and are taken along as they are. */
const besides = [
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
];

/** Converts the folder `input` to the folder `out`, which must not exist yet (or be empty). */
export function convertWeights(input: string, out: string, options: ConvertOptions): ConvertResult {
  const { from, to, log = silentLog } = options;
  if (from === 'hf' && to === 'hf') {
    throw new UserError('there is nothing to convert from a Hugging Face folder to one', {
      expected: '--from hf --to megatron, --from megatron --to hf, or --from megatron --to megatron',
    });
  }
  if (existsSync(out) && readdirSync(out).length > 0) {
    throw new UserError(`${out} is not empty`, { expected: 'a folder that does not exist yet', next: 'name another' });
  }
  const { config, configPath } = readConfig(input, options);
  const source: WeightSource = from === 'hf' ? new HfWeights(input, config) : new MegatronWeights(input, config);
  try {
    const split = to === 'megatron' ? wantedSplit(options) : (source as MegatronWeights).split;
    const vocabularyRows =
      to === 'megatron'
        ? paddedVocabulary(config.vocabularySize, options.vocabularyMultiple ?? 128, split.tensorParallel)
        : (source as MegatronWeights).vocabularyRows;
    const replicasThatDiffer = source.differingReplicas();
    const files =
      to === 'megatron' ? megatronFiles(config, split, vocabularyRows, source) : hfFiles(config, source, options);
    const aside = beginFolder(out);
    try {
      const bytes = writeFiles(aside, files, source, log);
      if (to === 'hf') {
        const tensors = files.flatMap((file) => file.tensors);
        writeHfIndex(aside, tensors, tensorBytes, options.shardBytes);
      }
      if (configPath !== undefined) copyFileSync(configPath, join(aside, 'config.json'));
      else {
        const dtype = source.dtype('model.norm.weight') === 'F32' ? 'float32' : 'bfloat16';
        writeJsonAtomic(join(aside, 'config.json'), toHfConfig(config, { dtype, eosTokenId: 2 }));
      }
      for (const name of besides) {
        if (existsSync(join(input, name))) copyFileSync(join(input, name), join(aside, name));
      }
      commitFolder(out);
      const tensors = files.reduce((sum, file) => sum + file.tensors.length, 0);
      return { out, files: files.length, tensors, bytes, split, vocabularyRows, replicasThatDiffer };
    } catch (error) {
      rmSync(aside, { recursive: true, force: true });
      throw error;
    }
  } finally {
    source.close();
  }
}

function wantedSplit(options: ConvertOptions): MegatronSplit {
  return options.split ?? { tensorParallel: 1, pipelineParallel: 1, layersPerVirtualStage: null };
}

/** The sizes of the model, and the config.json they are from (none where a recipe gave them). */
function readConfig(
  input: string,
  options: ConvertOptions,
): { readonly config: ModelConfig; readonly configPath?: string } {
  if (options.model && options.configPath === undefined) return { config: modelConfig(options.model) };
  const configPath = options.configPath ?? join(input, 'config.json');
  if (!existsSync(configPath)) {
    throw new UserError(`the sizes of the model in ${input} are not known`, {
      found: `no ${configPath}`,
      expected: "the model's config.json (that of swiss-ai/Apertus-8B-2509, for example) in the folder",
      next: 'put it there, or give --config FILE or --recipe RECIPE',
    });
  }
  return { config: fromHfConfig(readJson(configPath), configPath), configPath };
}

function megatronFiles(
  config: ModelConfig,
  split: MegatronSplit,
  vocabularyRows: number,
  source: WeightSource,
): TargetFile[] {
  const files = new Map<string, TargetTensor[]>();
  for (const { name, tensorRank, pipelineRank, shape, parts } of megatronTensors(config, split, vocabularyRows)) {
    const file = rankFileName(tensorRank, pipelineRank, split);
    const dtypes = [...new Set(parts.map((part) => source.dtype(part.name)))];
    if (dtypes.length > 1) {
      throw new UserError(`${name} cannot be made of weights of several types`, {
        found: parts.map((part) => `${part.name} ${source.dtype(part.name)}`).join(', '),
        expected: 'one type',
      });
    }
    const tensors = files.get(file) ?? [];
    files.set(file, tensors);
    tensors.push({ name, shape, dtype: dtypes[0] as string, content: parts });
  }
  return [...files].map(([file, tensors]) => ({ file, tensors }));
}

function hfFiles(config: ModelConfig, source: WeightSource, options: ConvertOptions): TargetFile[] {
  const tensors: TargetTensor[] = parameterSpecs(config).map(({ name, shape }) => {
    const [rows, cols] = asMatrix(shape);
    const whole: Part = { name, row: 0, rows, col: 0, cols, repeats: false };
    return { name, shape, dtype: source.dtype(name), content: [whole] };
  });
  for (let layer = 0; layer < config.layers && config.activation === 'xielu'; layer++) {
    const at = `model.layers.${layer}.mlp.act_fn`;
    const dtype = source.dtype(`${at}.alpha_p`);
    // Megatron has them fixed (activations.py); a Hugging Face folder stores them.
    tensors.push({ name: `${at}.beta`, shape: [], dtype, content: storedScalar(dtype, xieluBeta) });
    tensors.push({ name: `${at}.eps`, shape: [], dtype, content: storedScalar(dtype, xieluEps) });
  }
  tensors.sort((a, b) => (a.name < b.name ? -1 : 1));
  return hfShards(tensors, tensorBytes, options.shardBytes);
}

/** One of xIELU's constants as it is stored. */
function storedScalar(dtype: string, value: number): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(Float32Array.of(value).buffer);
  if (dtype === 'BF16') return new Uint8Array(Uint16Array.of(bf16Bits(value)).buffer);
  throw new UserError(`weights of type ${dtype} are not converted`, { expected: 'F32 or BF16' });
}

function writeFiles(dir: string, files: readonly TargetFile[], source: WeightSource, log: Log): number {
  const total = files.reduce((sum, { tensors }) => sum + tensors.reduce((n, tensor) => n + tensorBytes(tensor), 0), 0);
  const progress = log.progress('convert', total, 'B');
  let done = 0;
  for (const { file, tensors } of files) {
    const writer = new SafetensorsWriter(join(dir, file), tensors);
    try {
      for (const { name, content, shape, dtype } of tensors) {
        if (content instanceof Uint8Array) writer.write(content);
        else writeParts(writer, content, tensorBytes({ dtype, shape: [asMatrix(shape)[1]] }), source);
        done += tensorBytes({ dtype, shape });
        progress.update(done, name);
      }
      writer.commit();
    } finally {
      writer.close();
    }
  }
  progress.finish();
  return total;
}

/** Writes a stack of rectangles, all `rowBytes` wide, piece by piece. */
function writeParts(writer: SafetensorsWriter, parts: readonly Part[], rowBytes: number, source: WeightSource): void {
  const rowsAtOnce = Math.max(1, Math.floor(pieceBytes / rowBytes));
  for (const part of parts) {
    if (part.repeats) {
      const row = new Uint8Array(rowBytes);
      source.read(part.name, part.row, 1, part.col, part.cols, row);
      for (let i = 0; i < part.rows; i++) writer.write(row);
      continue;
    }
    for (let first = 0; first < part.rows; first += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, part.rows - first);
      const piece = new Uint8Array(rows * rowBytes);
      source.read(part.name, part.row + first, rows, part.col, part.cols, piece);
      writer.write(piece);
    }
  }
}

/** Rows and columns of a shape; a vector is one row. */
function asMatrix(shape: readonly number[]): readonly [number, number] {
  return shape.length === 2 ? [shape[0] as number, shape[1] as number] : [1, shape[0] ?? 1];
}
