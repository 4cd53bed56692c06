// `belay tokenizer eval`: several tokenizers side by side on the same texts.
//
// Texts are lines of languages: a file of yours, or the thirty articles of the declaration of human rights, which say the
// same in hundreds of languages, so that tokens per line compare what a language costs.
//
// Does not: compute the measures; tokenizer/metrics.ts does.
import { basename, dirname, join, resolve } from 'node:path';
import { buildCommand } from '@stricli/core';
import { writeFileAtomic, writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { type Log, silentLog, terminalLog } from '../base/progress.ts';
import { udhrArticles } from '../data/sources/udhr-articles.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import {
  type LineUnits,
  type MeasuredTokenizer,
  type TokenizerComparison,
  TokenizerMeter,
  unitsOf,
} from '../tokenizer/metrics.ts';
import { type LeftOut, requireTextFile, textsOf, toldLeftOut } from '../tokenizer/text-files.ts';
import { tokenizerPicture } from './tokenizer-picture.ts';

export interface MeasuredLine {
  readonly language: string;
  readonly text: string;
}

/** What turns a text into ids, under a name. */
export interface NamedTokenizer {
  readonly name: string;
  readonly vocabularySize: number;
  readonly encode: (text: string) => ArrayLike<number>;
}

/** Measures tokenizers on the same lines. `leftOut` counts those that were left out before, and takes those without words. */
export async function compareTokenizers(
  tokenizers: readonly NamedTokenizer[],
  lines: AsyncIterable<MeasuredLine> | Iterable<MeasuredLine>,
  texts: string,
  log: Log = silentLog,
  leftOut: LeftOut = new Map(),
): Promise<TokenizerComparison> {
  const meters = tokenizers.map(({ vocabularySize }) => new TokenizerMeter(vocabularySize));
  const progress = log.progress('measuring', 0, 'lines');
  let count = 0;
  for await (const { language, text } of lines) {
    const units: LineUnits = unitsOf(text);
    if (units.words === 0) {
      leftOut.set(noWords, (leftOut.get(noWords) ?? 0) + 1);
      continue;
    }
    for (const [i, { encode }] of tokenizers.entries()) meters[i]?.add(language, encode(text), units);
    progress.update(++count);
  }
  progress.finish(`${count} lines`);
  if (count === 0) {
    throw new UserError(`${texts} holds no line with words`, {
      found: toldLeftOut(leftOut) ?? 'no line',
      next: 'give texts to measure on',
    });
  }
  const measured = meters.map((meter, i) => ({ name: (tokenizers[i] as NamedTokenizer).name, ...meter.metrics() }));
  const languages = Object.keys((measured[0] as MeasuredTokenizer).languages).length;
  return {
    texts,
    lines: count,
    languages,
    leftOut: Object.fromEntries(leftOut),
    tokenizers: measured,
  };
}

/** The articles of the declaration as lines, language by language. */
export async function* udhrLines(): AsyncGenerator<MeasuredLine> {
  for (const { language, articles } of await udhrArticles()) for (const text of articles) yield { language, text };
}

const noWords = 'no words';

async function* linesOf(path: string, leftOut: LeftOut): AsyncGenerator<MeasuredLine> {
  for await (const { text, language = 'und' } of textsOf(path, leftOut)) yield { text, language };
}

/** A tokenizer by `PATH` or `NAME=PATH`; without a name that of its folder. */
function namedTokenizer(argument: string): NamedTokenizer {
  const [, given, path = argument] = /^([^=/]+)=(.+)$/.exec(argument) ?? [];
  const full = resolve(path);
  const name = given ?? basename(full.endsWith('.json') ? dirname(full) : full);
  const tokenizer = Tokenizer.load(path);
  return { name, vocabularySize: tokenizer.vocabularySize, encode: (text) => tokenizer.encodeOrdinary(text) };
}

/** The comparison as a table in Markdown. */
export function comparisonTable({ tokenizers }: TokenizerComparison): string {
  const columns = ['tokenizer', 'entries', 'tokens', 'tokens/word', 'bytes/token', 'characters/token', 'used', 'Gini'];
  const rows = tokenizers.map(({ name, vocabularySize, all, cost }) => [
    name,
    String(vocabularySize),
    String(all.tokens),
    all.fertility.sumRatio.toFixed(3),
    all.bytesPerToken.toFixed(3),
    all.charactersPerToken.toFixed(3),
    `${(100 * all.vocabularyUtilisation).toFixed(1)} %`,
    cost.lines.gini.toFixed(4),
  ]);
  const widths = columns.map((title, c) => Math.max(title.length, ...rows.map((row) => (row[c] as string).length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, c) => (c === 0 ? cell.padEnd(widths[c] as number) : cell.padStart(widths[c] as number))).join(' | ')} |`;
  const rule = `|${widths.map((width, c) => (c === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(columns), rule, ...rows.map(line)].join('\n');
}

/** The comparison as a page in Markdown. */
function comparisonText(comparison: TokenizerComparison): string {
  const { texts, lines, languages, leftOut } = comparison;
  const left = toldLeftOut(new Map(Object.entries(leftOut)));
  return `${comparisonTable(comparison)}

${lines} lines in ${languages} ${languages === 1 ? 'language' : 'languages'} of ${texts}${left === undefined ? '' : `; ${left}`}. tokens/word: a word is a run of letters and digits, or of other
characters. Gini: of the languages' tokens per line, 0 where all cost the same; it means something on parallel texts.
`;
}

interface Flags {
  readonly tokenizer: readonly string[];
  readonly texts?: string;
  readonly udhr: boolean;
  readonly out?: string;
  readonly json: boolean;
}

export const command = buildCommand<Flags>({
  docs: {
    brief: 'measure tokenizers side by side',
    fullDescription: `Fertility (tokens per word), bytes and characters per token, the share of the vocabulary in use, and the Gini coefficient
of what languages cost in tokens per line. --texts is a file of lines {"text": "...", "language": "deu"}, or .txt with a text a
line; --udhr takes the thirty articles of the declaration of human rights in hundreds of languages. --out leaves
tokenizers.json (with numbers by language), tokenizers.md and tokenizers.svg in a folder.

EXAMPLE
  belay tokenizer eval --tokenizer out/demo/tokenizer --tokenizer nemo=nemo/tokenizer.json --udhr --out out/tokenizers`,
  },
  parameters: {
    flags: {
      tokenizer: {
        kind: 'parsed',
        parse: String,
        brief: 'tokenizer.json or its folder, or NAME=PATH; repeated for each',
        variadic: true,
      },
      texts: {
        kind: 'parsed',
        parse: String,
        brief: '.jsonl or .txt, also .gz or .zst',
        placeholder: 'FILE',
        optional: true,
      },
      udhr: { kind: 'boolean', brief: 'the declaration of human rights', default: false },
      out: {
        kind: 'parsed',
        parse: String,
        brief: 'folder for JSON, table and picture',
        placeholder: 'DIR',
        optional: true,
      },
      json: { kind: 'boolean', brief: 'print the numbers as JSON, and no progress', default: false },
    },
  },
  async func({ tokenizer, texts, udhr, out, json }) {
    if (tokenizer.length === 0) throw new UserError('no tokenizer is given', { next: '--tokenizer PATH' });
    if ((texts === undefined) === !udhr) {
      throw new UserError('the texts to measure on are to be given once', { next: '--texts FILE.jsonl or --udhr' });
    }
    if (texts !== undefined) requireTextFile(texts);
    const named = tokenizer.map(namedTokenizer);
    const twice = named.find(({ name }, i) => named.findIndex((other) => other.name === name) !== i);
    if (twice) {
      throw new UserError(`two tokenizers have the name ${twice.name}`, {
        next: '--tokenizer NAME=PATH gives another',
      });
    }
    const leftOut: LeftOut = new Map();
    const lines = texts === undefined ? udhrLines() : linesOf(texts, leftOut);
    const source = texts ?? 'the declaration of human rights';
    const comparison = await compareTokenizers(named, lines, source, terminalLog({ quiet: json }), leftOut);
    if (out !== undefined) {
      writeJsonAtomic(join(out, 'tokenizers.json'), comparison);
      writeFileAtomic(join(out, 'tokenizers.md'), comparisonText(comparison));
      writeFileAtomic(join(out, 'tokenizers.svg'), tokenizerPicture(comparison));
    }
    process.stdout.write(json ? `${JSON.stringify(comparison)}\n` : comparisonText(comparison));
  },
});
