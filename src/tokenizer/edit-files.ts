// Changes to the files of a trained tokenizer: reserved tokens get other names, tokens are added.
//
// All files that name a token change together: tokenizer.json, tokenizer_config.json, special_tokens_map.json. Ids never
// change, so token files stay valid.
//
// Does not: touch weights; model/vocabulary-rows.ts does.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { writeJsonAtomic } from '../base/atomic.ts';
import { UserError, type UserErrorDetails } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { addedTokenSchema } from './added-tokens.ts';
import { tokenizerFileName } from './bpe.ts';
import { alphabetToBytes, bytesToAlphabet } from './byte-level.ts';
import { idLimit, isTokenId } from './token-id.ts';

const fileSchema = z.looseObject({
  added_tokens: z.array(addedTokenSchema),
  // A record of zod's lacks a token `__proto__`.
  model: z.looseObject({
    vocab: z.custom<Record<string, number>>(
      (vocab) => typeof vocab === 'object' && vocab !== null && Object.values(vocab).every(isTokenId),
      'no vocabulary with ids',
    ),
  }),
});
type TokenizerContent = z.infer<typeof fileSchema>;

/** The tokenizer.json of a folder, to be changed. */
function readTokenizer(dir: string): TokenizerContent {
  const path = join(dir, tokenizerFileName);
  const parsed = fileSchema.safeParse(readJson(path, 'tokenizer'));
  if (parsed.success) return parsed.data;
  throw new UserError(`${path} cannot be changed`, {
    found: schemaProblems(parsed.error),
    expected: 'a tokenizer.json with added_tokens and a vocabulary',
  });
}

const companions = ['tokenizer_config.json', 'special_tokens_map.json'] as const;

/** Gives reserved tokens other names in the files of `dir`; returns the id of each. */
export function renameTokens(dir: string, names: ReadonlyMap<string, string>): number[] {
  const content = readTokenizer(dir);
  const { added_tokens: added, model } = content;
  const templates = chatTemplates(dir);
  const taken = new Set([...Object.keys(model.vocab), ...added.map((token) => token.content)]);
  const ids: number[] = [];
  for (const [from, to] of names) {
    const token = added.find((one) => one.content === from);
    if (!token) {
      throw new UserError(`${from} is no added token`, {
        found: taken.has(from) ? 'a token of the vocabulary' : 'no such token',
        expected: 'a reserved token, such as <SPECIAL_4>',
      });
    }
    if (to === '' || taken.has(to)) {
      throw new UserError(`${from} cannot be named ${to === '' ? 'nothing' : to}`, {
        found: to === '' ? 'an empty name' : 'a token of this name',
        expected: 'a name that no token has',
      });
    }
    const writer = templates.find(({ text }) => text.includes(from));
    if (writer) {
      throw new UserError(`${from} cannot be renamed`, {
        found: `${writer.name} writes it`,
        expected: 'a token that the chat template does not write',
      });
    }
    taken.add(to);
    taken.delete(from);
    token.content = to;
    ids.push(token.id);
  }
  const renamed = (text: string): string => names.get(text) ?? text;
  const vocab = Object.fromEntries(Object.entries(model.vocab).map(([token, id]) => [renamed(token), id]));
  const { post_processor: processor } = content as { readonly post_processor?: unknown };
  writeJson(dir, tokenizerFileName, {
    ...content,
    ...(processor === undefined ? {} : { post_processor: replaceStrings(processor, renamed) }),
    model: { ...model, vocab },
  });
  for (const name of companions) {
    if (existsSync(join(dir, name))) writeJson(dir, name, replaceStrings(readJson(join(dir, name)), renamed));
  }
  return ids;
}

/** The chat templates of a folder: in a file of their own, or among the settings, one or several with names. */
function chatTemplates(dir: string): readonly { readonly name: string; readonly text: string }[] {
  const own = join(dir, 'chat_template.jinja');
  const [config] = companions;
  const settings = existsSync(join(dir, config)) ? readJson(join(dir, config)) : {};
  const { chat_template: told } = settings as { readonly chat_template?: unknown };
  return [
    ...(existsSync(own) ? [{ name: 'chat_template.jinja', text: readFileSync(own, 'utf8') }] : []),
    ...(told === undefined ? [] : [{ name: `the chat_template of ${config}`, text: stringsOf(told).join('\n') }]),
  ];
}

function stringsOf(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value];
  return value === null || typeof value !== 'object' ? [] : Object.values(value).flatMap(stringsOf);
}

/** Adds tokens from the first free id on; returns their ids. `special`: text from outside never becomes one. */
export function addTokens(dir: string, texts: readonly string[], special: boolean): number[] {
  const content = readTokenizer(dir);
  const { added_tokens: added, model } = content;
  const known = new Map([...Object.entries(model.vocab), ...added.map((token) => [token.content, token.id] as const)]);
  let next = 1;
  for (const id of known.values()) if (id >= next) next = id + 1;
  const ids: number[] = [];
  const decoder: Record<string, object> = {};
  const addedTexts = new Set(added.map((token) => token.content));
  for (const text of texts) {
    const problem = problemOfText(text, addedTexts, known);
    if (problem) throw new UserError(`the token ${JSON.stringify(text)} cannot be added`, problem);
    if (next >= idLimit) throw new UserError(`${dir} has no free id`, { found: `the id ${next - 1}` });
    addedTexts.add(text);
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special };
    known.set(text, next);
    added.push({ id: next, content: text, ...flags });
    // Plain assignment would set the prototype for `__proto__`.
    Object.defineProperty(model.vocab, text, { value: next, enumerable: true, configurable: true, writable: true });
    decoder[next] = { content: text, ...flags };
    ids.push(next++);
  }
  writeJson(dir, tokenizerFileName, content);
  const config = join(dir, 'tokenizer_config.json');
  if (existsSync(config)) {
    const value = readJson(config) as { added_tokens_decoder?: object };
    writeJson(dir, 'tokenizer_config.json', {
      ...value,
      added_tokens_decoder: { ...value.added_tokens_decoder, ...decoder },
    });
  }
  return ids;
}

/** Why a text cannot be a new token; `known` has the tokens of the vocabulary as it spells them, and added ones. */
function problemOfText(
  text: string,
  addedTexts: ReadonlySet<string>,
  known: ReadonlyMap<string, number>,
): UserErrorDetails | undefined {
  if (text === '') return { found: 'an empty text', expected: 'text' };
  const id = addedTexts.has(text) ? known.get(text) : known.get(bytesToAlphabet(Buffer.from(text, 'utf8')));
  if (id !== undefined) return { found: `it has the id ${id}`, expected: 'a text that is no token yet' };
  const taken = known.get(text);
  if (taken === undefined) return undefined;
  const bytes = Buffer.from(alphabetToBytes(text) ?? []).toString('hex');
  return {
    found: `in tokenizer.json ${JSON.stringify(text)} is how the token ${taken} is spelled, which is the bytes ${bytes}`,
    expected: 'a text that spells no other token',
    next: 'add a longer text that holds it',
  };
}

function writeJson(dir: string, name: string, value: unknown): void {
  writeJsonAtomic(join(dir, name), value);
}

/** A copy in which every string, and every key, is what `replace` makes of it. */
function replaceStrings(value: unknown, replace: (text: string) => string): unknown {
  if (typeof value === 'string') return replace(value);
  if (Array.isArray(value)) return value.map((item: unknown) => replaceStrings(item, replace));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, field]) => [replace(key), replaceStrings(field as unknown, replace)]),
  );
}
