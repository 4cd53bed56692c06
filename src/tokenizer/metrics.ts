// How well a vocabulary serves languages: fertility, compression, use of the vocabulary, and how unequal the cost is.
//
// The formulas are those of the Apertus report and of its evaluation program, which differ in fertility (a ratio of sums
// against a mean of the lines' ratios), so both are given. Cost is tokens per unit; on texts that say the same in every
// language the unit is the line, and the Gini coefficient over the languages says how unequally they pay: 0 is equal.
//
// Does not: encode; commands/tokenizer-eval.ts does.

/** What a line of text holds. */
export interface LineUnits {
  /** UTF-8. */
  readonly bytes: number;
  /** Code points. */
  readonly characters: number;
  /** Runs of letters, digits and _, or of other characters that are no spaces. */
  readonly words: number;
  /** Runs of characters that are no spaces. */
  readonly spacedWords: number;
}

/** Spaces as Python knows them. */
const space = String.raw`\p{White_Space}\x1c-\x1f`;
const wordRuns = new RegExp(String.raw`[\p{L}\p{N}_]+|[^\p{L}\p{N}_${space}]+`, 'gu');
const spacedRuns = new RegExp(`[^${space}]+`, 'gu');

/** Counts the units of a line. */
export function unitsOf(text: string): LineUnits {
  let characters = 0;
  for (let i = 0; i < text.length; i++) if ((text.charCodeAt(i) & 0xfc00) !== 0xdc00) characters++;
  return {
    bytes: Buffer.byteLength(text, 'utf8'),
    characters,
    words: text.match(wordRuns)?.length ?? 0,
    spacedWords: text.match(spacedRuns)?.length ?? 0,
  };
}

export interface Fertility {
  /** Tokens of all lines / words of all lines, as the report has it. */
  readonly sumRatio: number;
  /** Mean over lines of tokens / words, as the evaluation program has it. */
  readonly meanOfLineRatios: number;
}

/** What is measured of a language, and of all lines together. */
export interface LineMetrics {
  readonly lines: number;
  readonly tokens: number;
  readonly bytesPerToken: number;
  readonly charactersPerToken: number;
  /** Mean over lines of 1 / tokens: the compression of the report with the line as its unit. */
  readonly linesPerToken: number;
  readonly fertility: Fertility;
  readonly spacedFertility: Fertility;
  /** Distinct tokens in use. */
  readonly used: number;
  /** `used` / size of the vocabulary. */
  readonly vocabularyUtilisation: number;
}

export const costUnits = ['lines', 'bytes', 'characters', 'words'] as const;
export type CostUnit = (typeof costUnits)[number];

export interface TokenizerMetrics {
  readonly vocabularySize: number;
  readonly all: LineMetrics;
  readonly languages: Readonly<Record<string, LineMetrics>>;
  /** Cost is tokens per unit, `words` being those between spaces. */
  readonly cost: Readonly<
    Record<CostUnit, { readonly gini: number; readonly perLanguage: Readonly<Record<string, number>> }>
  >;
}

/** A tokenizer among others. */
export interface MeasuredTokenizer extends TokenizerMetrics {
  readonly name: string;
}

export interface TokenizerComparison {
  /** Where the texts are from. */
  readonly texts: string;
  readonly lines: number;
  readonly languages: number;
  /** Lines that were left out, by reason. */
  readonly leftOut: Readonly<Record<string, number>>;
  readonly tokenizers: readonly MeasuredTokenizer[];
}

/** Sums of lines. */
class Sums {
  lines = 0;
  tokens = 0;
  bytes = 0;
  characters = 0;
  words = 0;
  spacedWords = 0;
  private inverse = 0;
  private ratio = 0;
  private spacedRatio = 0;
  private readonly seen: Uint8Array;
  private used = 0;

  constructor(vocabularySize: number) {
    this.seen = new Uint8Array(vocabularySize);
  }

  add(ids: ArrayLike<number>, units: LineUnits): void {
    this.lines++;
    this.tokens += ids.length;
    this.bytes += units.bytes;
    this.characters += units.characters;
    this.words += units.words;
    this.spacedWords += units.spacedWords;
    this.inverse += 1 / ids.length;
    this.ratio += ids.length / units.words;
    this.spacedRatio += ids.length / units.spacedWords;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      if (this.seen[id] !== 0) continue;
      this.seen[id] = 1;
      this.used++;
    }
  }

  metrics(): LineMetrics {
    const { lines, tokens, used } = this;
    return {
      lines,
      tokens,
      bytesPerToken: this.bytes / tokens,
      charactersPerToken: this.characters / tokens,
      linesPerToken: this.inverse / lines,
      fertility: { sumRatio: tokens / this.words, meanOfLineRatios: this.ratio / lines },
      spacedFertility: { sumRatio: tokens / this.spacedWords, meanOfLineRatios: this.spacedRatio / lines },
      used,
      vocabularyUtilisation: used / this.seen.length,
    };
  }

  cost(unit: CostUnit): number {
    return this.tokens / (unit === 'words' ? this.spacedWords : this[unit]);
  }
}

/** Gathers lines of languages as a tokenizer cuts them. */
export class TokenizerMeter {
  private readonly vocabularySize: number;
  private readonly all: Sums;
  private readonly languages = new Map<string, Sums>();

  constructor(vocabularySize: number) {
    this.vocabularySize = vocabularySize;
    this.all = new Sums(vocabularySize);
  }

  /** Adds a line with words in it. */
  add(language: string, ids: ArrayLike<number>, units: LineUnits): void {
    if (units.words === 0 || ids.length === 0) throw new Error('TokenizerMeter.add: a line without words');
    let sums = this.languages.get(language);
    if (!sums) this.languages.set(language, (sums = new Sums(this.vocabularySize)));
    sums.add(ids, units);
    this.all.add(ids, units);
  }

  metrics(): TokenizerMetrics {
    const rows = [...this.languages];
    const costOf = (unit: CostUnit) => {
      const perLanguage = Object.fromEntries(rows.map(([name, sums]) => [name, sums.cost(unit)]));
      return { gini: gini(Object.values(perLanguage)), perLanguage };
    };
    return {
      vocabularySize: this.vocabularySize,
      all: this.all.metrics(),
      languages: Object.fromEntries(rows.map(([name, sums]) => [name, sums.metrics()])),
      cost: {
        lines: costOf('lines'),
        bytes: costOf('bytes'),
        characters: costOf('characters'),
        words: costOf('words'),
      },
    };
  }
}

/** The Gini coefficient: (n + 1 - 2 sum of (n + 1 - i) c_i / sum of c) / n with costs c ascending, i from 1. */
export function gini(costs: readonly number[]): number {
  const ascending = [...costs].sort((a, b) => a - b);
  const n = ascending.length;
  let sum = 0;
  let weighted = 0;
  ascending.forEach((cost, i) => {
    sum += cost;
    weighted += (n - i) * cost;
  });
  return sum === 0 ? 0 : (n + 1 - (2 * weighted) / sum) / n;
}
