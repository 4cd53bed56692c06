// The layout of Megatron's token index (.idx): constants, header, and writing the three tables in a stream.
//
// Little-endian: "MMIDIDX\0\0"; uint64 version 1; uint8 type code (4 int32, 8 uint16); uint64 number of sequences S;
// uint64 entries of the document index D + 1; int32 length of each sequence [S]; int64 byte offset of each sequence in
// .bin [S]; int64 document index [D + 1]: document d is sequences [index[d], index[d+1]).
// Source: NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py.
//
// Does not: know about .bin; megatron.ts does.
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { UserError } from '../base/errors.ts';
import type { PagedFile } from './paged-file.ts';

export type TokenType = 'uint16' | 'int32';

const magicText = 'MMIDIDX\0\0';
const magic = Buffer.from(magicText, 'latin1');
/** Bytes before the lengths. */
export const headerBytes = 9 + 8 + 1 + 8 + 8;
const codes: Readonly<Record<TokenType, number>> = { int32: 4, uint16: 8 };
/** Types that Megatron knows and we do not read. */
const otherTypes: Readonly<Record<number, string>> = {
  1: 'uint8',
  2: 'int8',
  3: 'int16',
  5: 'int64',
  6: 'float64',
  7: 'float32',
};
/** Bytes of a token. */
export const tokenBytes: Readonly<Record<TokenType, number>> = { int32: 4, uint16: 2 };
/** The longest sequence the format can name. */
export const longestSequence = 2 ** 31 - 1;

/** The narrowest type for a vocabulary: uint16 up to 65,536 entries (datatrove's rule, which Apertus' files follow). */
export function tokenTypeFor(vocabularySize: number): TokenType {
  return vocabularySize <= 65536 ? 'uint16' : 'int32';
}

export interface IndexHeader {
  readonly type: TokenType;
  readonly sequences: number;
  readonly documents: number;
}

/** What a damaged index is refused with. */
export function damagedIndex(path: string, found: string, expected: string): UserError {
  return new UserError(`${path} is not a whole Megatron token index`, {
    found,
    expected,
    next: 'the file was cut short, damaged or made by another program; make the pair again',
  });
}

/** The header of an index whose size fits it; else a UserError that says what is wrong. */
export function readIndexHeader(file: PagedFile): IndexHeader {
  const refuse = (found: string, expected: string): never => {
    throw damagedIndex(file.path, found, expected);
  };
  const { bytes } = file;
  if (bytes < headerBytes) refuse(`${bytes} bytes`, `at least ${headerBytes} bytes of header`);
  const header = Buffer.alloc(headerBytes);
  file.read(0, header);
  if (!header.subarray(0, 9).equals(magic)) {
    refuse(`a file that begins with ${JSON.stringify(header.toString('latin1', 0, 9))}`, JSON.stringify(magicText));
  }
  const version = header.readBigUInt64LE(9);
  if (version !== 1n) refuse(`version ${version}`, 'version 1');
  const code = header.readUInt8(17);
  const type = (Object.keys(codes) as TokenType[]).find((name) => codes[name] === code);
  if (!type) refuse(`type code ${code} (${otherTypes[code] ?? 'none of Megatron'})`, '4 (int32) or 8 (uint16)');
  const counts = { sequences: header.readBigUInt64LE(18), entries: header.readBigUInt64LE(26) };
  // With BigInt, because a damaged count may be any 64-bit number.
  const whole = BigInt(headerBytes) + 12n * counts.sequences + 8n * counts.entries;
  if (counts.sequences > 0n && BigInt(bytes) === whole + counts.sequences) {
    refuse('a multimodal index (a mode for each sequence)', 'one of text alone');
  }
  if (counts.entries === 0n || BigInt(bytes) !== whole) {
    refuse(
      `${bytes} bytes`,
      `${whole} bytes for ${counts.sequences} sequences and ${counts.entries} entries of the document index`,
    );
  }
  return { type: type as TokenType, sequences: Number(counts.sequences), documents: Number(counts.entries) - 1 };
}

/** The tables of an index; each is gone through once. */
export interface IndexTables extends IndexHeader {
  /** [sequences] tokens of each. */
  readonly lengths: () => Iterable<number>;
  /** [documents] the sequence after the last one of each. */
  readonly documentEnds: () => Iterable<number>;
}

/** Writes a whole index and flushes it to the disk; memory does not grow with the tables. */
export function writeIndex(path: string, tables: IndexTables): void {
  const header = Buffer.alloc(headerBytes);
  magic.copy(header);
  header.writeBigUInt64LE(1n, 9);
  header.writeUInt8(codes[tables.type], 17);
  header.writeBigUInt64LE(BigInt(tables.sequences), 18);
  header.writeBigUInt64LE(BigInt(tables.documents + 1), 26);
  const handle = openSync(path, 'w');
  try {
    const out = new IntegerStream(handle);
    out.bytes(header);
    for (const length of tables.lengths()) out.int32(length);
    let offset = 0;
    for (const length of tables.lengths()) {
      out.int64(offset);
      offset += length * tokenBytes[tables.type];
    }
    out.int64(0);
    for (const end of tables.documentEnds()) out.int64(end);
    out.flush();
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Appends numbers to a file through one buffer. */
class IntegerStream {
  private readonly handle: number;
  private readonly buffer = Buffer.allocUnsafeSlow(1 << 17);
  private filled = 0;

  constructor(handle: number) {
    this.handle = handle;
  }

  bytes(bytes: Uint8Array): void {
    this.room(bytes.length);
    this.buffer.set(bytes, this.filled);
    this.filled += bytes.length;
  }

  int32(value: number): void {
    this.room(4);
    this.buffer.writeInt32LE(value, this.filled);
    this.filled += 4;
  }

  /** A number from 0 to 2^53. */
  int64(value: number): void {
    this.room(8);
    this.buffer.writeUInt32LE(value % 4294967296, this.filled);
    this.buffer.writeUInt32LE(Math.floor(value / 4294967296), this.filled + 4);
    this.filled += 8;
  }

  flush(): void {
    writeAll(this.handle, this.buffer.subarray(0, this.filled));
    this.filled = 0;
  }

  private room(bytes: number): void {
    if (this.filled + bytes > this.buffer.length) this.flush();
  }
}

/** Writes all of some bytes; one call of the system may write less. */
export function writeAll(handle: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(handle, bytes, at, bytes.length - at);
}
