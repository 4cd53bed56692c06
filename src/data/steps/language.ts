// A second opinion on the language of a document, noted beside the label it came with.
//
// The model errs on close relatives, while labels are stated by the source, so a disagreement is counted and never drops
// a document.
//
// Does not: identify (language-id.ts), or change a label.
import { z } from 'zod';
import { withNote } from '../../base/document.ts';
import { UserError } from '../../base/errors.ts';
import { errorText } from '../../base/json.ts';
import type { LedgerRow } from '../../base/ledger.ts';
import { sameLanguage } from '../language-codes.ts';
import { findLanguageModel, type LanguageIdentifier, loadLanguageIdentifier } from '../language-id.ts';
import { defineStep, type Step } from '../step.ts';

const name = 'language';

export function languageStep(identifier: LanguageIdentifier | undefined): Step {
  return {
    name,
    run(document) {
      if (!identifier) return { keep: withNote(document, name, { identified: null, why: 'no model installed' }) };
      const { language, confidence } = identifier.identify(document.text);
      const agrees = sameLanguage(language, document.language);
      const note = { identified: language, confidence: Math.round(confidence * 1000) / 1000, agrees };
      return { keep: withNote(document, name, note) };
    },
  };
}

const modelPath = (model: string | null): string | undefined =>
  model === 'lid.176' ? findLanguageModel() : (model ?? undefined);

function identifierAt(path: string): LanguageIdentifier | undefined {
  try {
    return loadLanguageIdentifier(path);
  } catch (cause) {
    throw new UserError('the model of the step language cannot be read', {
      found: errorText(cause),
      expected: 'a fastText classifier, .bin or .ftz',
      cause,
    });
  }
}

export const definition = defineStep({
  name,
  brief: 'a second opinion on the language',
  settings: z.strictObject({
    /** `lid.176` (of the npm package fasttext.wasm.js), the path of a fastText model, or null for none. */
    model: z.string().nullable().default('lid.176'),
  }),
  files({ model }) {
    const path = modelPath(model);
    return path === undefined ? [] : [path];
  },
  make({ model }, { log }) {
    const path = modelPath(model);
    if (model !== null && path === undefined) {
      log.line('language identification: no model found (npm package fasttext.wasm.js); labels stand alone');
    }
    return languageStep(path === undefined ? undefined : identifierAt(path));
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
