// Which numbers of a tokenizer.json are ids: a hostile or damaged file names others, and tables are as long as the highest id.
//
// Does not: know which ids a vocabulary has.
import { z } from 'zod';

/** Ids are below this: four times the largest vocabulary in use. */
export const idLimit = 2 ** 22;

export const expectedId = `ids from 0 to ${idLimit - 1}`;

export function isTokenId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < idLimit;
}

/** A value of a file for a message: short, and without going down into it. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return value.every((one) => typeof one === 'string') ? shownText(value) : 'a list';
  return value !== null && typeof value === 'object' ? 'an object' : shownText(value);
}

function shownText(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}

export const tokenIdSchema = z.custom<number>(isTokenId, {
  error: ({ input }) => `${shown(input)} is none of the ${expectedId}`,
});
