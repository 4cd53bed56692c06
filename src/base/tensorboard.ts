// TensorBoard event files: scalars by step, written record by record, read back, and cut after a resume.
//
// A file is a series of TFRecords: length (8 bytes, little endian), masked CRC-32C of the length, data, masked
// CRC-32C of the data; mask(c) = rotate right by 15 + 0xa282ead8. Data is a protobuf message `Event` {wall_time = 1:
// double, step = 2: int64, file_version = 3: string, summary = 5, session_log = 7}; a summary holds values {tag = 1:
// string, simple_value = 2: float}. Sources: tensorflow/core/lib/io/record_writer.cc and the protos of TensorBoard.
//
// One writer per file and one file per attempt. A file begins with its version and a session log START that names the
// first step to come: a TensorBoard that is open meanwhile forgets what it has from that step on.
//
// Does not: write histograms, images or text. Numbers have float32 precision here; metrics.jsonl keeps all digits.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { commitFile } from './atomic.ts';
import { bytes, fieldsOf, float, text, varintField } from './protobuf.ts';

/** A number at a step, as TensorBoard draws it. */
export interface ScalarPoint {
  readonly step: number;
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly tag: string;
  readonly value: number;
}

export interface EventFileOptions {
  /** Goes to the end of the file's name. */
  readonly suffix?: string;
  /** The first step to come (1 by default): a TensorBoard that is open forgets what it has from there on. */
  readonly firstStep?: number;
}

export class EventFileWriter {
  readonly path: string;
  private readonly file: number;
  private closed = false;

  /** Creates a new file in `dir`; its name sorts after those that are there, as readers expect of later attempts. */
  constructor(dir: string, options: EventFileOptions = {}) {
    mkdirSync(dir, { recursive: true });
    const times = eventFiles(dir).map((name) => Number(/tfevents\.(\d+)/.exec(name)?.[1] ?? 0));
    const seconds = Math.max(Math.floor(Date.now() / 1000), ...times.map((time) => time + 1));
    const host = hostname().replace(/[^\w.-]/g, '_');
    const name = `events.out.tfevents.${String(seconds).padStart(10, '0')}.${host}.${process.pid}.0`;
    this.path = join(dir, `${name}${options.suffix ?? ''}`);
    this.file = openSync(this.path, 'wx');
    const now = Date.now() / 1000;
    const head = [record(event(now, 0, [text(3, 'brain.Event:2'), bytes(10, text(1, 'belay'))]))];
    // SessionLog { status = 1: START = 1 }
    head.push(record(event(now, options.firstStep ?? 1, [bytes(7, varintField(1, 1))])));
    this.append(Buffer.concat(head));
  }

  /** Appends one record with all values of a step. Names become tags as they are. */
  scalars(step: number, values: Readonly<Record<string, number>>, wallTime = Date.now() / 1000): void {
    const summary = Object.entries(values).map(([tag, value]) =>
      bytes(1, Buffer.concat([text(1, tag), float(2, value)])),
    );
    this.append(record(event(wallTime, step, [bytes(5, Buffer.concat(summary))])));
  }

  /** Makes sure that what was written survives a power cut (it survives a kill of the process without this). */
  flush(): void {
    if (!this.closed) fsyncSync(this.file);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    closeSync(this.file);
  }

  private append(data: Uint8Array): void {
    for (let at = 0; at < data.length; ) at += writeSync(this.file, data, at);
  }
}

/** Names of the event files in a folder, in the order in which readers go through them. */
function eventFiles(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => name.includes('tfevents'))
    .sort();
}

/** All scalars of an event file, in file order. A torn tail is left out, as is a record whose checksum is wrong. */
export function readEventFile(path: string): ScalarPoint[] {
  return [...records(readFileSync(path))].flatMap(({ data }) => {
    const { step, wallTime, scalars } = decodeEvent(data);
    return scalars.map(({ tag, value }) => ({ step, wallTime, tag, value }));
  });
}

/** All scalars of the event files in a folder, in the order of attempts. */
export function readEventFiles(dir: string): ScalarPoint[] {
  return eventFiles(dir).flatMap((name) => readEventFile(join(dir, name)));
}

/**
 * Drops what lies beyond `lastStep` from every event file in a folder, and torn tails. Files are replaced atomically
 * and never removed: a TensorBoard that is open would not read a later file that got the name of an earlier one. No
 * writer may be open. Doing it again changes nothing.
 */
export function cutEventFiles(dir: string, lastStep: number): void {
  if (!existsSync(dir)) return;
  // Not named after the file, as writeFileAtomic would: TensorBoard opens whatever has `tfevents` in its name.
  const aside = join(dir, 'cut.partial');
  rmSync(aside, { force: true });
  for (const name of eventFiles(dir)) {
    const path = join(dir, name);
    const content = readFileSync(path);
    const kept: Uint8Array[] = [];
    let size = 0;
    for (const { data, whole } of records(content)) {
      const { step, starts } = decodeEvent(data);
      if (step > lastStep + (starts ? 1 : 0)) continue;
      size += whole.length;
      kept.push(whole);
    }
    if (size === content.length) continue;
    writeFileSync(aside, Buffer.concat(kept));
    commitFile(aside, path);
  }
}

// Records.

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** CRC-32C (Castagnoli, reflected polynomial 0x82f63b78); "123456789" gives 0xe3069283. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < data.length; i++) crc = (crcTable[(crc ^ (data[i] as number)) & 255] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function maskedCrc(data: Uint8Array): number {
  const crc = crc32c(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

const headBytes = 12;
const tailBytes = 4;

function record(data: Uint8Array): Buffer {
  const out = Buffer.alloc(headBytes + data.length + tailBytes);
  out.writeBigUInt64LE(BigInt(data.length), 0);
  out.writeUInt32LE(maskedCrc(out.subarray(0, 8)), 8);
  out.set(data, headBytes);
  out.writeUInt32LE(maskedCrc(data), headBytes + data.length);
  return out;
}

/** Whole records of a file; one with broken data is left out, and after a broken length nothing can be found. */
function* records(file: Buffer): Generator<{ readonly data: Buffer; readonly whole: Buffer }> {
  for (let at = 0; at + headBytes + tailBytes <= file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    if (file.readUInt32LE(at + 8) !== maskedCrc(file.subarray(at, at + 8))) return;
    const end = at + headBytes + length + tailBytes;
    if (end > file.length) return;
    const data = file.subarray(at + headBytes, end - tailBytes);
    if (file.readUInt32LE(end - tailBytes) === maskedCrc(data)) yield { data, whole: file.subarray(at, end) };
    at = end;
  }
}

function event(wallTime: number, step: number, fields: readonly Buffer[]): Buffer {
  const time = Buffer.alloc(9);
  time[0] = 8 + 1;
  time.writeDoubleLE(wallTime, 1);
  return Buffer.concat([time, varintField(2, step), ...fields]);
}

interface DecodedEvent {
  readonly step: number;
  readonly wallTime: number;
  readonly scalars: readonly { readonly tag: string; readonly value: number }[];
  /** True for a session log START. */
  readonly starts: boolean;
}

function decodeEvent(data: Buffer): DecodedEvent {
  let step = 0;
  let wallTime = 0;
  let starts = false;
  const scalars: { readonly tag: string; readonly value: number }[] = [];
  for (const { field, number, part } of fieldsOf(data)) {
    if (field === 1 && part) wallTime = part.readDoubleLE(0);
    if (field === 2) step = number;
    if (field === 7) starts = true;
    if (field !== 5 || !part) continue;
    for (const { field: kind, part: value } of fieldsOf(part)) {
      if (kind !== 1 || !value) continue;
      const inside = [...fieldsOf(value)];
      const tag = inside.find((one) => one.field === 1)?.part?.toString('utf8');
      const simple = inside.find((one) => one.field === 2)?.part;
      if (tag !== undefined && simple?.length === 4) scalars.push({ tag, value: simple.readFloatLE(0) });
    }
  }
  return { step, wallTime, scalars, starts };
}
