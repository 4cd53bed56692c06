// The rows of embedding and output matrix for a vocabulary that grows: new rows are means of others, all other weights keep
// their bytes.
//
// A token that is added means about what its pieces meant, so its rows are the means of theirs (Hewitt, "Initializing New
// Word Embeddings for Pretrained Language Models", 2021, for the mean of all, which rows without pieces get: nothing that is
// sampled then jumps to a row that was never trained).
//
// Does not: know tokenizers.
import { join } from 'node:path';
import { writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import type { Backend } from '../tensor/backend.ts';
import { type SafetensorsFile, SafetensorsWriter, tensorBytes } from '../tensor/safetensors.ts';
import { hfShards, openHfWeights, writeHfIndex } from './hf-folder.ts';

const matrices: readonly string[] = ['model.embed_tokens.weight', 'lm_head.weight'];

export interface GrowOptions {
  /** Rows of the result; at least as many as there are. */
  readonly rows: number;
  /** Ids whose mean a row is, for rows that are new or made anew; new rows that it lacks are the mean of all old ones. */
  readonly pieces: ReadonlyMap<number, readonly number[]>;
  readonly backend: Backend;
}

/** Rows of the vocabulary of a model folder. */
export function vocabularyRows(dir: string): number {
  const rows = (readJson(join(dir, 'config.json'), 'config') as { vocab_size?: unknown }).vocab_size;
  if (typeof rows === 'number') return rows;
  throw new UserError(`${join(dir, 'config.json')} says no vocab_size`);
}

/** Writes config.json and the weights of `from` into `into`, with other rows of the vocabulary. */
export function writeWithRows(from: string, into: string, { rows, pieces, backend }: GrowOptions): void {
  const before = vocabularyRows(from);
  if (rows < before) throw new Error(`writeWithRows: ${rows} rows of ${before}`);
  const { where, close } = openHfWeights(from);
  try {
    const tensors = [...where].map(([name, file]) => {
      const { dtype, shape } = file.tensors.get(name) as { readonly dtype: string; readonly shape: readonly number[] };
      if (!matrices.includes(name)) return { name, dtype, shape, file };
      if (shape.length !== 2 || shape[0] !== before || (dtype !== 'F32' && dtype !== 'BF16')) {
        throw new UserError(`${file.path}: the rows of ${name} cannot grow`, {
          found: `${dtype} [${shape.join(', ')}]`,
          expected: `F32 or BF16 [${before}, hidden]`,
        });
      }
      return { name, dtype, shape: [rows, shape[1] as number], file };
    });
    const missing = matrices.filter((name) => !where.has(name));
    if (missing.length > 0) throw new UserError(`${from} lacks ${missing.join(' and ')}`);
    writeJsonAtomic(join(into, 'config.json'), {
      ...(readJson(join(from, 'config.json')) as object),
      vocab_size: rows,
    });
    const bytes = (tensor: (typeof tensors)[number]): number => tensorBytes(tensor);
    for (const shard of hfShards(tensors, bytes)) {
      const writer = new SafetensorsWriter(join(into, shard.file), shard.tensors);
      try {
        for (const tensor of shard.tensors) {
          if (!matrices.includes(tensor.name)) copy(writer, tensor.file, tensor.name, 0, bytes(tensor));
          else writeMatrix(writer, tensor.file, tensor.name, { before, rows, pieces, backend });
        }
        writer.commit();
      } finally {
        writer.close();
      }
    }
    writeHfIndex(into, tensors, bytes);
  } finally {
    close();
  }
}

const copyBytes = 1 << 24;

/** Copies the bytes [from, to) of a tensor. */
function copy(writer: SafetensorsWriter, file: SafetensorsFile, name: string, from: number, to: number): void {
  for (let at = from; at < to; at += copyBytes) {
    const bytes = new Uint8Array(Math.min(copyBytes, to - at));
    file.readStored(name, at, bytes);
    writer.write(bytes);
  }
}

/** Writes a matrix: its old rows as they are stored but for those made anew, then the new ones. */
function writeMatrix(
  writer: SafetensorsWriter,
  file: SafetensorsFile,
  name: string,
  { before, rows, pieces, backend }: GrowOptions & { readonly before: number },
): void {
  const values = file.read(name, backend);
  const width = values.length / before;
  const mean = (ids: Iterable<number>): Float32Array => {
    const sum = new Float64Array(width);
    let count = 0;
    for (const id of ids) {
      if (id >= before) throw new Error(`writeWithRows: a row of ${name} is to be made of row ${id} of ${before}`);
      for (let i = 0; i < width; i++) sum[i] = (sum[i] as number) + (values[id * width + i] as number);
      count++;
    }
    return Float32Array.from(sum, (value) => value / count);
  };
  const isFloat = file.tensors.get(name)?.dtype === 'F32';
  const stored = (row: Float32Array): Uint8Array => {
    if (isFloat) return new Uint8Array(row.buffer);
    const rounded = new Uint16Array(width);
    backend.toBf16(width, row, rounded);
    return new Uint8Array(rounded.buffer);
  };
  const rowBytes = width * (isFloat ? 4 : 2);
  let copied = 0;
  for (const id of [...pieces.keys()].filter((key) => key < before).sort((a, b) => a - b)) {
    copy(writer, file, name, copied, id * rowBytes);
    writer.write(stored(mean(pieces.get(id) as readonly number[])));
    copied = (id + 1) * rowBytes;
  }
  copy(writer, file, name, copied, before * rowBytes);
  const ofAll = stored(mean(Array.from({ length: before }, (_, id) => id)));
  for (let id = before; id < rows; id++) {
    const ids = pieces.get(id);
    writer.write(ids === undefined ? ofAll : stored(mean(ids)));
  }
}
