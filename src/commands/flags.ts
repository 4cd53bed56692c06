// Flags and parsers of flag values that verbs share, so that every verb words a wrong number alike.
//
// Does not: know any verb.
import { UserError } from '../base/errors.ts';

/** A whole number in [low, high]. */
export function wholeNumber(low: number, high = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isInteger(value) && value >= low && value <= high) return value;
    const range = high === Number.MAX_SAFE_INTEGER ? `of at least ${low}` : `in ${low}..${high}`;
    throw new UserError(`expected a whole number ${range}`);
  };
}

/** A number in [low, high]; `open` leaves out `low` itself. */
export function realNumber(low: number, high: number, open = false): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && value <= high && (open ? value > low : value >= low)) return value;
    const above = open ? `above ${low}` : `of at least ${low}`;
    throw new UserError(`expected a number ${above}${Number.isFinite(high) ? ` and at most ${high}` : ''}`);
  };
}

/** What the verbs that sample have in common. */
export interface SampleFlags {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number;
  readonly threads?: number;
}

export const sampleFlags = {
  temperature: { kind: 'parsed', parse: realNumber(0, 100), brief: '0: the most likely token', default: '0' },
  topP: { kind: 'parsed', parse: realNumber(0, 1, true), brief: 'nucleus of this probability', default: '1' },
  topK: { kind: 'parsed', parse: wholeNumber(0), brief: 'only the k most likely (0: all)', default: '0' },
  seed: { kind: 'parsed', parse: wholeNumber(0), brief: 'decides the draws', default: '28' },
  threads: { kind: 'parsed', parse: wholeNumber(1, 256), brief: 'threads (default: all cores)', optional: true },
} as const;

/** Token ids separated by commas or spaces. */
export function tokenIds(text: string): number[] {
  const ids = text.split(/[\s,]+/).filter((part) => part !== '');
  return ids.map((part) => {
    if (!/^\d+$/.test(part)) throw new UserError(`"${part}" is no token id; expected whole numbers like 1,372,25`);
    return Number(part);
  });
}
