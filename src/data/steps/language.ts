// The language and the script of a document: a second opinion, noted beside the label it came with.
//
// Models err on close relatives, while labels are mostly stated by the source, so a disagreement is counted and changes
// nothing unless the settings ask for it.
//
// Does not: identify (language-id.ts, scripts.ts).
import { existsSync } from 'node:fs';
import { z } from 'zod';
import { type Document, withNote } from '../../base/document.ts';
import { UserError } from '../../base/errors.ts';
import type { Json } from '../../base/json.ts';
import type { LedgerRow } from '../../base/ledger.ts';
import { sameLanguage } from '../language-codes.ts';
import { findLanguageModel, type LanguageIdentifier, loadLanguageIdentifier, maxCharacters } from '../language-id.ts';
import { scriptOf } from '../scripts.ts';
import { defineStep, type Step } from '../step.ts';

const name = 'language';

const settings = z.strictObject({
  /** `lid.176` (of the npm package fasttext.wasm.js), paths of fastText models, a list of them, or null for none. */
  model: z
    .union([z.string(), z.array(z.string()).min(1)])
    .nullable()
    .default('lid.176'),
  /** Notes the script too. */
  script: z.boolean().default(false),
  /** Less sure answers drop the document. */
  minConfidence: z.number().min(0).max(1).default(0),
  /** ISO 639-3 codes; documents in others are dropped. */
  languages: z.array(z.string()).nullable().default(null),
  /** Which labels give way to the answer: none, `und`, or all. */
  relabel: z.enum(['none', 'unknown', 'all']).default('none'),
});

export type LanguageSettings = z.output<typeof settings>;

/** The step for an identifier, or for none where there is no model. */
export function languageStep(
  identifier: LanguageIdentifier | undefined,
  { script, minConfidence, languages, relabel }: Omit<LanguageSettings, 'model'> = settings.parse({}),
): Step {
  const scriptNote = (text: string): Record<string, Json> => {
    if (!script) return {};
    const found = scriptOf(text, maxCharacters);
    return { script: found.script, scriptShare: rounded(found.share) };
  };
  return {
    name,
    run(document) {
      const { text, language: label } = document;
      if (!identifier) {
        return {
          keep: withNote(document, name, { identified: null, why: 'no model installed', ...scriptNote(text) }),
        };
      }
      const { language, confidence } = identifier.identify(text);
      const detail = `${language}, ${rounded(confidence)}`;
      if (confidence < minConfidence) return { drop: { reason: 'low-confidence', detail } };
      if (languages && !languages.some((each) => sameLanguage(each, language)))
        return { drop: { reason: 'other-language', detail } };
      const changes =
        language !== 'und' && language !== label && (relabel === 'all' || (relabel === 'unknown' && isUnknown(label)));
      const note = {
        identified: language,
        confidence: rounded(confidence),
        agrees: sameLanguage(language, label),
        ...(changes ? { label } : {}),
        ...scriptNote(text),
      };
      const kept: Document = changes ? { ...document, language } : document;
      return { keep: withNote(kept, name, note) };
    },
  };
}

const rounded = (share: number): number => Math.round(share * 1000) / 1000;

const isUnknown = (label: string): boolean => label === 'und' || label === '';

/** Paths of the models that a setting names; those that are not installed are left out. */
export function modelPaths(model: LanguageSettings['model']): string[] {
  return [model ?? []].flat().flatMap((each) => {
    const path = each === 'lid.176' ? findLanguageModel() : each;
    return path === undefined ? [] : [path];
  });
}

export const definition = defineStep({
  name,
  brief: 'the language and script, as a note, a filter or a new label',
  settings,
  files: ({ model }) => modelPaths(model),
  make({ model, ...rest }, { log }) {
    const paths = modelPaths(model);
    const missing = paths.find((path) => !existsSync(path));
    if (missing !== undefined) {
      throw new UserError(`a model of the step ${name} is not there`, {
        found: missing,
        next: 'belay data train-languages --help',
      });
    }
    if (paths.length < [model ?? 'none'].flat().length) {
      // Labels that others state can stand alone; a filter or a new label cannot.
      if (paths.length > 0 || rest.minConfidence > 0 || rest.languages !== null || rest.relabel !== 'none') {
        throw new UserError(`the step ${name} has not all of its models`, {
          found: JSON.stringify(model),
          expected: 'fastText models; lid.176 is part of the npm package fasttext.wasm.js',
          next: 'npm install fasttext.wasm.js',
        });
      }
      if (model !== null)
        log.line('language identification: no model found (npm package fasttext.wasm.js); labels stand alone');
    }
    return languageStep(paths.length === 0 ? undefined : loadLanguageIdentifier(paths), rest);
  },
});

/** How often the identifier agrees with the labels. */
export interface Agreement {
  documents: number;
  /** Documents whose labelled language the identifier knows at all. */
  known: number;
  agree: number;
  readonly languages: Record<string, { documents: number; agree: number; known: boolean }>;
}

/** The agreement that the rows of a ledger tell of; `known`: the languages that the identifier can answer. */
export async function agreementOf(rows: AsyncIterable<LedgerRow>, known: ReadonlySet<string>): Promise<Agreement> {
  const agreement: Agreement = { documents: 0, known: 0, agree: 0, languages: {} };
  for await (const { language, notes } of rows) {
    const note = notes?.[name] as { readonly identified: string | null; readonly agrees?: boolean } | undefined;
    if (!note || note.identified === null) continue;
    const entry = (agreement.languages[language] ??= {
      documents: 0,
      agree: 0,
      known: [...known].some((each) => sameLanguage(each, language)),
    });
    agreement.documents++;
    entry.documents++;
    if (entry.known) agreement.known++;
    if (note.agrees !== true) continue;
    agreement.agree++;
    entry.agree++;
  }
  return agreement;
}
