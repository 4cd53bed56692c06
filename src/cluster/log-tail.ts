// Reads logs that may be large: what was added since the last look, and the beginning and the end of one.
//
// Does not: understand what they say (attribution.ts).
import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';

/** What a file says since the last look. */
export class Follower {
  private readonly path: string;
  private at = 0;

  constructor(path: string) {
    this.path = path;
  }

  more(): string {
    if (!existsSync(this.path)) return '';
    const size = statSync(this.path).size;
    if (size <= this.at) return '';
    // Of a flood only the end.
    const from = Math.max(this.at, size - (1 << 20));
    this.at = size;
    return slice(this.path, from, size);
  }
}

/** The beginning and the end of a log: an error may stand before a flood of the same. */
export function tail(path: string): string {
  if (!existsSync(path)) return '';
  const size = statSync(path).size;
  const most = 1 << 20;
  return size <= 2 * most ? readFileSync(path, 'utf8') : `${slice(path, 0, most)}\n${slice(path, size - most, size)}`;
}

/**
 * The last lines of a file, without what is blank at its end; read from the end, since logs may be larger than memory. Of
 * lines without an end, such as progress bars draw, the last 64 MiB at most.
 */
export function lastLines(path: string, count: number): string {
  const piece = 1 << 16;
  let end = statSync(path).size;
  const parts: Buffer[] = [];
  let ends = 0;
  while (end > 0 && ends < count && parts.length < 1024) {
    const start = Math.max(0, end - piece);
    const bytes = bytesOf(path, start, end);
    end = start;
    const part = parts.length === 0 ? withoutBlankEnd(bytes) : bytes;
    if (part.length === 0) continue;
    for (let at = part.indexOf(10); at >= 0; at = part.indexOf(10, at + 1)) ends++;
    parts.unshift(part);
  }
  return Buffer.concat(parts).toString('utf8').trimEnd().split('\n').slice(-count).join('\n');
}

function withoutBlankEnd(bytes: Buffer): Buffer {
  let length = bytes.length;
  while (length > 0 && [9, 10, 13, 32].includes(bytes[length - 1] as number)) length--;
  return bytes.subarray(0, length);
}

function slice(path: string, from: number, to: number): string {
  return bytesOf(path, from, to).toString('utf8');
}

function bytesOf(path: string, from: number, to: number): Buffer {
  const bytes = Buffer.alloc(to - from);
  const file = openSync(path, 'r');
  try {
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, from));
  } finally {
    closeSync(file);
  }
}
