// Token files of Megatron-LM: `<prefix>.bin` with the tokens of all sequences, one after another and little-endian, and
// `<prefix>.idx`, which says where each begins and which of them are a document (megatron-index.ts has the layout).
//
// Does not: know what tokens mean.
import { closeSync, fsyncSync, openSync } from 'node:fs';
import { endianness } from 'node:os';
import { UserError } from '../base/errors.ts';
import {
  damagedIndex,
  headerBytes,
  longestSequence,
  readIndexHeader,
  type TokenType,
  tokenBytes,
  writeAll,
  writeIndex,
} from './megatron-index.ts';
import { PagedFile } from './paged-file.ts';

export { type TokenType, tokenTypeFor } from './megatron-index.ts';

/** Writes a pair of files; only lengths are kept in memory. */
export class MegatronWriter {
  readonly prefix: string;
  readonly type: TokenType;
  /** Tokens written. */
  tokens = 0;
  private readonly lengths = new GrowingInt32();
  private readonly documentEnds = new GrowingInt32();
  private readonly handle: number;
  private readonly buffer: TokenBuffer;
  private filled = 0;

  constructor(prefix: string, type: TokenType) {
    this.prefix = prefix;
    this.type = type;
    this.buffer = tokenBuffer(type, 1 << 18);
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
    if (ids.length > longestSequence)
      throw new Error(`MegatronWriter: ${ids.length} tokens are too many for a sequence`);
    const top = this.type === 'uint16' ? 0xffff : 0x7fffffff;
    const { tokens } = this.buffer;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      if ((id & top) !== id) throw new Error(`MegatronWriter: ${id} is not a ${this.type} token`);
      if (this.filled === tokens.length) this.flush();
      tokens[this.filled++] = id;
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
    const lengths = this.lengths.values();
    const ends = this.documentEnds.values();
    if ((ends.at(-1) ?? 0) !== lengths.length) throw new Error('MegatronWriter: the last document was not ended');
    writeIndex(`${this.prefix}.idx`, {
      type: this.type,
      sequences: lengths.length,
      documents: ends.length,
      lengths: () => lengths,
      documentEnds: () => ends,
    });
  }

  private flush(): void {
    const bytes = this.buffer.bytes.subarray(0, this.filled * tokenBytes[this.type]);
    turn(bytes, this.type);
    writeAll(this.handle, bytes);
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
  private readonly tokenBytes: number;
  private readonly scratch: TokenBuffer;

  /** Reads the header and checks sizes; what stands in the index is checked where it is used, and by checkTokenFile. */
  constructor(prefix: string) {
    this.prefix = prefix;
    const open: PagedFile[] = [];
    try {
      open.push((this.index = new PagedFile(`${prefix}.idx`)));
      const { type, sequences, documents } = readIndexHeader(this.index);
      this.type = type;
      this.tokenBytes = tokenBytes[type];
      this.scratch = tokenBuffer(type, 1 << 14);
      this.sequences = sequences;
      this.documents = documents;
      const [first, end] = [this.index.int64(this.documentAt(0)), this.index.int64(this.documentAt(documents))];
      if (first !== 0 || end !== sequences) {
        throw this.damaged(`documents from sequence ${first} to ${end}`, `from 0 to ${sequences}`);
      }
      open.push((this.bin = new PagedFile(`${prefix}.bin`)));
      const last = sequences - 1;
      const whole = last < 0 ? 0 : this.sequenceOffset(last) + this.sequenceLength(last) * this.tokenBytes;
      if (this.bin.bytes !== whole) {
        throw new UserError(`${prefix}.bin does not belong to its index`, {
          found: `${this.bin.bytes} bytes`,
          expected: `${whole} bytes of ${type} tokens, where the last sequence of ${prefix}.idx ends`,
          next: 'the file was cut short or replaced; make the pair again',
        });
      }
      this.tokens = whole / this.tokenBytes;
    } catch (error) {
      for (const file of open) file.close();
      throw error;
    }
  }

  /** Tokens of a sequence. */
  sequenceLength(sequence: number): number {
    this.check(sequence, this.sequences, 'sequence');
    const length = this.index.int32(headerBytes + 4 * sequence);
    if (length < 0) throw this.damaged(`sequence ${sequence} of ${length} tokens`, 'lengths of 0 and more');
    return length;
  }

  /** Byte of .bin where a sequence begins. */
  sequenceOffset(sequence: number): number {
    this.check(sequence, this.sequences, 'sequence');
    return this.index.int64(headerBytes + 4 * this.sequences + 8 * sequence);
  }

  /** The first sequence of a document; of `documents`, the number of sequences. */
  documentStart(document: number): number {
    this.check(document, this.documents + 1, 'document');
    const start = this.index.int64(this.documentAt(document));
    if (!(start >= 0 && start <= this.sequences)) {
      throw this.damaged(`document ${document} at sequence ${start}`, `sequences 0 to ${this.sequences}`);
    }
    return start;
  }

  /** Lengths of all sequences [sequences]; they must add up to the tokens of .bin. */
  lengths(): Int32Array {
    const lengths = new Int32Array(this.sequences);
    const piece = Buffer.allocUnsafe(1 << 18);
    let total = 0;
    for (let start = 0; start < lengths.length; start += piece.length / 4) {
      const count = Math.min(piece.length / 4, lengths.length - start);
      this.index.read(headerBytes + 4 * start, piece.subarray(0, 4 * count));
      for (let i = 0; i < count; i++) {
        const length = piece.readInt32LE(4 * i);
        if (length < 0) throw this.damaged(`sequence ${start + i} of ${length} tokens`, 'lengths of 0 and more');
        lengths[start + i] = length;
        total += length;
      }
    }
    if (total !== this.tokens)
      throw this.damaged(`sequences of ${total} tokens in all`, `${this.tokens}, as .bin holds`);
    return lengths;
  }

  /** Copies tokens [from, to) of a sequence to `into` at `at`. */
  readInto(sequence: number, from: number, to: number, into: Int32Array, at: number): void {
    const length = this.sequenceLength(sequence);
    if (!(from >= 0 && to <= length && from <= to)) {
      throw new Error(`MegatronReader: tokens [${from}, ${to}) are not in sequence ${sequence} of ${length} tokens`);
    }
    this.copyTokens(sequence, length, from, to - from, into, at);
  }

  /** Copies the tokens from `from` on, at most `most`, to `into` at `at`; how many there were. */
  readFrom(sequence: number, from: number, most: number, into: Int32Array, at: number): number {
    const length = this.sequenceLength(sequence);
    const count = Math.min(most, length - from);
    if (!(from >= 0 && count >= 0)) {
      throw new Error(`MegatronReader: token ${from} is not in sequence ${sequence} of ${length} tokens`);
    }
    this.copyTokens(sequence, length, from, count, into, at);
    return count;
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
    if (end < first)
      throw this.damaged(`document ${document} from sequence ${first} to ${end}`, 'ends after beginnings');
    let total = 0;
    for (let s = first; s < end; s++) total += this.sequenceLength(s);
    const ids = new Int32Array(total);
    let at = 0;
    for (let s = first; s < end; s++) at += this.readFrom(s, 0, total - at, ids, at);
    return ids;
  }

  close(): void {
    this.index.close();
    this.bin.close();
  }

  private copyTokens(
    sequence: number,
    length: number,
    from: number,
    count: number,
    into: Int32Array,
    at: number,
  ): void {
    const size = this.tokenBytes;
    const offset = this.sequenceOffset(sequence);
    if (!(offset >= 0 && offset + length * size <= this.bin.bytes)) {
      throw this.damaged(
        `sequence ${sequence} at bytes ${offset} to ${offset + length * size}`,
        `places in the ${this.bin.bytes} bytes of .bin`,
      );
    }
    const { tokens, bytes } = this.scratch;
    for (let done = 0; done < count; ) {
      const part = Math.min(count - done, tokens.length);
      const read = bytes.subarray(0, part * size);
      this.bin.read(offset + (from + done) * size, read);
      turn(read, this.type);
      into.set(tokens.subarray(0, part), at + done);
      done += part;
    }
  }

  /** Byte of .idx where a document's first sequence stands. */
  private documentAt(document: number): number {
    return headerBytes + 12 * this.sequences + 8 * document;
  }

  private damaged(found: string, expected: string): UserError {
    return damagedIndex(`${this.prefix}.idx`, found, expected);
  }

  private check(value: number, end: number, what: string): void {
    if (!(value >= 0 && value < end)) throw new Error(`MegatronReader: ${what} ${value} is not in [0, ${end})`);
  }
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

/** The same memory as tokens and as the bytes of a file. */
interface TokenBuffer {
  readonly tokens: Uint16Array | Int32Array;
  readonly bytes: Buffer;
}

function tokenBuffer(type: TokenType, size: number): TokenBuffer {
  const bytes = Buffer.allocUnsafeSlow(size);
  const length = size / tokenBytes[type];
  const tokens = type === 'uint16' ? new Uint16Array(bytes.buffer, 0, length) : new Int32Array(bytes.buffer, 0, length);
  return { tokens, bytes };
}

/** Files are little-endian; where the machine is not, the bytes of each token are turned round. */
function turn(bytes: Buffer, type: TokenType): void {
  if (endianness() === 'LE') return;
  if (type === 'uint16') bytes.swap16();
  else bytes.swap32();
}
