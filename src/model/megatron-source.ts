// Where converted weights come from: any rectangle of any Hugging Face tensor, out of a Hugging Face or a Megatron folder.
//
// In a Megatron folder a rectangle lies in several shards; megatron-layout.ts says which part is where, and the shards
// that touch it are read. Copies on other tensor ranks are compared: norms must be equal there, but xIELU's alphas are
// not, because Megatron-LM sums the gradients of norms over tensor ranks and not those of the alphas
// (core/distributed/finalize_model_grads.py); its own converters take rank 0, and so does this one, and says so.
//
// Does not: write, or convert numbers.
import { UserError } from '../base/errors.ts';
import type { ModelRecipe } from '../base/recipe.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { type SafetensorsFile, tensorBytes } from '../tensor/safetensors.ts';
import { parameterSpecs } from './apertus.ts';
import { xieluBeta, xieluEps } from './config.ts';
import { openHfWeights } from './hf-folder.ts';
import { type MegatronFolder, openMegatronFolder, type StoredTensor } from './megatron-folder.ts';
import type { MegatronSplit, Part } from './megatron-layout.ts';

/** A weight of which two tensor ranks hold different copies. */
export interface ReplicaDifference {
  /** The Hugging Face name. */
  readonly name: string;
  /** Largest difference of an element to tensor rank 0's. */
  readonly largest: number;
}

/** Weights under their Hugging Face names; a vector is one row. */
export interface WeightSource {
  /** As it is stored, e.g. BF16. */
  dtype(name: string): string;
  /** Reads a rectangle, row by row, as stored. `into` has exactly its size. */
  read(name: string, row: number, rows: number, col: number, cols: number, into: Uint8Array): void;
  /** Copies that are not equal; none where there are no copies. */
  differingReplicas(): ReplicaDifference[];
  close(): void;
}

/** A Hugging Face folder, checked against its config.json. */
export class HfWeights implements WeightSource {
  readonly close: () => void;
  private readonly where: ReadonlyMap<string, SafetensorsFile>;

  constructor(dir: string, model: ModelRecipe) {
    const { where, close } = openHfWeights(dir);
    this.where = where;
    this.close = close;
    try {
      checkHf(dir, where, model);
    } catch (error) {
      close();
      throw error;
    }
  }

  dtype(name: string): string {
    return this.file(name).tensors.get(name)?.dtype as string;
  }

  read(name: string, row: number, rows: number, col: number, cols: number, into: Uint8Array): void {
    const file = this.file(name);
    const width = file.tensors.get(name)?.shape.at(-1) as number;
    readRectangle(file, name, width, { row, rows, col, cols }, into, 0, into.length / rows);
  }

  differingReplicas(): ReplicaDifference[] {
    return [];
  }

  private file(name: string): SafetensorsFile {
    return this.where.get(name) as SafetensorsFile;
  }
}

/** A Megatron folder, checked against the model. */
export class MegatronWeights implements WeightSource {
  private readonly folder: MegatronFolder;
  /** Hugging Face name -> the shards that hold a part of it; copies on other ranks apart. */
  private readonly shards = new Map<string, Shard[]>();
  private readonly copies = new Map<string, Shard[]>();

  constructor(dir: string, model: ModelRecipe) {
    this.folder = openMegatronFolder(dir, model);
    for (const tensor of this.folder.tensors) {
      let top = 0;
      for (const part of tensor.parts) {
        if (!part.repeats) this.place({ tensor, part, top });
        top += part.rows;
      }
    }
    for (const [name, shards] of this.shards) {
      const dtypes = new Set(shards.map(({ tensor }) => storedDtype(tensor)));
      if (dtypes.size > 1) {
        this.close();
        throw new UserError(`${name} has several types on the ranks`, { found: [...dtypes].join(', ') });
      }
    }
  }

  get split(): MegatronSplit {
    return this.folder.split;
  }

  get vocabularyRows(): number {
    return this.folder.vocabularyRows;
  }

  dtype(name: string): string {
    return storedDtype((this.shards.get(name) as Shard[])[0]?.tensor as StoredTensor);
  }

  read(name: string, row: number, rows: number, col: number, cols: number, into: Uint8Array): void {
    const rowBytes = into.length / rows;
    const element = rowBytes / cols;
    let found = 0;
    for (const { tensor, part, top } of this.shards.get(name) as Shard[]) {
      const firstRow = Math.max(row, part.row);
      const endRow = Math.min(row + rows, part.row + part.rows);
      const firstCol = Math.max(col, part.col);
      const endCol = Math.min(col + cols, part.col + part.cols);
      if (firstRow >= endRow || firstCol >= endCol) continue;
      const inShard = {
        row: top + firstRow - part.row,
        rows: endRow - firstRow,
        col: firstCol - part.col,
        cols: endCol - firstCol,
      };
      const at = (firstRow - row) * rowBytes + (firstCol - col) * element;
      readRectangle(tensor.file, tensor.name, part.cols, inShard, into, at, rowBytes);
      found += inShard.rows * inShard.cols;
    }
    if (found !== rows * cols) throw new Error(`the shards hold ${found} of ${rows * cols} elements of ${name}`);
  }

  differingReplicas(): ReplicaDifference[] {
    const backend = jsBackend();
    const differences: ReplicaDifference[] = [];
    for (const [name, copies] of this.copies) {
      const { tensor } = (this.shards.get(name) as Shard[])[0] as Shard;
      const first = tensor.file.read(tensor.name, backend);
      let largest = 0;
      for (const copy of copies) {
        const values = copy.tensor.file.read(copy.tensor.name, backend);
        for (const [i, value] of values.entries()) {
          // A NaN on one side only is a difference as well.
          const distance = Object.is(value, first[i]) ? 0 : Math.abs(value - (first[i] as number));
          largest = Math.max(largest, Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance);
        }
      }
      if (largest > 0) differences.push({ name, largest });
    }
    return differences;
  }

  close(): void {
    this.folder.close();
  }

  private place(shard: Shard): void {
    const { name, row, col } = shard.part;
    const shards = this.shards.get(name) ?? [];
    this.shards.set(name, shards);
    const twin = shards.find(({ part }) => part.row === row && part.col === col);
    if (!twin) {
      shards.push(shard);
      return;
    }
    const copies = this.copies.get(name) ?? [];
    this.copies.set(name, copies);
    copies.push(shard);
  }
}

/** A part of a Hugging Face tensor and where it lies: from row `top` of a Megatron tensor on. */
interface Shard {
  readonly tensor: StoredTensor;
  readonly part: Part;
  readonly top: number;
}

function storedDtype(tensor: StoredTensor): string {
  return tensor.file.tensors.get(tensor.name)?.dtype as string;
}

/** Reads a rectangle of a tensor that is `width` wide into `into`, from byte `at` on, one row every `stride` bytes. */
function readRectangle(
  file: SafetensorsFile,
  name: string,
  width: number,
  { row, rows, col, cols }: Pick<Part, 'row' | 'rows' | 'col' | 'cols'>,
  into: Uint8Array,
  at: number,
  stride: number,
): void {
  const element = tensorBytes({ dtype: file.tensors.get(name)?.dtype as string, shape: [] });
  if (cols === width && stride === width * element) {
    file.readStored(name, row * stride, into.subarray(at, at + rows * stride));
    return;
  }
  for (let i = 0; i < rows; i++) {
    const from = at + i * stride;
    file.readStored(name, ((row + i) * width + col) * element, into.subarray(from, from + cols * element));
  }
}

/** A UserError unless the folder holds every weight of the model with its shape, and xIELU's constants as Megatron has them. */
function checkHf(dir: string, where: ReadonlyMap<string, SafetensorsFile>, model: ModelRecipe): void {
  const known = new Set<string>();
  for (const { name, shape } of parameterSpecs(model)) {
    known.add(name);
    const file = where.get(name);
    if (!file) {
      throw new UserError(`${dir} lacks ${name}`, {
        expected: `the weights of an Apertus with ${model.layers} layers, as config.json says`,
        next: 'check that all shards were copied',
      });
    }
    const found = file.tensors.get(name)?.shape ?? [];
    if (found.join() !== shape.join()) {
      throw new UserError(`${file.path}: ${name} has the wrong shape`, {
        found: `[${found.join(', ')}]`,
        expected: `[${shape.join(', ')}] by config.json`,
      });
    }
  }
  const backend = jsBackend();
  for (const [name, file] of where) {
    if (known.has(name)) continue;
    const constant = /\.mlp\.act_fn\.(beta|eps)$/.exec(name);
    if (!constant) {
      throw new UserError(`${dir} holds a weight that its config.json does not describe`, { found: name });
    }
    const expected = constant[1] === 'beta' ? xieluBeta : xieluEps;
    const value = file.read(name, backend)[0] as number;
    // bfloat16 keeps 8 bits.
    if (Math.abs(value - expected) > Math.abs(expected) / 256) {
      throw new UserError(`${dir} has an xIELU that Megatron-LM does not have`, {
        found: `${name} ${value}`,
        expected: `${expected}, which is fixed there`,
      });
    }
  }
}
