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

/** The last lines of a file, without the end of the last one; read from the end, since logs may be larger than memory. */
export function lastLines(path: string, count: number): string {
  const piece = 1 << 16;
  let end = statSync(path).size;
  const parts: Buffer[] = [];
  let ends = 0;
  // One end more than lines: that of the line before them.
  while (end > 0 && ends <= count) {
    const start = Math.max(0, end - piece);
    const bytes = bytesOf(path, start, end);
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) ends++;
    parts.unshift(bytes);
    end = start;
  }
  return Buffer.concat(parts).toString('utf8').trimEnd().split('\n').slice(-count).join('\n');
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
