// safetensors files: 8-byte little-endian header length, JSON header, raw little-endian data.
//
// Reading maps names to positions and fetches one tensor, or a stretch of its bytes, at a time; a file that is truncated,
// overlaps itself or lies about sizes is refused with what is wrong. Writing goes aside, is flushed and renamed; with
// SafetensorsWriter no tensor needs to be in memory whole.
//
// Does not: know models; model/hf-folder.ts does.
import { closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { schemaProblems } from '../base/schema.ts';
import { syncFolder } from '../base/atomic.ts';
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { errorText } from '../base/json.ts';
import type { Backend } from './backend.ts';

export type Dtype = 'F32' | 'BF16';
const bytesOf: Readonly<Record<string, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};

const size = z.int().nonnegative();
const tensorSchema = z.object({
  dtype: z.string(),
  shape: z.array(size),
  /** First and last byte (exclusive) in the data part. */
  data_offsets: z.tuple([size, size]),
});
const headerSchema = z.looseObject({ __metadata__: z.record(z.string(), z.string()).optional() });

export type TensorInfo = Readonly<z.infer<typeof tensorSchema>>;

/** An open safetensors file. */
export class SafetensorsFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  private readonly file: number;
  private readonly dataStart: number;

  constructor(path: string) {
    this.path = path;
    try {
      this.file = openSync(path, 'r');
    } catch (cause) {
      throw new UserError(`cannot open the weights ${path}`, { found: errorText(cause), cause });
    }
    try {
      const { dataStart, metadata, tensors } = readHeader(path, this.file);
      this.dataStart = dataStart;
      this.metadata = metadata;
      this.tensors = tensors;
    } catch (error) {
      closeSync(this.file);
      throw error;
    }
  }

  /** Reads one tensor as float32 (bfloat16, float16 and float64 are converted). `into` must have its size. */
  read(name: string, backend: Backend, into?: Float32Array): Float32Array {
    const info = this.tensors.get(name);
    if (!info) throw new UserError(`${this.path} has no tensor ${name}`);
    const [from, to] = info.data_offsets;
    const elements = (to - from) / (bytesOf[info.dtype] as number);
    const out = into ?? new Float32Array(elements);
    if (out.length !== elements)
      throw new Error(`safetensors: got room for ${out.length} values of ${name}, expected ${elements}`);
    if (info.dtype === 'F32') {
      this.readBytes(new Uint8Array(out.buffer, out.byteOffset, out.byteLength), from);
      return out;
    }
    const raw = new Uint8Array(to - from);
    this.readBytes(raw, from);
    if (info.dtype === 'BF16') backend.fromBf16(elements, new Uint16Array(raw.buffer), out);
    else if (info.dtype === 'F64') out.set(new Float64Array(raw.buffer));
    else if (info.dtype === 'F16') {
      const half = new Uint16Array(raw.buffer);
      for (let i = 0; i < elements; i++) out[i] = halfToFloat(half[i] as number);
    } else throw new UserError(`${this.path}: ${name} is ${info.dtype}`, { expected: 'F32, BF16, F16 or F64 weights' });
    return out;
  }

  /** Reads elements [first, first + into.length) of a float32 tensor, so that a range costs no more than itself. */
  readPart(name: string, first: number, into: Float32Array): void {
    if (this.tensors.get(name)?.dtype !== 'F32') throw new UserError(`${this.path} has no float32 tensor ${name}`);
    this.readStored(name, first * 4, new Uint8Array(into.buffer, into.byteOffset, into.byteLength));
  }

  /** Reads `into.length` bytes of a tensor as they are stored, from its byte `from` on. */
  readStored(name: string, from: number, into: Uint8Array): void {
    const info = this.tensors.get(name);
    if (!info) throw new UserError(`${this.path} has no tensor ${name}`);
    const [start, end] = info.data_offsets;
    if (from < 0 || start + from + into.length > end) {
      throw new Error(`safetensors: bytes ${from}..${from + into.length} of ${name}, which has ${end - start}`);
    }
    this.readBytes(into, start + from);
  }

  close(): void {
    closeSync(this.file);
  }

  private readBytes(into: Uint8Array, at: number): void {
    for (let done = 0; done < into.length; ) {
      const read = readSync(this.file, into, done, Math.min(into.length - done, 1 << 30), this.dataStart + at + done);
      if (read === 0) throw new UserError(`${this.path} ended while it was read`);
      done += read;
    }
  }
}

interface Header {
  /** Where the data part begins. */
  readonly dataStart: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/** The header of an open file; a UserError unless its tensors fill the data part, each byte once. */
function readHeader(path: string, file: number): Header {
  const refuse = (found: string, expected: string): never => {
    throw new UserError(`${path} is not a whole safetensors file`, {
      found,
      expected,
      next: 'copy or export it again',
    });
  };
  const { size } = fstatSync(file);
  const head = Buffer.alloc(8);
  if (readSync(file, head, 0, 8, 0) < 8) refuse(`${size} bytes`, 'at least 8');
  const length = Number(head.readBigUInt64LE());
  // The reference implementation allows headers up to 100 MB.
  if (length > 100_000_000 || 8 + length > size) {
    refuse(`a header of ${length} bytes in a file of ${size}`, 'a header inside the file');
  }
  const text = Buffer.alloc(length);
  readSync(file, text, 0, length, 8);
  const { __metadata__: metadata = {}, ...entries } = parseHeader(text.toString('utf8'), refuse);
  const dataStart = 8 + length;
  const available = size - dataStart;
  const tensors = new Map<string, TensorInfo>();
  for (const [name, value] of Object.entries(entries)) {
    const parsed = tensorSchema.safeParse(value);
    if (!parsed.success) return refuse(`${name}: ${schemaProblems(parsed.error)}`, 'dtype, shape and data_offsets');
    const { dtype, shape, data_offsets } = parsed.data;
    const [from, to] = data_offsets;
    const width = Object.hasOwn(bytesOf, dtype) ? bytesOf[dtype] : undefined;
    if (width === undefined) return refuse(`${name} of dtype ${dtype}`, Object.keys(bytesOf).join(', '));
    const bytes = shape.reduce((product, dimension) => product * dimension, width);
    if (to - from !== bytes) {
      refuse(`${name}: offsets ${from}..${to} for shape [${shape}] of ${dtype}`, `${bytes} bytes`);
    }
    if (to > available) {
      refuse(`${name} ends at byte ${to} of ${available} (truncated?)`, 'all tensors inside the file');
    }
    tensors.set(name, parsed.data);
  }
  // Side by side from the first byte to the last: sizes that add up are not enough, two tensors could share bytes.
  const inOrder = [...tensors].sort(
    ([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0] || a.data_offsets[1] - b.data_offsets[1],
  );
  let end = 0;
  for (const [name, { data_offsets }] of inOrder) {
    if (data_offsets[0] !== end) {
      refuse(`${name} begins at byte ${data_offsets[0]} where byte ${end} is next`, 'tensors without gap or overlap');
    }
    end = data_offsets[1];
  }
  if (end !== available) refuse(`${end} bytes of tensors in ${available} bytes of data`, 'tensors that fill the file');
  return { dataStart, metadata, tensors };
}

function parseHeader(text: string, refuse: (found: string, expected: string) => never): z.infer<typeof headerSchema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    return refuse(`a header that is not JSON (${errorText(cause)})`, 'a JSON header');
  }
  const parsed = headerSchema.safeParse(value);
  return parsed.success ? parsed.data : refuse(`a header with ${schemaProblems(parsed.error)}`, 'an object of tensors');
}

/** A float16 bit pattern as a number. */
function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

export interface NewTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** What comes before the data of a file: the length of the header and the header, for tensors in the given order. */
export function safetensorsHead(
  tensors: readonly Pick<NewTensor, 'name' | 'shape'>[],
  dtype: Dtype,
  metadata: Readonly<Record<string, string>>,
): Buffer {
  return headOf(
    tensors.map(({ name, shape }) => ({ name, shape, dtype })),
    metadata,
  );
}

/** Writes tensors in the given order as float32 or bfloat16 (nearest even), atomically. */
export function writeSafetensors(
  path: string,
  tensors: readonly NewTensor[],
  dtype: Dtype,
  backend: Backend,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): void {
  const writer = new SafetensorsWriter(
    path,
    tensors.map(({ name, shape }) => ({ name, shape, dtype })),
    metadata,
  );
  try {
    for (const { values } of tensors) {
      if (dtype === 'F32') {
        writer.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      } else {
        const rounded = new Uint16Array(values.length);
        backend.toBf16(values.length, values, rounded);
        writer.write(new Uint8Array(rounded.buffer));
      }
    }
    writer.commit();
  } finally {
    writer.close();
  }
}

/** A tensor of a file to come: its bytes follow. */
export interface DeclaredTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Any dtype that readers know: F32, BF16, F16, F64, ... */
  readonly dtype: string;
}

/** Bytes of a tensor of this dtype and shape. */
export function tensorBytes({ dtype, shape }: Pick<DeclaredTensor, 'dtype' | 'shape'>): number {
  const width = Object.hasOwn(bytesOf, dtype) ? (bytesOf[dtype] as number) : undefined;
  if (width === undefined) throw new Error(`safetensors: no dtype ${dtype}`);
  return shape.reduce((product, dimension) => product * dimension, width);
}

/** A safetensors file in the making: the header is known at once, the bytes come one after the other. */
export class SafetensorsWriter {
  private readonly path: string;
  private readonly file: number;
  private readonly bytes: number;
  private written = 0;
  private open = true;

  /** Begins `<path>.partial`; tensors are declared in the order of their bytes. */
  constructor(
    path: string,
    tensors: readonly DeclaredTensor[],
    metadata: Readonly<Record<string, string>> = { format: 'pt' },
  ) {
    this.path = path;
    this.bytes = tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
    this.file = openSync(`${path}.partial`, 'w');
    writeAll(this.file, headOf(tensors, metadata));
  }

  /** The next bytes of the data part. */
  write(bytes: Uint8Array): void {
    this.written += bytes.length;
    if (this.written > this.bytes) throw new Error(`safetensors: more than the declared ${this.bytes} bytes`);
    writeAll(this.file, bytes);
  }

  /** Flushes the file and gives it its name; an error unless every declared byte came. */
  commit(): void {
    if (this.written !== this.bytes) throw new Error(`safetensors: ${this.written} of ${this.bytes} bytes came`);
    fsyncSync(this.file);
    this.close();
    renameSync(`${this.path}.partial`, this.path);
    syncFolder(dirname(this.path));
  }

  /** Gives the file back; without `commit` before it, the `.partial` file stays as it is. */
  close(): void {
    if (this.open) closeSync(this.file);
    this.open = false;
  }
}

function headOf(tensors: readonly DeclaredTensor[], metadata: Readonly<Record<string, string>>): Buffer {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor);
    header[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  // The header is padded with spaces so that the data starts at a multiple of 8.
  let text = JSON.stringify(header);
  text += ' '.repeat((8 - (Buffer.byteLength(text) % 8)) % 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  return Buffer.concat([length, Buffer.from(text, 'utf8')]);
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, Math.min(bytes.length - at, 1 << 30));
}
