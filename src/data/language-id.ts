// Language identification: what lid.176 says about a text, noted beside the label the document came with.
//
// The verdict is a second opinion. lid.176 knows 176 languages and errs on close relatives, while labels here are
// stated by the source, so a disagreement is counted and never drops a document.
// Model: lid.176.ftz by Facebook AI Research (Joulin et al., 2016; CC-BY-SA-3.0 by its page), which npm's
// fasttext.wasm.js ships.
//
// Does not: handle mixed-language texts; one text, one verdict.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { languageOfWikipediaCode } from './language-codes.ts';
import { readFastTextModel } from './fasttext/model.ts';

export interface Identification {
  /** ISO 639-3. */
  readonly language: string;
  /** Probability the model gives it, 0 to 1. */
  readonly confidence: number;
}

export interface LanguageIdentifier {
  /** ISO 639-3 codes it can answer. */
  readonly languages: ReadonlySet<string>;
  identify(text: string): Identification;
}

/** Long texts are judged by their beginning: the verdict settles long before. */
const maxCharacters = 10_000;

/** Path of lid.176.ftz in node_modules, or undefined where the package or the file is missing. */
export function findLanguageModel(): string | undefined {
  try {
    const main = createRequire(import.meta.url).resolve('fasttext.wasm.js');
    const path = join(dirname(main), '../models/language-identification/assets/lid.176.ftz');
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** Loads the identifier, or undefined where its model is missing. */
export function loadLanguageIdentifier(path = findLanguageModel()): LanguageIdentifier | undefined {
  if (path === undefined) return undefined;
  const model = readFastTextModel(path);
  return {
    languages: new Set(model.labels.map(languageOfWikipediaCode)),
    identify(text) {
      const best = text.trim() === '' ? undefined : model.predict(text.slice(0, maxCharacters))[0];
      if (!best) return { language: 'und', confidence: 0 };
      return { language: languageOfWikipediaCode(best.label), confidence: Math.min(1, best.probability) };
    },
  };
}
