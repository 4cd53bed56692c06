// Language identification: what one model or several say about a text, as an ISO 639-3 code.
//
// lid.176 by Facebook AI Research (Joulin et al., 2016; CC-BY-SA-3.0 by its page) knows 176 languages and comes with npm's
// fasttext.wasm.js. `belay data train-languages` makes a model of 445 more or less the same and rarer ones. Models are asked
// together by adding their probabilities, language by language: where both know a language their votes add up, and one that
// a single model knows must beat them alone. A single language of one model that is part of another's macrolanguage votes
// for that (cmn for zho).
//
// Does not: handle mixed-language texts; one text, one verdict.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type FastTextModel, readFastTextModel } from './fasttext/model.ts';
import { languageOfTag, languageOfWikipediaCode, sameLanguage } from './language-codes.ts';

export interface Identification {
  /** ISO 639-3; `und` where the text has nothing that a model knows. */
  readonly language: string;
  /** Probability, the mean of all models', 0 to 1. */
  readonly confidence: number;
}

export interface LanguageIdentifier {
  /** ISO 639-3 codes it can answer. */
  readonly languages: ReadonlySet<string>;
  identify(text: string): Identification;
}

/** Long texts are judged by their beginning: the verdict settles long before. */
export const maxCharacters = 10_000;

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

/** Loads the identifier of one or several models, or undefined where lid.176, the default, is missing. */
export function loadLanguageIdentifier(
  paths: readonly string[] = [findLanguageModel()].filter((path) => path !== undefined),
): LanguageIdentifier | undefined {
  const [first, ...others] = paths.map((path) => readFastTextModel(path));
  if (first === undefined) return undefined;
  return others.length === 0 ? single(first) : together([first, ...others]);
}

const unknown: Identification = { language: 'und', confidence: 0 };

function single(model: FastTextModel): LanguageIdentifier {
  const languages = languagesOf(model);
  const byLabel = new Map(model.labels.map((label, i) => [label, languages[i] as string]));
  return {
    languages: new Set(languages),
    identify(text) {
      const best = text.trim() === '' ? undefined : model.predict(text.slice(0, maxCharacters))[0];
      if (!best) return unknown;
      return { language: byLabel.get(best.label) as string, confidence: Math.min(1, best.probability) };
    },
  };
}

function together(models: readonly FastTextModel[]): LanguageIdentifier {
  const languages: string[] = [];
  const members = models.map((model) => {
    // Earlier models' languages only: two of one model never fall together.
    const known = [...languages];
    const places = languagesOf(model).map((language) => {
      const exact = languages.indexOf(language);
      const at = exact >= 0 ? exact : known.findIndex((other) => sameLanguage(other, language));
      return at >= 0 ? at : languages.push(language) - 1;
    });
    return { model, places: Int32Array.from(places), probabilities: new Float64Array(places.length) };
  });
  const sums = new Float64Array(languages.length);
  return {
    languages: new Set(languages),
    identify(text) {
      const beginning = text.slice(0, maxCharacters);
      if (beginning.trim() === '') return unknown;
      sums.fill(0);
      let known = false;
      for (const { model, places, probabilities } of members) {
        if (!model.probabilities(beginning, probabilities)) continue;
        known = true;
        for (let i = 0; i < places.length; i++) {
          const at = places[i] as number;
          sums[at] = (sums[at] as number) + (probabilities[i] as number);
        }
      }
      if (!known) return unknown;
      let best = 0;
      for (let i = 1; i < sums.length; i++) if ((sums[i] as number) > (sums[best] as number)) best = i;
      return { language: languages[best] as string, confidence: Math.min(1, (sums[best] as number) / members.length) };
    },
  };
}

/** The language of each label: Wikipedia's codes where two letters name English, else tags or ISO 639-3. */
function languagesOf({ labels }: FastTextModel): string[] {
  return labels.map(labels.includes('en') ? languageOfWikipediaCode : languageOfTag);
}
