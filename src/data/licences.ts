// Licences as pages state them (an address, or words) to SPDX identifiers.
//
// Does not: judge whether a licence allows training; a statement it does not know is passed on as it is written.

const creativeCommons = /creativecommons\.org\/(licenses|publicdomain)\/([a-z-]+)\/(\d\.\d)/i;
const known = new Map([
  ['public domain', 'CC-PDM-1.0'],
  ['cc0', 'CC0-1.0'],
  ['cc0 1.0', 'CC0-1.0'],
  ['cc by 4.0', 'CC-BY-4.0'],
  ['cc by-sa 4.0', 'CC-BY-SA-4.0'],
  ['cc by-sa 3.0', 'CC-BY-SA-3.0'],
]);

/** SPDX identifier of a licence statement; `unknown` where there is none. */
export function licenceOf(statement: string | undefined): string {
  const text = (statement ?? '').trim().replace(/\s+/g, ' ');
  if (text === '') return 'unknown';
  const match = creativeCommons.exec(text);
  if (match) {
    const [, family, name, version] = match as unknown as [string, string, string, string];
    if (family.toLowerCase() === 'licenses') return `CC-${name.toUpperCase()}-${version}`;
    if (name.toLowerCase() === 'zero') return `CC0-${version}`;
    if (name.toLowerCase() === 'mark') return `CC-PDM-${version}`;
  }
  const gnu = /gnu\.org\/licenses\/(?:old-licenses\/)?(gpl|lgpl|agpl|fdl)-(\d\.\d)/i.exec(text);
  if (gnu) return `${gnu[1]?.toLowerCase() === 'fdl' ? 'GFDL' : gnu[1]?.toUpperCase()}-${gnu[2]}-only`;
  return known.get(text.toLowerCase()) ?? text.slice(0, 200);
}
