// What all processes of a run must agree on before the first step, compared field by field.
//
// Does not: decide what belongs in there; the caller says (version, target, precision, recipe hash, ...).
import { UserError } from '../base/errors.ts';
import { canonicalJson, type Json } from '../base/json.ts';

export interface Introduction {
  readonly rank: number;
  readonly host: string;
  readonly hello: Json;
}

export interface Disagreement {
  readonly what: string;
  readonly found: string;
}

/** What differs between ranks as a UserError's text and fields, or undefined where all agree. */
export function disagreement(all: readonly Introduction[]): Disagreement | undefined {
  const [first, ...others] = all as [Introduction, ...Introduction[]];
  const lines = others.flatMap(({ rank, host, hello }) =>
    differences(first.hello, hello, '').map(
      ({ path, a, b }) => `${path}: ${b} on rank ${rank} (${host}), ${a} on rank ${first.rank} (${first.host})`,
    ),
  );
  if (lines.length === 0) return undefined;
  const shown = lines.slice(0, 8);
  if (lines.length > shown.length) shown.push(`and ${lines.length - shown.length} more`);
  return { what: 'the processes of this run do not agree', found: shown.join('\n            ') };
}

/** The error that every rank throws. */
export function disagreementError({ what, found }: Disagreement): UserError {
  return new UserError(what, {
    found,
    expected: 'the same on all ranks, because together they compute one result',
    next: 'start all ranks with the same belay, recipe and settings, on processors of one kind',
  });
}

interface Difference {
  readonly path: string;
  readonly a: string;
  readonly b: string;
}

function differences(a: Json | undefined, b: Json | undefined, path: string): Difference[] {
  if (isObject(a) && isObject(b)) {
    const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    return keys.flatMap((key) => differences(a[key], b[key], path === '' ? key : `${path}.${key}`));
  }
  const [left, right] = [text(a), text(b)];
  return left === right ? [] : [{ path: path || 'value', a: left, b: right }];
}

function isObject(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const text = (value: Json | undefined): string => (value === undefined ? 'nothing' : canonicalJson(value));
