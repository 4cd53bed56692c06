// Events and metrics of a run: append-only JSON-lines files with one writer each.
//
// events.jsonl tells what happened (with wall-clock times); metrics.jsonl has one line per training step. After a
// resume, metrics beyond the checkpoint are cut off, so no step is logged twice.
//
// Does not: draw or summarise; report and studio do.
import { appendFileSync, closeSync, existsSync, fstatSync, mkdirSync, openSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeFileAtomic } from './atomic.ts';
import type { Json } from './json.ts';

/** Appends one line `{time, event, ...fields}`; a line torn by a kill before it is ended first. */
export function appendEvent(path: string, event: string, fields: Readonly<Record<string, Json>> = {}): void {
  mkdirSync(dirname(path), { recursive: true });
  const end = endsInMidLine(path) ? '\n' : '';
  appendFileSync(path, `${end}${JSON.stringify({ time: new Date().toISOString(), event, ...fields })}\n`);
}

/** True where the last byte of a file is no line end. */
export function endsInMidLine(path: string): boolean {
  if (!existsSync(path)) return false;
  const file = openSync(path, 'r');
  try {
    const last = Buffer.alloc(1);
    const { size } = fstatSync(file);
    return size > 0 && readSync(file, last, 0, 1, size - 1) === 1 && last[0] !== 10;
  } finally {
    closeSync(file);
  }
}

/** Appends one line of numbers. */
export function appendMetrics(path: string, fields: Readonly<Record<string, Json>>): void {
  appendFileSync(path, `${JSON.stringify(fields)}\n`);
}

/** The values of the whole lines of a JSON-lines file; a line torn by a kill or a full disk is left out. */
export function readLines<T>(path: string): T[] {
  return Array.from(wholeLines<T>(path), ({ value }) => value);
}

/** Keeps the lines that satisfy `keep` (and drops a last line cut by a kill). */
export function cutLines<T>(path: string, keep: (line: T) => boolean): void {
  if (!existsSync(path)) return;
  const kept: Buffer[] = [];
  for (const { value, bytes } of wholeLines<T>(path)) if (keep(value)) kept.push(Buffer.from(bytes));
  writeFileAtomic(path, Buffer.concat(kept));
}

interface WholeLine<T> {
  readonly value: T;
  /** With the line end; a view, good until the next line. */
  readonly bytes: Uint8Array;
}

/** Reads in pieces: a year of steps is more than one string can hold. */
function* wholeLines<T>(path: string): Generator<WholeLine<T>> {
  if (!existsSync(path)) return;
  const file = openSync(path, 'r');
  try {
    const piece = Buffer.allocUnsafe(1 << 20);
    let begun: Buffer[] = [];
    for (let size = readSync(file, piece); size > 0; size = readSync(file, piece)) {
      const part = piece.subarray(0, size);
      let start = 0;
      for (let end = part.indexOf(10); end >= 0; end = part.indexOf(10, start)) {
        const last = part.subarray(start, end + 1);
        const bytes = begun.length === 0 ? last : Buffer.concat([...begun, last]);
        begun = [];
        start = end + 1;
        const line = parsed<T>(bytes);
        if (line) yield { value: line.value, bytes };
      }
      if (start < size) begun.push(Buffer.from(part.subarray(start)));
    }
  } finally {
    closeSync(file);
  }
}

function parsed<T>(bytes: Buffer): { readonly value: T } | undefined {
  try {
    return { value: JSON.parse(bytes.toString('utf8')) as T };
  } catch {
    return undefined;
  }
}
