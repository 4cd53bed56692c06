// Arrays of numpy on disk (.npy), as far as Megatron's index files use them: little-endian integers in one or two
// dimensions. Written in a stream, read by random access, so neither needs memory for the array.
//
// Layout: "\x93NUMPY", version 1.0, uint16 length of the header; the header, a Python dictionary in ASCII that is
// filled with spaces up to a multiple of 64 bytes and ends with a line feed; the numbers, row by row. The header is
// written with the spaces numpy leaves for a longer first dimension, so files equal numpy.save byte for byte.
// Source: numpy, numpy/lib/format.py (format version 1.0).
//
// Does not: read other types, Fortran order, or later versions of the format.
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { PagedFile } from './paged-file.ts';

export type NpyType = 'int16' | 'int32' | 'uint32' | 'int64';

const descriptions: Readonly<Record<NpyType, string>> = { int16: '<i2', int32: '<i4', uint32: '<u4', int64: '<i8' };
const sizes: Readonly<Record<NpyType, number>> = { int16: 2, int32: 4, uint32: 4, int64: 8 };
const magic = Buffer.from('\x93NUMPY\x01\x00', 'latin1');
/** Decimal digits of the largest 64-bit dimension: numpy keeps this much room for the first one to grow. */
const growthDigits = 21;
const alignment = 64;
const twoTo32 = 4294967296;

/** The bytes before the numbers of an array. */
export function npyHeader(type: NpyType, shape: readonly number[]): Buffer {
  const dimensions = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const room = ' '.repeat(Math.max(0, growthDigits - String(shape[0]).length));
  const text = `{'descr': '${descriptions[type]}', 'fortran_order': False, 'shape': (${dimensions}), }${room}`;
  // At least one byte of filling, also where the text would fit exactly.
  const whole = (Math.floor((magic.length + 2 + text.length + 1) / alignment) + 1) * alignment;
  const header = Buffer.alloc(whole, ' ');
  magic.copy(header);
  header.writeUInt16LE(whole - magic.length - 2, magic.length);
  header.write(text, magic.length + 2, 'latin1');
  header.write('\n', whole - 1, 'latin1');
  return header;
}

/** Bytes of a whole file. */
export function npyBytes(type: NpyType, shape: readonly number[]): number {
  return npyHeader(type, shape).length + sizes[type] * shape.reduce((product, length) => product * length, 1);
}

/** Writes an array whose shape is known, number by number; what is written is hashed on the way. */
export class NpyWriter {
  readonly path: string;
  private readonly type: NpyType;
  private readonly handle: number;
  private readonly buffer = Buffer.allocUnsafeSlow(1 << 16);
  private readonly hash = createHash('sha256');
  private filled = 0;
  private written = 0;
  private open = true;
  /** Numbers that are still to come. */
  private missing: number;

  constructor(path: string, type: NpyType, shape: readonly number[]) {
    this.path = path;
    this.type = type;
    this.missing = shape.reduce((product, length) => product * length, 1);
    this.handle = openSync(path, 'w');
    const header = npyHeader(type, shape);
    header.copy(this.buffer);
    this.filled = header.length;
  }

  push(value: number): void {
    if (this.filled + 8 > this.buffer.length) this.flush();
    const { buffer, filled } = this;
    switch (this.type) {
      case 'int16':
        buffer.writeInt16LE(value, filled);
        break;
      case 'int32':
        buffer.writeInt32LE(value, filled);
        break;
      case 'uint32':
        buffer.writeUInt32LE(value, filled);
        break;
      case 'int64':
        buffer.writeUInt32LE(((value % twoTo32) + twoTo32) % twoTo32, filled);
        buffer.writeInt32LE(Math.floor(value / twoTo32), filled + 4);
    }
    this.filled += sizes[this.type];
    this.missing--;
  }

  /** Flushes the file to the disk; its size and SHA-256. */
  close(): { readonly bytes: number; readonly sha256: string } {
    this.flush();
    fsyncSync(this.handle);
    this.abort();
    if (this.missing !== 0) throw new Error(`NpyWriter: ${this.path} lacks ${this.missing} numbers`);
    return { bytes: this.written, sha256: this.hash.digest('hex') };
  }

  /** Gives the file up as it is; does nothing after `close`. */
  abort(): void {
    if (this.open) closeSync(this.handle);
    this.open = false;
  }

  private flush(): void {
    const bytes = this.buffer.subarray(0, this.filled);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.handle, bytes, at, bytes.length - at);
    this.hash.update(bytes);
    this.written += bytes.length;
    this.filled = 0;
  }
}

/** An array on disk, read number by number. */
export class NpyFile {
  readonly type: NpyType;
  readonly shape: readonly number[];
  private readonly file: PagedFile;
  private readonly start: number;

  /** Throws an Error that says what is wrong with the file where it is not a whole array of ours. */
  constructor(path: string) {
    this.file = new PagedFile(path);
    try {
      const { type, shape, start } = parseHeader(this.file);
      const whole = start + sizes[type] * shape.reduce((product, length) => product * length, 1);
      if (this.file.bytes !== whole)
        throw new Error(`${path} has ${this.file.bytes} bytes, its header asks for ${whole}`);
      this.type = type;
      this.shape = shape;
      this.start = start;
    } catch (error) {
      this.file.close();
      throw error;
    }
  }

  get path(): string {
    return this.file.path;
  }

  /** The i-th number, rows one after another. */
  at(i: number): number {
    switch (this.type) {
      case 'int16':
        return this.file.int16(this.start + 2 * i);
      case 'int32':
        return this.file.int32(this.start + 4 * i);
      case 'uint32':
        return this.file.int32(this.start + 4 * i) >>> 0;
      case 'int64':
        return this.file.int64(this.start + 8 * i);
    }
  }

  close(): void {
    this.file.close();
  }
}

function parseHeader(file: PagedFile): { type: NpyType; shape: number[]; start: number } {
  const fail = (what: string): never => {
    throw new Error(`${file.path} ${what}`);
  };
  const first = Buffer.alloc(magic.length + 2);
  if (file.bytes < first.length) fail('is too short for an array of numpy');
  file.read(0, first);
  if (!first.subarray(0, magic.length).equals(magic)) fail('is not an array of numpy (format version 1.0)');
  const start = first.length + first.readUInt16LE(magic.length);
  if (file.bytes < start) fail('ends in its header');
  const text = Buffer.alloc(start - first.length);
  file.read(first.length, text);
  const pattern = /^\{'descr': '([^']+)', 'fortran_order': False, 'shape': \((\d+(?:, \d+)*),?\), \} *\n$/;
  const [, description = '', dimensions = ''] = pattern.exec(text.toString('latin1')) ?? fail('has another header');
  const type = (Object.keys(descriptions) as NpyType[]).find((name) => descriptions[name] === description);
  return {
    type: type ?? fail(`holds numbers of type ${description}`),
    shape: dimensions.split(', ').map(Number),
    start,
  };
}
