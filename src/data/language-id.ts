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
import { type Document, withNote } from '../base/document.ts';
import { languageOfWikipediaCode, sameLanguage } from './language-codes.ts';
import { readFastTextModel } from './readers/fasttext-model.ts';
import type { Step } from './step.ts';

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

/** How often the identifier agrees with the labels. */
export interface Agreement {
  documents: number;
  /** Documents whose labelled language the identifier knows at all. */
  known: number;
  agree: number;
  readonly languages: Record<string, { documents: number; agree: number; known: boolean }>;
}

/** The step of the pipeline, and the agreement it counts. */
export function languageStep(identifier: LanguageIdentifier | undefined): {
  readonly step: Step;
  readonly agreement: Agreement;
} {
  const agreement: Agreement = { documents: 0, known: 0, agree: 0, languages: {} };
  const knows = (label: string): boolean =>
    identifier !== undefined && [...identifier.languages].some((language) => sameLanguage(language, label));
  const run = (document: Document): { readonly keep: Document } => {
    if (!identifier) return { keep: withNote(document, 'language', { identified: null, why: 'no model installed' }) };
    const { language, confidence } = identifier.identify(document.text);
    const agrees = sameLanguage(language, document.language);
    const entry = (agreement.languages[document.language] ??= {
      documents: 0,
      agree: 0,
      known: knows(document.language),
    });
    agreement.documents++;
    entry.documents++;
    if (entry.known) agreement.known++;
    if (agrees) {
      agreement.agree++;
      entry.agree++;
    }
    const note = { identified: language, confidence: Math.round(confidence * 1000) / 1000, agrees };
    return { keep: withNote(document, 'language', note) };
  };
  return { step: { name: 'language', run }, agreement };
}
