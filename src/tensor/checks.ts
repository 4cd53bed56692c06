// Argument checks of the TypeScript backend: sizes, lengths, strides and the values of indices.
//
// A typed array answers an index outside of it with undefined, and arithmetic turns that into NaN far from the
// mistake; so every op checks first. Messages read `op: what, got X, expected Y`, the same words that
// native/addon.cpp uses, because test/backend.cases.ts holds both backends to one table of mistakes.
//
// Does not: check that outputs and inputs are apart.

import type { Strided } from './backend.ts';

type Words = Float32Array | Int32Array | Uint16Array;

/** Throws the one shape of message that every backend uses for a bad argument. */
export function refuse(op: string, what: string, got: string | number, expected: string): never {
  throw new RangeError(`${op}: ${what}, got ${got}, expected ${expected}`);
}

/** Sizes are whole numbers from 0 on. */
export function sizes(op: string, named: Record<string, number>): void {
  for (const [name, value] of Object.entries(named)) {
    if (!Number.isSafeInteger(value) || value < 0) refuse(op, name, describe(value), 'a whole number from 0 on');
  }
}

/** Real numbers; NaN and infinities are numbers too. `names` defaults to all of them. */
export function numbers<T extends object>(
  op: string,
  named: T,
  names = Object.keys(named) as (keyof T & string)[],
): void {
  for (const name of names) {
    const value: unknown = named?.[name];
    if (typeof value !== 'number') refuse(op, name, describe(value), 'a number');
  }
}

export function flags(op: string, named: Record<string, boolean>): void {
  for (const [name, value] of Object.entries(named)) {
    if (typeof value !== 'boolean') refuse(op, name, describe(value), 'true or false');
  }
}

/** The class that an array must be of. */
type ArrayKind = Float32ArrayConstructor | Int32ArrayConstructor | Uint16ArrayConstructor;

/** A contiguous array of at least `expected` elements of the right kind. */
export function length(op: string, name: string, array: Words, expected: number, kind: ArrayKind = Float32Array): void {
  if (!(array instanceof kind)) refuse(op, name, describe(array), kind.name);
  if (array.length < expected) refuse(op, `length of ${name}`, array.length, `at least ${expected}`);
}

/** A [rows, columns] matrix that fits into its array. */
export function strided(op: string, name: string, m: Strided, rows: number, columns: number): void {
  if (typeof m !== 'object' || m === null) refuse(op, name, describe(m), 'a matrix {data, offset, stride}');
  length(op, name, m.data, 0);
  sizes(op, { [`offset of ${name}`]: m.offset, [`stride of ${name}`]: m.stride });
  if (rows === 0 || columns === 0) return;
  if (m.stride < columns) refuse(op, `stride of ${name}`, m.stride, `at least ${columns}`);
  const end = m.offset + (rows - 1) * m.stride + columns;
  if (end > m.data.length) refuse(op, `length of ${name}`, m.data.length, `at least ${end}`);
}

/** How many whole rows of `columns` a matrix has room for. */
export function rowsOf(m: Strided, columns: number): number {
  const room = m.data.length - m.offset - columns;
  return room < 0 ? 0 : m.stride === 0 ? Number.MAX_SAFE_INTEGER : Math.floor(room / m.stride) + 1;
}

/** The first `count` values lie in [0, end). */
export function indices(op: string, name: string, array: Int32Array, count: number, end: number): void {
  length(op, name, array, count, Int32Array);
  for (let i = 0; i < count; i++) {
    const value = array[i]!;
    if (value < 0 || value >= end) refuse(op, `${name}[${i}]`, value, `a whole number in [0, ${end})`);
  }
}

/** Row i may see rows [lo[i], hi[i]): in order, and inside [first(i), end(i)]. */
export function ranges(
  op: string,
  lo: Int32Array,
  hi: Int32Array,
  count: number,
  first: (i: number) => number,
  end: (i: number) => number,
): void {
  length(op, 'lo', lo, count, Int32Array);
  length(op, 'hi', hi, count, Int32Array);
  for (let i = 0; i < count; i++) {
    const a = lo[i]!;
    const b = hi[i]!;
    if (a < first(i) || a > b || b > end(i)) {
      refuse(op, `lo[${i}], hi[${i}]`, `${a}, ${b}`, `${first(i)} <= lo <= hi <= ${end(i)}`);
    }
  }
}

function describe(value: unknown): string {
  if (typeof value === 'number' || value === null || value === undefined) return String(value);
  return typeof value === 'object' ? (value.constructor?.name ?? 'object') : typeof value;
}
