// safetensors files: 8-byte little-endian header length, JSON header, raw little-endian data.
//
// Reading maps names to positions and fetches one tensor at a time; a file that is truncated, overlaps itself or lies
// about sizes is refused with what is wrong. Writing goes aside, is flushed and renamed.
//
// Does not: know models; model/hf-folder.ts does.
import { closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { syncFolder } from '../base/atomic.ts';
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

export interface TensorInfo {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First and last byte (exclusive) in the data part. */
  readonly data_offsets: readonly [number, number];
}

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
    const refuse = (found: string, expected: string): never => {
      closeSync(this.file);
      throw new UserError(`${path} is not a whole safetensors file`, {
        found,
        expected,
        next: 'copy or export it again',
      });
    };
    const { size } = fstatSync(this.file);
    const head = Buffer.alloc(8);
    if (readSync(this.file, head, 0, 8, 0) < 8) refuse(`${size} bytes`, 'at least 8');
    const length = Number(head.readBigUInt64LE());
    // The reference implementation allows headers up to 100 MB.
    if (length > 100_000_000 || 8 + length > size)
      refuse(`a header of ${length} bytes in a file of ${size}`, 'a header inside the file');
    const text = Buffer.alloc(length);
    readSync(this.file, text, 0, length, 8);
    let header: Record<string, unknown> = {};
    try {
      header = JSON.parse(text.toString('utf8')) as Record<string, unknown>;
    } catch (cause) {
      refuse(`a header that is not JSON (${errorText(cause)})`, 'a JSON header');
    }
    this.dataStart = 8 + length;
    const available = size - this.dataStart;
    const { __metadata__: metadata = {}, ...entries } = header;
    this.metadata = metadata as Record<string, string>;
    const tensors = new Map<string, TensorInfo>();
    let covered = 0;
    const sorted = Object.entries(entries).map(([name, value]) => [name, value as TensorInfo] as const);
    for (const [name, info] of sorted) {
      const [from, to] = info?.data_offsets ?? [];
      const width = bytesOf[info?.dtype ?? ''];
      if (width === undefined) refuse(`${name} of dtype ${String(info?.dtype)}`, Object.keys(bytesOf).join(', '));
      const elements = (info.shape ?? []).reduce((product, dimension) => product * dimension, 1);
      if (
        !Number.isSafeInteger(from) ||
        !Number.isSafeInteger(to) ||
        (to as number) - (from as number) !== elements * (width as number)
      ) {
        refuse(
          `${name}: offsets ${from}..${to} for shape [${info.shape}] of ${info.dtype}`,
          `${elements * (width as number)} bytes`,
        );
      }
      if ((from as number) < 0 || (to as number) > available) {
        refuse(`${name} ends at byte ${to} of ${available} (truncated?)`, 'all tensors inside the file');
      }
      covered += (to as number) - (from as number);
      tensors.set(name, info);
    }
    if (covered !== available)
      refuse(`${covered} bytes of tensors in ${available} bytes of data`, 'tensors that fill the file once');
    this.tensors = tensors;
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

/** Writes tensors in the given order as float32 or bfloat16 (nearest even), atomically. */
export function writeSafetensors(
  path: string,
  tensors: readonly NewTensor[],
  dtype: Dtype,
  backend: Backend,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): void {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const { name, shape, values } of tensors) {
    const bytes = values.length * (dtype === 'F32' ? 4 : 2);
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  // The header is padded with spaces so that the data starts at a multiple of 8.
  let text = JSON.stringify(header);
  text += ' '.repeat((8 - (Buffer.byteLength(text) % 8)) % 8);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  const aside = `${path}.partial`;
  const file = openSync(aside, 'w');
  try {
    writeAll(file, head);
    writeAll(file, Buffer.from(text, 'utf8'));
    for (const { values } of tensors) {
      if (dtype === 'F32') {
        writeAll(file, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      } else {
        const rounded = new Uint16Array(values.length);
        backend.toBf16(values.length, values, rounded);
        writeAll(file, new Uint8Array(rounded.buffer));
      }
    }
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(aside, path);
  syncFolder(dirname(path));
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, Math.min(bytes.length - at, 1 << 30));
}
