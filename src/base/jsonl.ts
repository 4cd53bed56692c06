// JSON-lines files, plain, gzipped or (read only) in zstd, read and written as streams.
//
// Written gzip is deterministic (no time stamp, fixed level), so equal records give equal bytes and equal hashes.
// A line that does not parse, or is longer than a limit, is handed to `onBad` with its number and the reason; reading goes
// on. The reason never quotes the line: what is wrong in it may be somebody's address. Lines that are too long are
// skipped as they come, so that a file without line ends costs no memory.
//
// Does not: know what is in a line.
import { isUtf8 } from 'node:buffer';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Damage } from './chunk-source.ts';
import { UserError } from './errors.ts';
import { readPieces } from './pieces.ts';

/** A compressed file that is not what its name says, or ends too early; what came before was read. */
export class DamagedFile extends UserError {}

const notJson = 'not valid JSON';
/** Reason of lines longer than the limit. */
export const tooLong = 'longer than the limit';
const notUtf8 = 'not UTF-8';
const openBrackets = 'nothing but brackets';

export interface BadLine {
  readonly path: string;
  readonly line: number;
  readonly reason: string;
}

/** A line of a file: its value, or why it has none. */
export interface JsonlLine<T> {
  /** From 1. */
  readonly line: number;
  readonly value?: T;
  /** What `value` was parsed from, until the next line is asked for. */
  readonly bytes?: Buffer;
  readonly bad?: string;
}

/**
 * The values of a .jsonl, .jsonl.gz or .jsonl.zst file, one by one. A file that cannot be read is a UserError; so is,
 * without `onBad`, a bad line.
 */
export async function* readJsonl<T>(path: string, onBad?: (bad: BadLine) => void): AsyncGenerator<T> {
  const number = { line: 0 };
  for await (const lines of boundedLines(path)) {
    if (!isLines(lines)) throw damaged(path, lines);
    for (const { line, value, bad } of parseLines<T>(lines, number)) {
      if (bad === undefined) yield value as T;
      else if (onBad) onBad({ path, line, reason: bad });
      else throw new UserError(`line ${line} of ${path} is ${bad}`);
    }
  }
}

/**
 * The lines of such a file in their order, with those that are bad or of more than `maxLineBytes` and damaged parts of a
 * compressed file, however many come in a row. The lines of whole parts after damage are read.
 */
export async function* readJsonlLines<T>(path: string, maxLineBytes?: number): AsyncGenerator<JsonlLine<T> | Damage> {
  const number = { line: 0 };
  for await (const lines of boundedLines(path, maxLineBytes)) {
    if (isLines(lines)) yield* parseLines<T>(lines, number);
    else yield lines;
  }
}

/** The lines of a file, compressed or not, as bytes without their ends, as many at a time as were read. */
export async function* readLines(path: string): AsyncGenerator<readonly Buffer[]> {
  // Without a limit no line is left out.
  for await (const lines of boundedLines(path, Number.POSITIVE_INFINITY)) {
    if (!isLines(lines)) throw damaged(path, lines);
    yield lines as readonly Buffer[];
  }
}

/** As `readLines`; a line of more than `maxLineBytes` is undefined, and costs no memory. */
export async function* readLinesWithin(path: string, maxLineBytes: number): AsyncGenerator<Lines> {
  for await (const lines of boundedLines(path, maxLineBytes)) {
    if (!isLines(lines)) throw damaged(path, lines);
    yield lines;
  }
}

/** Lines as they come; undefined stands for one that is too long. */
type Lines = readonly (Buffer | undefined)[];

function isLines(lines: Lines | Damage): lines is Lines {
  return Array.isArray(lines);
}

function damaged(path: string, { reason, offset }: Damage): DamagedFile {
  return new DamagedFile(`${path} is no whole compressed file`, {
    found: `${reason} at byte ${offset}`,
    next: 'make or fetch the file again',
  });
}

function* parseLines<T>(lines: Lines, number: { line: number }): Generator<JsonlLine<T>> {
  for (const bytes of lines) {
    const line = ++number.line;
    const from = line === 1 && bytes !== undefined && startsWithMark(bytes) ? 3 : 0;
    if (bytes !== undefined && isBlank(bytes, from)) continue;
    const parsed = bytes === undefined ? { bad: tooLong } : parseLine<T>(bytes, from);
    yield 'bad' in parsed
      ? { line, bad: parsed.bad }
      : { line, value: parsed.good, bytes: (bytes as Buffer).subarray(from) };
  }
}

/** Lines of more bytes are undefined; by default those that no string could hold. */
async function* boundedLines(path: string, maxLineBytes = 2 ** 29): AsyncGenerator<Lines | Damage> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const piece of readPieces(path)) {
    if (!Buffer.isBuffer(piece)) {
      if (piece.mark === 'start') continue;
      yield piece;
      // The line that the damage cut is lost with it.
      rest = [];
      restBytes = 0;
      continue;
    }
    const lines: (Buffer | undefined)[] = [];
    let start = 0;
    for (;;) {
      const end = piece.indexOf(10, start);
      if (end < 0) break;
      const bytes = restBytes + end - start;
      if (bytes > maxLineBytes) lines.push(undefined);
      else if (restBytes === 0) lines.push(piece.subarray(start, end));
      else lines.push(Buffer.concat([...rest, piece.subarray(start, end)], bytes));
      rest = [];
      restBytes = 0;
      start = end + 1;
    }
    if (start < piece.length) {
      restBytes += piece.length - start;
      if (restBytes <= maxLineBytes) rest.push(piece.subarray(start));
      else rest = [];
    }
    if (lines.length > 0) yield lines;
  }
  if (restBytes > 0) yield [restBytes > maxLineBytes ? undefined : Buffer.concat(rest, restBytes)];
}

function parseLine<T>(bytes: Buffer, from: number): { readonly good: T } | { readonly bad: string } {
  if (!isUtf8(bytes)) return { bad: notUtf8 };
  if (bytes.length > bracketCheckBytes && isBracketBomb(bytes)) return { bad: openBrackets };
  try {
    return { good: JSON.parse(bytes.toString('utf8', from)) as T };
  } catch {
    // The message of JSON.parse quotes what it read.
    return { bad: notJson };
  }
}

function startsWithMark(bytes: Buffer): boolean {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
}

function isBlank(bytes: Buffer, from: number): boolean {
  return bytes.length === from || (bytes.length === from + 1 && bytes[from] === 13);
}

/** Shorter lines are harmless whatever they hold. */
const bracketCheckBytes = 1 << 20;

/** True where more than an eighth of the bytes open something: each costs the parser many times its length. */
function isBracketBomb(bytes: Buffer): boolean {
  let count = 0;
  for (let i = 0; i < bytes.length; i++) if (bytes[i] === 0x5b || bytes[i] === 0x7b) count++;
  return count > bytes.length >> 3;
}

/** Writes values to a .jsonl or .jsonl.gz file; `await writer.write(v)` respects back-pressure, `close()` ends it. */
export class JsonlWriter {
  readonly path: string;
  count = 0;
  private readonly input: Writable;
  private readonly end: Promise<void>;
  private pending: string[] = [];
  private pendingLength = 0;

  constructor(path: string) {
    this.path = path;
    const file = createWriteStream(path);
    if (path.endsWith('.gz')) {
      const gzip = createGzip({ level: 6 });
      gzip.pipe(file);
      gzip.on('error', (error) => file.destroy(error));
      this.input = gzip;
    } else {
      this.input = file;
    }
    this.end = finished(file);
    this.end.catch(() => {});
  }

  async write(value: unknown): Promise<void> {
    const text = `${JSON.stringify(value)}\n`;
    this.count++;
    this.pending.push(text);
    this.pendingLength += text.length;
    if (this.pendingLength >= 1 << 16) await this.flush();
  }

  private async flush(): Promise<void> {
    const text = this.pending.join('');
    this.pending = [];
    this.pendingLength = 0;
    if (text !== '' && !this.input.write(text)) await Promise.race([once(this.input, 'drain'), this.end]);
  }

  async close(): Promise<void> {
    await this.flush();
    this.input.end();
    await this.end;
  }
}
