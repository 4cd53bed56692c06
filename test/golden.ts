// Where tests find the committed reference vectors (test/golden/), from src and from dist alike.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../src/base/version.ts';

export function goldenPath(...name: string[]): string {
  return join(packageRoot, 'test', 'golden', ...name);
}

/** A golden JSON file; its numbers may be the strings "NaN", "Infinity" and "-Infinity". */
export function goldenJson<T>(...name: string[]): T {
  return JSON.parse(readFileSync(goldenPath(...name), 'utf8')) as T;
}
