// Parsers of flag values, so that every verb words a wrong number alike.
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

/** Token ids separated by commas or spaces. */
export function tokenIds(text: string): number[] {
  const ids = text.split(/[\s,]+/).filter((part) => part !== '');
  return ids.map((part) => {
    if (!/^\d+$/.test(part)) throw new UserError(`"${part}" is no token id; expected whole numbers like 1,372,25`);
    return Number(part);
  });
}
