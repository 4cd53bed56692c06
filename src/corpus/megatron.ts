// Token files of Megatron-LM: `<prefix>.bin` with the tokens of all sequences, `<prefix>.idx` with their lengths.
//
// Layout of .idx (little-endian): "MMIDIDX\0\0"; uint64 version 1; uint8 type code (4 int32, 8 uint16); uint64 number
// of sequences S; uint64 entries of the document index D + 1; int32 length of each sequence [S]; int64 byte offset of
// each sequence in .bin [S]; int64 document index [D + 1]: document d is sequences [index[d], index[d+1]).
// Source: NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py.
//
// Does not: know what tokens mean.
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { UserError } from '../base/errors.ts';
import { PagedFile } from './paged-file.ts';

export type TokenType = 'uint16' | 'int32';

const magic = Buffer.from('MMIDIDX\0\0', 'latin1');
const headerBytes = 9 + 8 + 1 + 8 + 8;
const codes: Readonly<Record<TokenType, number>> = { int32: 4, uint16: 8 };
const sizes: Readonly<Record<TokenType, number>> = { int32: 4, uint16: 2 };

/** The narrowest type for a vocabulary: uint16 up to 65,536 entries (datatrove's rule, which Apertus' files follow). */
export function tokenTypeFor(vocabularySize: number): TokenType {
  return vocabularySize <= 65536 ? 'uint16' : 'int32';
}

/** Writes a pair of files; only lengths are kept in memory. */
export class MegatronWriter {
  readonly prefix: string;
  readonly type: TokenType;
  /** Tokens written. */
  tokens = 0;
  private readonly lengths: GrowingInt32;
  private readonly documentEnds: GrowingInt32;
  private readonly handle: number;
  private readonly buffer = Buffer.allocUnsafeSlow(1 << 18);
  private filled = 0;

  constructor(prefix: string, type: TokenType) {
    this.prefix = prefix;
    this.type = type;
    this.lengths = new GrowingInt32();
    this.documentEnds = new GrowingInt32();
    this.handle = openSync(`${prefix}.bin`, 'w');
  }

  get documents(): number {
    return this.documentEnds.length;
  }

  /** Adds a document of one sequence. */
  addDocument(ids: ArrayLike<number>): void {
    this.addSequence(ids);
    this.endDocument();
  }

  /** Adds a sequence to the document that is being written. */
  addSequence(ids: ArrayLike<number>): void {
    const size = sizes[this.type];
    const top = this.type === 'uint16' ? 0xffff : 0x7fffffff;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      if (!(id >= 0 && id <= top)) throw new Error(`MegatronWriter: ${id} is not a ${this.type} token`);
      if (this.filled + size > this.buffer.length) this.flush();
      if (size === 2) this.buffer.writeUInt16LE(id, this.filled);
      else this.buffer.writeInt32LE(id, this.filled);
      this.filled += size;
    }
    this.lengths.push(ids.length);
    this.tokens += ids.length;
  }

  endDocument(): void {
    this.documentEnds.push(this.lengths.length);
  }

  /** Flushes the tokens and writes the index. */
  close(): void {
    this.flush();
    fsyncSync(this.handle);
    closeSync(this.handle);
    const size = sizes[this.type];
    const lengths = this.lengths.values();
    const ends = this.documentEnds.values();
    const index = openSync(`${this.prefix}.idx`, 'w');
    const header = Buffer.alloc(headerBytes);
    magic.copy(header);
    header.writeBigUInt64LE(1n, 9);
    header.writeUInt8(codes[this.type], 17);
    header.writeBigUInt64LE(BigInt(lengths.length), 18);
    header.writeBigUInt64LE(BigInt(ends.length + 1), 26);
    writeAll(index, header);
    writeAll(index, littleEndian32(lengths));
    let offset = 0;
    writeInt64s(index, lengths.length, (i) => {
      const start = offset;
      offset += (lengths[i] as number) * size;
      return start;
    });
    writeInt64s(index, ends.length + 1, (i) => (i === 0 ? 0 : (ends[i - 1] as number)));
    fsyncSync(index);
    closeSync(index);
  }

  private flush(): void {
    writeAll(this.handle, this.buffer.subarray(0, this.filled));
    this.filled = 0;
  }
}

/** Reads a pair of files by random access; memory does not grow with their size. */
export class MegatronReader {
  readonly prefix: string;
  readonly type: TokenType;
  readonly sequences: number;
  readonly documents: number;
  /** Tokens in the .bin file. */
  readonly tokens: number;
  private readonly index: PagedFile;
  private readonly bin: PagedFile;
  private readonly small = Buffer.alloc(8);

  constructor(prefix: string) {
    this.prefix = prefix;
    const path = `${prefix}.idx`;
    this.index = new PagedFile(path);
    const refuse = (found: string, expected: string): never => {
      throw new UserError(`${path} is not a whole Megatron token index`, {
        found,
        expected,
        next: 'run the stage that packs documents again',
      });
    };
    const { bytes } = this.index;
    if (bytes < headerBytes) refuse(`${bytes} bytes`, `at least ${headerBytes} bytes of header`);
    const header = Buffer.alloc(headerBytes);
    this.index.read(0, header);
    if (!header.subarray(0, 9).equals(magic)) {
      refuse(JSON.stringify(header.toString('latin1', 0, 9)), JSON.stringify(magic.toString('latin1')));
    }
    const version = header.readBigUInt64LE(9);
    if (version !== 1n) refuse(`version ${version}`, 'version 1');
    const code = header.readUInt8(17);
    const type = (Object.keys(codes) as TokenType[]).find((name) => codes[name] === code);
    if (!type) refuse(`type code ${code}`, '4 (int32) or 8 (uint16)');
    this.type = type as TokenType;
    this.sequences = Number(header.readBigUInt64LE(18));
    this.documents = Number(header.readBigUInt64LE(26)) - 1;
    const whole = headerBytes + 12 * this.sequences + 8 * (this.documents + 1);
    if (bytes !== whole || this.documents < 0) {
      refuse(`${bytes} bytes`, `${whole} bytes for ${this.sequences} sequences and ${this.documents} documents`);
    }
    if (this.documentStart(0) !== 0 || this.documentStart(this.documents) !== this.sequences) {
      refuse(
        `a document index from ${this.documentStart(0)} to ${this.documentStart(this.documents)}`,
        `from 0 to ${this.sequences}`,
      );
    }
    this.bin = new PagedFile(`${prefix}.bin`);
    const size = sizes[this.type];
    const last = this.sequences - 1;
    const end = last < 0 ? 0 : this.sequenceOffset(last) + this.sequenceLength(last) * size;
    if (this.bin.bytes !== end) {
      throw new UserError(`${prefix}.bin does not belong to its index`, {
        found: `${this.bin.bytes} bytes`,
        expected: `${end} bytes of ${this.type} tokens`,
        next: 'the file was cut short or replaced; run the stage that packs documents again',
      });
    }
    this.tokens = this.bin.bytes / size;
  }

  /** Tokens of a sequence. */
  sequenceLength(sequence: number): number {
    this.check(sequence, this.sequences, 'sequence');
    this.index.read(headerBytes + 4 * sequence, this.small.subarray(0, 4));
    return this.small.readInt32LE(0);
  }

  /** The first sequence of a document; of `documents`, the number of sequences. */
  documentStart(document: number): number {
    this.check(document, this.documents + 1, 'document');
    return this.int64(headerBytes + 12 * this.sequences + 8 * document);
  }

  /** Lengths of all sequences [sequences]. */
  lengths(): Int32Array {
    const bytes = Buffer.allocUnsafe(4 * this.sequences);
    this.index.read(headerBytes, bytes);
    const lengths = new Int32Array(this.sequences);
    for (let i = 0; i < lengths.length; i++) lengths[i] = bytes.readInt32LE(4 * i);
    return lengths;
  }

  /** Tokens [from, to) of a sequence, copied into `into` at `at`. */
  readInto(sequence: number, from: number, to: number, into: Int32Array, at: number): void {
    const length = this.sequenceLength(sequence);
    if (from < 0 || to > length || from > to) {
      throw new Error(`MegatronReader: tokens [${from}, ${to}) are not in sequence ${sequence} of ${length} tokens`);
    }
    const size = sizes[this.type];
    const bytes = Buffer.allocUnsafe((to - from) * size);
    this.bin.read(this.sequenceOffset(sequence) + from * size, bytes);
    if (size === 2) for (let i = 0; i < to - from; i++) into[at + i] = bytes.readUInt16LE(2 * i);
    else for (let i = 0; i < to - from; i++) into[at + i] = bytes.readInt32LE(4 * i);
  }

  sequence(sequence: number): Int32Array {
    const ids = new Int32Array(this.sequenceLength(sequence));
    this.readInto(sequence, 0, ids.length, ids, 0);
    return ids;
  }

  /** All tokens of a document, its sequences joined. */
  documentTokens(document: number): Int32Array {
    const first = this.documentStart(document);
    const end = this.documentStart(document + 1);
    let total = 0;
    for (let s = first; s < end; s++) total += this.sequenceLength(s);
    const ids = new Int32Array(total);
    let at = 0;
    for (let s = first; s < end; s++) {
      const length = this.sequenceLength(s);
      this.readInto(s, 0, length, ids, at);
      at += length;
    }
    return ids;
  }

  /** Reads the whole index and says everything that is wrong with it; empty when nothing is. */
  validate(): string[] {
    const problems: string[] = [];
    const size = sizes[this.type];
    let expected = 0;
    for (let s = 0; s < this.sequences && problems.length < 10; s++) {
      const length = this.sequenceLength(s);
      const offset = this.sequenceOffset(s);
      if (length < 0) problems.push(`sequence ${s} has length ${length}`);
      if (offset !== expected)
        problems.push(`sequence ${s} begins at byte ${offset}, the one before ends at ${expected}`);
      expected = offset + length * size;
    }
    for (let d = 0; d < this.documents && problems.length < 10; d++) {
      if (this.documentStart(d + 1) < this.documentStart(d)) problems.push(`document ${d} ends before it begins`);
    }
    return problems;
  }

  close(): void {
    this.index.close();
    this.bin.close();
  }

  private sequenceOffset(sequence: number): number {
    return this.int64(headerBytes + 4 * this.sequences + 8 * sequence);
  }

  private int64(at: number): number {
    this.index.read(at, this.small);
    return Number(this.small.readBigInt64LE(0));
  }

  private check(value: number, end: number, what: string): void {
    if (!(value >= 0 && value < end)) throw new Error(`MegatronReader: ${what} ${value} is not in [0, ${end})`);
  }
}

/** Joins token files of one type, in the order given, into a new pair. */
export function mergeMegatron(prefixes: readonly string[], out: string): void {
  const types = prefixes.map((prefix) => {
    const reader = new MegatronReader(prefix);
    reader.close();
    return reader.type;
  });
  const [type] = types;
  if (type === undefined) throw new Error('mergeMegatron: nothing to merge');
  const odd = types.findIndex((other) => other !== type);
  if (odd >= 0) {
    throw new UserError('token files of different types cannot be merged', {
      found: `${prefixes[odd]} holds ${types[odd]}`,
      expected: `${type}, as ${prefixes[0]}`,
    });
  }
  const writer = new MegatronWriter(out, type);
  for (const prefix of prefixes) {
    const reader = new MegatronReader(prefix);
    for (let d = 0; d < reader.documents; d++) {
      const end = reader.documentStart(d + 1);
      for (let s = reader.documentStart(d); s < end; s++) writer.addSequence(reader.sequence(s));
      writer.endDocument();
    }
    reader.close();
  }
  writer.close();
}

/** An Int32Array that grows. */
class GrowingInt32 {
  length = 0;
  private data = new Int32Array(1024);

  push(value: number): void {
    if (this.length === this.data.length) {
      const larger = new Int32Array(this.length * 2);
      larger.set(this.data);
      this.data = larger;
    }
    this.data[this.length++] = value;
  }

  values(): Int32Array {
    return this.data.subarray(0, this.length);
  }
}

function writeAll(handle: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(handle, bytes, at, bytes.length - at);
}

function littleEndian32(values: Int32Array): Buffer {
  const bytes = Buffer.allocUnsafe(4 * values.length);
  for (let i = 0; i < values.length; i++) bytes.writeInt32LE(values[i] as number, 4 * i);
  return bytes;
}

function writeInt64s(handle: number, count: number, value: (i: number) => number): void {
  const piece = 1 << 15;
  const bytes = Buffer.allocUnsafe(8 * Math.min(piece, count));
  for (let start = 0; start < count; start += piece) {
    const n = Math.min(piece, count - start);
    for (let i = 0; i < n; i++) bytes.writeBigInt64LE(BigInt(value(start + i)), 8 * i);
    writeAll(handle, bytes.subarray(0, 8 * n));
  }
}
