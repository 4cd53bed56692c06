// Reads columns of Parquet files page by page, whatever state they are in, and puts their values beside each other again.
//
// hyparquet reads the footer and the headers of pages. Pages are decoded here, because a row group may hold a million
// documents and hyparquet decodes one as a whole, and because every length in a damaged file may lie: a run of a billion
// values in four bytes is refused here before memory is taken for it. Values of columns that do not repeat are read, also
// those in structures (`metadata.url`). Lists and maps are not.
//
// Does not: know documents (parquet-documents.ts does), read encrypted files, LZO, decimals, dates or times.
import { type FileHandle, open } from 'node:fs/promises';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import {
  type ColumnChunk,
  type FileMetaData,
  type PageHeader,
  parquetMetadata,
  parquetSchema,
  type SchemaTree,
} from 'hyparquet';
import { parquetHeader } from 'hyparquet/src/column.js';
import { compressors } from 'hyparquet-compressors';
import { unzstd } from '../../base/zstd-frames.ts';

export type ParquetValue = Buffer | number | boolean | undefined;

export interface ParquetColumn {
  /** Names from the top, joined by dots. */
  readonly name: string;
  readonly type: 'bytes' | 'number' | 'boolean';
}

/** Some rows of a file, or what became of them. */
export type ParquetRows =
  | {
      /** Number of the first in the file, from 0. */
      readonly first: number;
      readonly count: number;
      /** Values by column, `count` each, from `at[column]` on. */
      readonly values: readonly (readonly ParquetValue[])[];
      readonly at: readonly number[];
      readonly problem?: undefined;
    }
  | { readonly first: number; readonly count: number; readonly problem: string };

/** Of the footer: a file of ten thousand row groups has a tenth of that. */
const maxFooter = 1 << 24;
/** Of a page once unpacked. DuckDB makes pages of 100 MB; others stay near 1 MB. */
const maxPage = 1 << 29;
/** Values of a page. */
const maxValues = 1 << 24;
/** Rows that a file of so many bytes can have in earnest. */
const maxRows = (bytes: number): number => 1_000_000 + 64 * bytes;
/** Headers of pages: statistics may hold long values. */
const headerBytes = [1 << 12, 1 << 16, 1 << 22];

class Broken extends Error {}

function broken(what: string): never {
  throw new Broken(what);
}

interface Leaf extends ParquetColumn {
  readonly physical: string;
  readonly unsigned: boolean;
  /** Level at which a value is there. */
  readonly maxDefinition: number;
}

/** An open Parquet file. */
export class ParquetFile {
  readonly columns: readonly ParquetColumn[];
  readonly numRows: number;
  private readonly file: FileHandle;
  readonly bytes: number;
  private readonly metadata: FileMetaData;
  private readonly leaves: ReadonlyMap<string, Leaf>;

  private constructor(file: FileHandle, bytes: number, metadata: FileMetaData, leaves: readonly Leaf[]) {
    this.file = file;
    this.bytes = bytes;
    this.metadata = metadata;
    this.leaves = new Map(leaves.map((leaf) => [leaf.name, leaf]));
    this.columns = leaves;
    this.numRows = metadata.row_groups.reduce((sum, group) => sum + Number(group.num_rows), 0);
  }

  /** Opens a file; a text says why it cannot be read. An error of the file system is thrown. */
  static async open(path: string): Promise<ParquetFile | string> {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const metadata = parquetMetadata(await readFooter(file, size), { geoparquet: false });
      const leaves = leavesOf(parquetSchema(metadata));
      const opened = new ParquetFile(file, size, metadata, leaves);
      if (!(opened.numRows <= maxRows(size))) broken(`${opened.numRows} rows in ${size} bytes`);
      return opened;
    } catch (error) {
      await file.close();
      if (isSystemError(error)) throw error;
      // Whatever else was thrown met a footer that makes no sense; its words may be the file's.
      return error instanceof Broken ? error.message : 'a footer that cannot be read';
    }
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  /**
   * The rows in order, with the values of `needed` and `wanted` columns. Where one that is needed is damaged its rows are
   * told as a problem; where one that is wanted is, its values are undefined.
   */
  async *rows(needed: readonly string[], wanted: readonly string[] = []): AsyncGenerator<ParquetRows> {
    let first = 0;
    for (const group of this.metadata.row_groups) {
      const rows = Number(group.num_rows);
      if (!(rows >= 0)) {
        yield { first, count: 0, problem: 'a row group with a wrong number of rows' };
        continue;
      }
      const chunks = new Map<string, ColumnChunk>();
      for (const chunk of group.columns ?? []) chunks.set(chunk.meta_data?.path_in_schema?.join('.') ?? '', chunk);
      const columns = [...needed, ...wanted].map(
        (name) => new ColumnPages(this.file, this.bytes, chunks.get(name), this.leaves.get(name) as Leaf, rows),
      );
      for (let row = 0; row < rows; ) {
        let count = rows - row;
        let problem: string | undefined;
        for (const [i, column] of columns.entries()) {
          await column.fill();
          count = Math.min(count, column.left);
          if (i < needed.length) problem ??= column.problem;
        }
        const at = columns.map((column) => column.at);
        if (problem === undefined) yield { first: first + row, count, values: columns.map(({ values }) => values), at };
        else yield { first: first + row, count, problem };
        for (const column of columns) column.skip(count);
        row += count;
      }
      first += rows;
    }
  }
}

async function readFooter(file: FileHandle, size: number): Promise<ArrayBuffer> {
  if (size < 12) broken('no Parquet file');
  const tail = await readAt(file, size - 8, 8);
  if (tail.toString('latin1', 4) !== 'PAR1') broken('no Parquet file, or its end is missing');
  const length = tail.readUInt32LE(0);
  if (length > size - 12) broken('the footer is longer than the file');
  if (length > maxFooter) broken(`a footer of ${length} bytes, the limit is ${maxFooter}`);
  const footer = await readAt(file, size - 8 - length, length + 8);
  return footer.buffer.slice(footer.byteOffset, footer.byteOffset + footer.length) as ArrayBuffer;
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) broken('the file is shorter than it says');
    done += bytesRead;
  }
  return bytes;
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

/** Columns whose values do not repeat and are of a kind that is read. */
function leavesOf(schema: SchemaTree): Leaf[] {
  const leaves: Leaf[] = [];
  const visit = (node: SchemaTree, maxDefinition: number): void => {
    for (const child of node.children) {
      const { element } = child;
      if (element.repetition_type === 'REPEATED') continue;
      const level = maxDefinition + (element.repetition_type === 'OPTIONAL' ? 1 : 0);
      if (child.children.length > 0) {
        visit(child, level);
        continue;
      }
      const physical = element.type ?? '';
      const type = valueTypes.get(physical);
      const kind = element.logical_type?.type ?? element.converted_type ?? 'INTEGER';
      if (type !== 'bytes' && !/^(?:INTEGER|U?INT_\d+)$/.test(kind)) continue;
      const logical = element.logical_type;
      const unsigned =
        type === 'number' && (kind.startsWith('U') || (logical?.type === 'INTEGER' && !logical.isSigned));
      if (type) leaves.push({ name: child.path.join('.'), type, physical, unsigned, maxDefinition: level });
    }
  };
  visit(schema, 0);
  return leaves;
}

const valueTypes: ReadonlyMap<string, ParquetColumn['type']> = new Map([
  ['BYTE_ARRAY', 'bytes'],
  ['INT32', 'number'],
  ['INT64', 'number'],
  ['FLOAT', 'number'],
  ['DOUBLE', 'number'],
  ['BOOLEAN', 'boolean'],
] as const);

/** The pages of one column in one row group, one at a time. */
class ColumnPages {
  /** Values of the page at hand; those before `at` are done. */
  values: ParquetValue[] = [];
  at = 0;
  /** Why the page at hand has no values. */
  problem: string | undefined;
  private numValues = 0;
  private readonly file: FileHandle;
  private readonly leaf: Leaf;
  private readonly codec: string = 'UNCOMPRESSED';
  private rows: number;
  private position = 0;
  private readonly end: number = 0;
  private dictionary: ParquetValue[] | undefined;
  /** Why nothing more can be read. */
  private dead: string | undefined;

  constructor(file: FileHandle, bytes: number, chunk: ColumnChunk | undefined, leaf: Leaf, rows: number) {
    this.file = file;
    this.leaf = leaf;
    this.rows = rows;
    const meta = chunk?.meta_data;
    if (!meta || chunk?.file_path) {
      this.dead = 'a column is not in the file';
      return;
    }
    const data = Number(meta.data_page_offset);
    const dictionary = Number(meta.dictionary_page_offset ?? 0);
    this.position = dictionary > 0 ? Math.min(data, dictionary) : data;
    this.end = this.position + Number(meta.total_compressed_size);
    this.codec = meta.codec;
    if (!(this.position >= 4 && this.end <= bytes && this.position <= this.end)) {
      this.dead = 'a column lies outside of the file';
    }
  }

  get left(): number {
    return this.numValues - this.at;
  }

  skip(count: number): void {
    this.at += count;
    this.rows -= count;
  }

  /** Makes at least one value available; there is at least one row left. */
  async fill(): Promise<void> {
    while (this.left <= 0) {
      this.at = 0;
      this.values = [];
      this.problem = undefined;
      this.numValues = 0;
      if (this.dead === undefined) await this.readPage();
      if (this.dead === undefined) continue;
      this.problem = this.dead;
      this.numValues = this.rows;
    }
  }

  private async readPage(): Promise<void> {
    let count: number | undefined;
    try {
      if (this.position >= this.end) broken('a column ends early');
      const header = await this.readHeader();
      const packed = header.compressed_page_size;
      const unpacked = header.uncompressed_page_size;
      if (!(packed >= 0 && this.position + packed <= this.end)) broken('a page lies outside of its column');
      const start = this.position;
      this.position += packed;
      const page = header.data_page_header ?? header.data_page_header_v2;
      if (header.type === 'INDEX_PAGE') return;
      if (header.type !== 'DICTIONARY_PAGE') count = page?.num_values;
      if (count !== undefined && !(count >= 0 && count <= this.rows)) {
        count = undefined;
        broken('a page with more values than rows');
      }
      if (!(unpacked >= 0 && unpacked <= maxPage)) broken(`a page of ${unpacked} bytes, the limit is ${maxPage}`);
      const bytes = await readAt(this.file, start, packed);
      if (header.type === 'DICTIONARY_PAGE') {
        const entries = header.dictionary_page_header?.num_values ?? -1;
        const content = await unpack(bytes, unpacked, this.codec);
        if (!(entries >= 0 && entries <= content.length)) broken('a dictionary with too many entries');
        this.dictionary = plain(content, entries, this.leaf.physical);
        return;
      }
      if (count === undefined) broken('a page of no known kind');
      this.values = await this.decode(header, bytes, count);
      this.numValues = count;
    } catch (error) {
      if (isSystemError(error)) throw error;
      const what = error instanceof Broken ? error.message : 'a page that cannot be read';
      // Where the header of the page was whole, the next page begins at a known row.
      if (count === undefined) {
        this.dead = what;
      } else {
        this.problem = what;
        this.numValues = count;
      }
    }
  }

  private async readHeader(): Promise<PageHeader> {
    for (const most of headerBytes) {
      const length = Math.min(most, this.end - this.position);
      const bytes = await readAt(this.file, this.position, length);
      const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length), offset: 0 };
      try {
        const header = parquetHeader(reader);
        this.position += reader.offset;
        return header;
      } catch {
        // Cut off by the length read, or damaged.
        if (length < most) break;
      }
    }
    return broken('a page header that cannot be read');
  }

  private async decode(header: PageHeader, bytes: Buffer, count: number): Promise<ParquetValue[]> {
    if (count > maxValues) broken(`a page of ${count} values, the limit is ${maxValues}`);
    const { maxDefinition, physical } = this.leaf;
    const width = 32 - Math.clz32(maxDefinition);
    let levels: Int32Array | undefined;
    let content: Buffer;
    let encoding: string;
    const v2 = header.data_page_header_v2;
    if (v2) {
      const definition = v2.definition_levels_byte_length;
      const levelBytes = definition + v2.repetition_levels_byte_length;
      if (!(definition >= 0 && levelBytes >= definition && levelBytes <= bytes.length))
        broken('wrong lengths of levels');
      if (maxDefinition > 0) levels = runs(bytes.subarray(levelBytes - definition, levelBytes), width, count);
      const rest = bytes.subarray(levelBytes);
      const unpacked = header.uncompressed_page_size - levelBytes;
      if (unpacked < 0) broken('wrong lengths of levels');
      content = v2.is_compressed === false ? rest : await unpack(rest, unpacked, this.codec);
      encoding = v2.encoding;
    } else {
      content = await unpack(bytes, header.uncompressed_page_size, this.codec);
      encoding = header.data_page_header?.encoding ?? '';
      if (maxDefinition > 0) {
        if (header.data_page_header?.definition_level_encoding !== 'RLE') broken('levels in an encoding of the past');
        const length = content.length >= 4 ? content.readUInt32LE(0) : -1;
        if (length < 0 || 4 + length > content.length) broken('wrong lengths of levels');
        levels = runs(content.subarray(4, 4 + length), width, count);
        content = content.subarray(4 + length);
      }
    }
    let present = count;
    if (levels) for (const level of levels) if (level !== maxDefinition) present--;
    const values = this.decodeValues(content, encoding, present, physical);
    if (this.leaf.unsigned) {
      const span = physical === 'INT64' ? 2 ** 64 : 2 ** 32;
      for (const [i, value] of values.entries()) if ((value as number) < 0) values[i] = (value as number) + span;
    }
    if (!levels || present === count) return values;
    const spread: ParquetValue[] = new Array(count);
    for (let i = 0, next = 0; i < count; i++) spread[i] = levels[i] === maxDefinition ? values[next++] : undefined;
    return spread;
  }

  private decodeValues(content: Buffer, encoding: string, count: number, physical: string): ParquetValue[] {
    if (count === 0) return [];
    if (encoding === 'PLAIN') return plain(content, count, physical);
    if (encoding === 'RLE_DICTIONARY' || encoding === 'PLAIN_DICTIONARY') {
      const dictionary = this.dictionary ?? broken('a page without its dictionary');
      const indexes = runs(content.subarray(1), content[0] ?? 0, count);
      const values: ParquetValue[] = new Array(count);
      for (let i = 0; i < count; i++) {
        const index = indexes[i] as number;
        if (index < 0 || index >= dictionary.length) broken('an entry that the dictionary lacks');
        values[i] = dictionary[index];
      }
      return values;
    }
    if (encoding === 'RLE' && physical === 'BOOLEAN') {
      return Array.from(runs(content.subarray(4), 1, count), (bit) => bit === 1);
    }
    if (encoding === 'DELTA_BINARY_PACKED' && (physical === 'INT32' || physical === 'INT64')) {
      return Array.from(deltas(content, 0, count).values);
    }
    if (encoding === 'BYTE_STREAM_SPLIT' && /^(?:FLOAT|DOUBLE|INT32|INT64)$/.test(physical)) {
      const width = physical === 'DOUBLE' || physical === 'INT64' ? 8 : 4;
      if (content.length !== count * width) broken('values of another number');
      const together = Buffer.allocUnsafe(content.length);
      for (let byte = 0; byte < width; byte++) {
        for (let i = 0; i < count; i++) together[i * width + byte] = content[byte * count + i] as number;
      }
      return plain(together, count, physical);
    }
    if (physical === 'BYTE_ARRAY' && encoding === 'DELTA_LENGTH_BYTE_ARRAY') {
      const { values: lengths, next } = deltas(content, 0, count);
      return cut(content, next, lengths);
    }
    if (physical === 'BYTE_ARRAY' && encoding === 'DELTA_BYTE_ARRAY') {
      const prefixes = deltas(content, 0, count);
      const lengths = deltas(content, prefixes.next, count);
      const values = cut(content, lengths.next, lengths.values);
      let total = 0;
      for (let i = 0; i < count; i++) {
        const prefix = prefixes.values[i] as number;
        if (prefix === 0) continue;
        const before = values[i - 1];
        if (!before || !(prefix > 0 && prefix <= before.length)) broken('a prefix of nothing');
        values[i] = Buffer.concat([before.subarray(0, prefix), values[i] as Buffer]);
        if ((total += values[i]?.length ?? 0) > maxPage) broken(`values of more than ${maxPage} bytes`);
      }
      return values;
    }
    return broken(`the encoding ${encoding || '(none)'} of ${physical}`);
  }
}

async function unpack(bytes: Buffer, length: number, codec: string): Promise<Buffer> {
  if (length === 0) return Buffer.alloc(0);
  const limit = { maxOutputLength: length };
  let out: Uint8Array;
  if (codec === 'UNCOMPRESSED') out = bytes;
  else if (codec === 'ZSTD') out = await unzstd(bytes, length);
  else if (codec === 'GZIP') out = gunzipSync(bytes, limit);
  else if (codec === 'BROTLI') out = brotliDecompressSync(bytes, limit);
  else if (codec === 'SNAPPY' || codec === 'LZ4' || codec === 'LZ4_RAW') {
    out = compressors[codec]?.(bytes, length) ?? broken(`the compression ${codec}`);
  } else return broken(`the compression ${codec ?? '(none)'}`);
  if (out.length !== length) broken('a page with a wrong length');
  return Buffer.from(out.buffer, out.byteOffset, out.byteLength);
}

/** Values one after the other. */
function plain(content: Buffer, count: number, physical: string): ParquetValue[] {
  const values: ParquetValue[] = [];
  let at = 0;
  if (physical === 'BYTE_ARRAY') {
    for (let i = 0; i < count; i++) {
      const end = at + 4 <= content.length ? at + 4 + content.readUInt32LE(at) : content.length + 1;
      if (end > content.length) broken('values end early');
      values.push(content.subarray(at + 4, end));
      at = end;
    }
    return values;
  }
  const width = physical === 'INT32' || physical === 'FLOAT' ? 4 : physical === 'BOOLEAN' ? 1 / 8 : 8;
  if (count * width > content.length) broken('values end early');
  for (let i = 0; i < count; i++, at += width) {
    if (physical === 'INT32') values.push(content.readInt32LE(at));
    else if (physical === 'INT64') values.push(Number(content.readBigInt64LE(at)));
    else if (physical === 'FLOAT') values.push(content.readFloatLE(at));
    else if (physical === 'DOUBLE') values.push(content.readDoubleLE(at));
    else values.push((((content[i >> 3] as number) >> (i & 7)) & 1) === 1);
  }
  return values;
}

function cut(content: Buffer, from: number, lengths: Float64Array): Buffer[] {
  const values: Buffer[] = [];
  let at = from;
  for (const length of lengths) {
    if (!(length >= 0 && at + length <= content.length)) broken('values end early');
    values.push(content.subarray(at, at + length));
    at += length;
  }
  return values;
}

/** The hybrid of runs and packed bits ("RLE" of the format): `count` numbers of `width` bits. */
function runs(bytes: Buffer, width: number, count: number): Int32Array {
  if (width > 32) broken('numbers of too many bits');
  const values = new Int32Array(count);
  const mask = width === 32 ? -1 : (1 << width) - 1;
  let at = 0;
  let done = 0;
  while (done < count) {
    let head = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined || shift > 28) return broken('runs end early');
      head += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    if (head % 2 === 0) {
      let value = 0;
      for (let shift = 0; shift < width; shift += 8) {
        const byte = bytes[at++];
        if (byte === undefined) return broken('runs end early');
        value |= byte << shift;
      }
      const to = Math.min(count, done + head / 2);
      values.fill(value & mask, done, to);
      done = to;
      continue;
    }
    const numPacked = Math.min(count - done, ((head - 1) / 2) * 8);
    if (at * 8 + numPacked * width > bytes.length * 8) broken('runs end early');
    for (let i = 0, bit = at * 8; i < numPacked; i++, bit += width) values[done + i] = bitsAt(bytes, bit, width) & mask;
    done += numPacked;
    at += ((head - 1) / 2) * width;
  }
  return values;
}

/** At most 32 bits, lowest first. */
function bitsAt(bytes: Buffer, bit: number, width: number): number {
  let value = 0;
  for (let got = 0; got < width; ) {
    const at = bit + got;
    const inByte = at & 7;
    value |= ((bytes[at >>> 3] ?? 0) >> inByte) << got;
    got += 8 - inByte;
  }
  return value;
}

/** Differences in blocks of packed bits (DELTA_BINARY_PACKED). Numbers beyond 2^53 lose their last digits. */
function deltas(bytes: Buffer, from: number, count: number): { readonly values: Float64Array; readonly next: number } {
  let at = from;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined || shift > 63) return broken('differences end early');
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const signed = (): number => {
    const value = number();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  };
  const blockSize = number();
  const miniBlocks = number();
  const total = number();
  const perMiniBlock = blockSize / miniBlocks;
  if (total !== count || !Number.isInteger(perMiniBlock) || perMiniBlock % 8 !== 0 || perMiniBlock === 0) {
    broken('differences with a wrong head');
  }
  const values = new Float64Array(count);
  let value = signed();
  let done = 0;
  if (count > 0) values[done++] = value;
  while (done < count) {
    const least = signed();
    const widths = bytes.subarray(at, (at += miniBlocks));
    for (let block = 0; block < miniBlocks && done < count; block++) {
      const width = widths[block];
      if (width === undefined || width > 64) return broken('differences end early');
      const end = at + (perMiniBlock / 8) * width;
      if (end > bytes.length) broken('differences end early');
      const stop = Math.min(count, done + perMiniBlock);
      for (let bit = at * 8; done < stop; bit += width) {
        const low = bitsAt(bytes, bit, Math.min(width, 32)) >>> 0;
        const kept = width < 32 ? low & ((1 << width) - 1) : low;
        let high = 0;
        if (width > 32) {
          const more = width - 32;
          high = bitsAt(bytes, bit + 32, more);
          high = more < 32 ? high & ((1 << more) - 1) : high;
        }
        value += least + kept + (high >>> 0) * 2 ** 32;
        values[done++] = value;
      }
      at = end;
    }
  }
  return { values, next: at };
}
