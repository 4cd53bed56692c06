// JSON values, a canonical text for hashing them, and reading JSON files with errors a person can act on.
//
// Does not: validate shapes; the callers do, with zod.
import { readFileSync } from 'node:fs';
import { UserError } from './errors.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Text of a JSON value with sorted keys and no spaces: equal values give equal bytes. `undefined` fields are left out. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value)
      .filter(([, field]) => field !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`).join(',')}}`;
  }
  if (typeof value === 'number' && !Number.isFinite(value)) throw new Error(`canonicalJson: ${value} is not JSON`);
  return JSON.stringify(value);
}

/** Parses a JSON file; a missing or broken file is a UserError that names it. `parse`: as JSON.parse, where that is not enough. */
export function readJson(path: string, what = 'file', parse: (text: string) => unknown = JSON.parse): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new UserError(`cannot read the ${what} ${path}`, { found: errorText(cause), cause });
  }
  try {
    return parse(text);
  } catch (cause) {
    throw new UserError(`the ${what} ${path} is not valid JSON`, { found: errorText(cause), cause });
  }
}

/** The message of whatever was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
