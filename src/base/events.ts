// Events and metrics of a run: append-only JSON-lines files with one writer each.
//
// events.jsonl tells what happened (with wall-clock times); metrics.jsonl has one line per training step. After a
// resume, metrics beyond the checkpoint are cut off, so no step is logged twice.
//
// Does not: draw or summarise; report and studio do.
import { appendFileSync, closeSync, existsSync, fstatSync, mkdirSync, openSync, readFileSync, readSync } from 'node:fs';
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

/** The whole lines of a JSON-lines file; a line torn by a kill or a full disk is left out. */
export function readLines<T>(path: string): T[] {
  if (!existsSync(path)) return [];
  const text = readFileSync(path, 'utf8');
  const lines = text.split('\n');
  lines.pop();
  return lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as T];
    } catch {
      return [];
    }
  });
}

/** Keeps the lines that satisfy `keep` (and drops a last line cut by a kill). */
export function cutLines<T>(path: string, keep: (line: T) => boolean): void {
  if (!existsSync(path)) return;
  const kept = readLines<T>(path).filter(keep);
  writeFileAtomic(path, kept.map((line) => `${JSON.stringify(line)}\n`).join(''));
}
