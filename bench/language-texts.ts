// Texts in known languages that identifiers of languages were not trained on: translations of programs' messages, from
// the .mo files of Debian packages, and translated test questions.
//
// Messages are stripped of markup, marks of keys and places for values. A text that occurs under two languages is left
// out of both, so are messages that equal the English one, and those with few letters. Long texts are messages of one file
// joined in their order.
//
// Does not: unpack packages (language-id.ts says how).
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '../src/base/rng.ts';
import { languageOfTag } from '../src/data/language-codes.ts';

/** Bounds of the classes of length, in characters. */
export const lengths = [
  [20, 50],
  [50, 200],
  [200, 600],
] as const;

export interface LabelledText {
  /** ISO 639-3. */
  readonly language: string;
  /** Index into `lengths`. */
  readonly length: number;
  readonly text: string;
}

/** At most `count` texts of each language and length, from the .mo files below a folder. */
export function readMessages(folder: string, count: number, seed: number): LabelledText[] {
  const found = new Map<string, Set<string>[]>();
  for (const path of mosBelow(folder)) {
    const locale = /\/([A-Za-z_@]+)\/LC_MESSAGES\//.exec(path)?.[1] ?? '';
    const language = languageOfTag(locale.split(/[_@]/)[0]);
    if (language === 'und' || language === 'eng') continue;
    const of = found.get(language) ?? lengths.map(() => new Set<string>());
    found.set(language, of);
    let joined = '';
    for (const [english, translation] of readMo(readFileSync(path))) {
      const text = plain(translation);
      if (translation === english || text === plain(english) || !isProse(text)) continue;
      of[lengthOf(text)]?.add(text);
      joined = joined === '' ? text : `${joined} ${text}`;
      if (joined.length < lengths[2][0]) continue;
      if (joined !== text && joined.length < lengths[2][1]) of[2]?.add(joined);
      joined = '';
    }
  }
  const owners = new Map<string, number>();
  for (const sets of found.values())
    for (const set of sets) for (const text of set) owners.set(text, (owners.get(text) ?? 0) + 1);
  return [...found.keys()].sort().flatMap((language) =>
    (found.get(language) as Set<string>[]).flatMap((set, length) => {
      const own = [...set].filter((text) => owners.get(text) === 1).sort();
      const chosen = new Random(seed, 'messages', language, length).shuffle(own).slice(0, count);
      return chosen.length < 10 ? [] : chosen.map((text) => ({ language, length, text }));
    }),
  );
}

/** The questions of mgsm and the premises of xcopa in /work/shared/benchmarks' layout: `mgsm/xx.tsv`, `xcopa/xx.jsonl`. */
export function readQuestions(folder: string): LabelledText[] {
  const texts: LabelledText[] = [];
  const add = (file: string, text: string): void => {
    const length = lengthOf(text);
    if (length >= 0) texts.push({ language: languageOfTag(file.split('.')[0]), length, text });
  };
  for (const [name, read] of [
    ['mgsm', (line: string): string => line.split('\t')[0] as string],
    ['xcopa', (line: string): string => (JSON.parse(line) as { readonly premise: string }).premise],
  ] as const) {
    const dir = join(folder, name);
    for (const file of existsSync(dir) ? readdirSync(dir).sort() : [])
      for (const line of readFileSync(join(dir, file), 'utf8').trimEnd().split('\n')) add(file, read(line));
  }
  return texts;
}

function lengthOf(text: string): number {
  return lengths.findIndex(([from, to]) => text.length >= from && text.length < to);
}

function* mosBelow(folder: string): Generator<string> {
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* mosBelow(path);
    else if (entry.isFile() && entry.name.endsWith('.mo')) yield path;
  }
}

/** Pairs of a message and its translation (GNU gettext's format); the first form of plurals. */
function* readMo(bytes: Buffer): Generator<readonly [string, string]> {
  if (bytes.length < 28 || bytes.readUInt32LE(0) !== 0x950412de) return;
  const count = bytes.readUInt32LE(8);
  const at = (table: number, i: number): string => {
    const start = bytes.readUInt32LE(table + 8 * i + 4);
    return bytes.toString('utf8', start, start + bytes.readUInt32LE(table + 8 * i)).split('\0')[0] as string;
  };
  for (let i = 0; i < count; i++) {
    const english = at(bytes.readUInt32LE(12), i);
    const translation = at(bytes.readUInt32LE(16), i);
    // Without its context; the first entry is the file's header.
    if (english !== '') yield [english.slice(english.indexOf('\u0004') + 1), translation];
  }
}

function plain(message: string): string {
  return message
    .replace(/<[^<>]*>|&\w+;/g, ' ')
    .replace(/[&_](?=\p{L})|\([&_]?\p{L}\)/gu, '')
    .replace(/%\d*\$?[-+ #0]*\d*(?:\.\d+)?(?:l|ll|h|z)*[a-zA-Z]|%\(\w+\)s|%\d+|\$?[{(]\w+[)}]|\$\w+|--?\w[\w-]*/g, ' ')
    .replace(/(?:https?:\/\/|www\.)\S+|[\w.]+@[\w.]+/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Mostly letters, and not mostly in capitals. */
function isProse(text: string): boolean {
  const letters = text.match(/[\p{L}\p{M}]/gu)?.length ?? 0;
  const capitals = text.match(/\p{Lu}/gu)?.length ?? 0;
  return letters >= 12 && letters > 0.7 * text.replace(/\s/g, '').length && capitals < 0.4 * letters;
}
