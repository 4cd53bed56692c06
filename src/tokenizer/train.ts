// Training of byte-level BPE: which pairs to join, most frequent first.
//
// The result depends on the texts alone. Ties go to the lower left id, then to the lower right id, which is the rule of
// Hugging Face tokenizers, so both train the same merges. Words are counted and merges are learnt in native code, by any
// number of threads; where there is none, train-words.ts and train-merges.ts do the same in TypeScript.
//
// Only the counts of distinct words are held, so the texts may be a stream of any length. Words are kept from the most
// frequent down while 24 bytes for each of their bytes and 48 for each word fit into `memoryBytes`; words that occur
// equally often stay or go together, and how many went is told.
//
// With parity lines, texts that say the same in several languages, each merge is the most frequent pair of the language
// that pays most tokens per line: parity-aware BPE (Foroutan et al., arXiv:2508.04796). A language leaves the choice once
// it has no pair that occurs twice.
//
// Does not: write files; tokenizer-files.ts does.
import { availableParallelism, tmpdir } from 'node:os';
import { UserError } from '../base/errors.ts';
import { nativeLibrary } from '../base/native.ts';
import { amount, type Log } from '../base/progress.ts';
import { bytesInAlphabetOrder } from './byte-level.ts';
import { personalDataMarkers, reservedTokens } from './special-tokens.ts';
import { learnedMerges, type Training } from './train-merges.ts';
import { NativeTraining } from './train-native.ts';
import { type CountedWords, WordCounts } from './train-words.ts';

export interface TrainingText {
  readonly text: string;
  /** Needed with parity lines only. */
  readonly language?: string | undefined;
}
export type TrainingTexts = AsyncIterable<string | TrainingText> | Iterable<string | TrainingText>;

export interface TrainBpeOptions {
  /** Lines that say the same in several languages: merges then go to the language that pays most for them. */
  readonly parity?: TrainingTexts | undefined;
  /** For words and their counts; default: 4 GiB. */
  readonly memoryBytes?: number | undefined;
  /** Default: all cores. */
  readonly threads?: number | undefined;
  /** false: in TypeScript, the oracle of the native code. */
  readonly native?: boolean | undefined;
  /** What `vocabularySize` is called where a user gives it, for messages; default: tokenizer.vocabularySize. */
  readonly sizeName?: string | undefined;
  /** Where counts that outgrow memory are put aside; default: the system's folder for temporary files. */
  readonly temporaryDir?: string | undefined;
}

/** A trained vocabulary. Ids: 0-72 reserved, 73-328 the bytes, then the merges in order. */
export interface TrainedVocabulary {
  /** [vocabularySize] bytes of each token; the reserved ones as UTF-8. */
  readonly tokens: readonly Uint8Array[];
  /** [merges][left, right] ids, first merge first. */
  readonly merges: readonly (readonly [number, number])[];
  readonly words: CountedWords;
  /** Where languages were balanced. */
  readonly parity?: BalancedLanguages | undefined;
}

/** What parity lines were good for. */
export interface BalancedLanguages {
  /** Languages with parity lines and texts. */
  readonly languages: number;
  /** Texts of languages without parity lines, from which nothing is learnt, by language. */
  readonly textsLeftOut: Readonly<Record<string, number>>;
  /** Languages with parity lines and without texts. */
  readonly withoutTexts: readonly string[];
}

const defaultMemoryBytes = 4 * 2 ** 30;

/** Tokens that text always matches whole: no merge inside them is used, so texts are cut there. */
export const matchedWhole: readonly string[] = [
  ...personalDataMarkers,
  ...reservedTokens.filter(({ special }) => !special).map(({ content }) => content),
];

/** Trains on texts up to `vocabularySize` entries. */
export async function trainBpe(
  texts: TrainingTexts,
  vocabularySize: number,
  log: Log,
  options: TrainBpeOptions = {},
): Promise<TrainedVocabulary> {
  const smallest = reservedTokens.length + 256;
  const { sizeName = 'tokenizer.vocabularySize' } = options;
  if (vocabularySize < smallest) {
    throw new UserError('the vocabulary is too small', {
      found: `${sizeName} ${vocabularySize}`,
      expected: `at least ${smallest}: ${reservedTokens.length} reserved ids and 256 bytes`,
      next: `set ${sizeName} to ${smallest} or more`,
    });
  }
  const training = openTraining(options);
  try {
    const languages = new Map<string, number>();
    /** Parity lines and texts of each language. */
    const units: number[] = [];
    const numTexts: number[] = [];
    const languageOf = (name: string | undefined): number => {
      const key = name ?? 'und';
      let language = languages.get(key);
      if (language === undefined) {
        languages.set(key, (language = languages.size));
        units.push(0);
        numTexts.push(0);
      }
      return language;
    };
    if (options.parity) {
      for await (const line of options.parity) {
        const { text, language: name } = typeof line === 'string' ? { text: line, language: undefined } : line;
        const language = languageOf(name);
        units[language] = (units[language] as number) + 1;
        training.add(wellFormed(text), 2 * language + 1);
      }
      if (languages.size < 2) {
        throw new UserError('parity lines compare languages', {
          found: `${languages.size === 0 ? 'no line' : `the language ${[...languages.keys()].join()} alone`}`,
          expected: 'lines {"text", "language"} that say the same in two languages or more',
        });
      }
    }
    const progress = log.progress('counting words', 0, 'characters');
    let read = 0;
    for await (const one of texts) {
      const { text, language } = typeof one === 'string' ? { text: one, language: undefined } : one;
      let group = 0;
      if (options.parity) {
        const number = languageOf(language);
        numTexts[number] = (numTexts[number] as number) + 1;
        group = 2 * number;
      }
      training.add(wellFormed(text), group);
      read += text.length;
      progress.update(read);
    }
    const words = training.counted();
    const left =
      words.leftOut > 0
        ? `, of which ${amount(words.leftOut)} that occur less than ${words.least} times are left out`
        : '';
    progress.finish(`${amount(words.met)} distinct words in ${amount(read)} characters${left}`);
    const parity = options.parity ? balanced([...languages.keys()], units, numTexts) : undefined;
    if (parity) tellBalanced(parity, log);
    return { ...learn(training, words, Float64Array.from(units), vocabularySize, sizeName, log), parity };
  } finally {
    training.close();
  }
}

/** Which languages parity lines balance; a UserError where that is none. */
function balanced(names: readonly string[], units: readonly number[], numTexts: readonly number[]): BalancedLanguages {
  const withLines = names.filter((_, i) => (units[i] as number) > 0);
  const without = names.flatMap((name, i) => (units[i] === 0 ? [[name, numTexts[i] as number] as const] : []));
  const withoutTexts = names.filter((_, i) => (units[i] as number) > 0 && numTexts[i] === 0);
  if (withoutTexts.length === withLines.length) {
    throw new UserError('no text is in a language of the parity lines', {
      found:
        without.length === 0 ? 'no text' : `texts in ${someOf(without.map(([name, count]) => `${name} (${count})`))}`,
      expected: `texts in ${someOf(withLines)}`,
      next: 'give texts as lines {"text", "language"}, with the names that the parity lines have; without a language it is und',
    });
  }
  return {
    languages: withLines.length - withoutTexts.length,
    textsLeftOut: Object.fromEntries(without),
    withoutTexts,
  };
}

function tellBalanced({ textsLeftOut, withoutTexts }: BalancedLanguages, log: Log): void {
  const left = Object.entries(textsLeftOut);
  if (left.length > 0) {
    const all = left.reduce((sum, [, count]) => sum + count, 0);
    const named = someOf(left.map(([name, count]) => `${name} (${count})`));
    log.line(`tokenizer: nothing is learnt from ${all} texts in languages without parity lines: ${named}`);
  }
  if (withoutTexts.length > 0) log.line(`tokenizer: parity lines without texts to learn from: ${someOf(withoutTexts)}`);
}

function someOf(names: readonly string[]): string {
  const most = 8;
  const more = names.length - most;
  return names.slice(0, most).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** Half of a surrogate pair alone becomes U+FFFD, as in UTF-8. */
function wellFormed(text: string): string {
  const { isWellFormed, toWellFormed } = text as unknown as {
    readonly isWellFormed: () => boolean;
    readonly toWellFormed: () => string;
  };
  return isWellFormed.call(text) ? text : toWellFormed.call(text);
}

function openTraining({ native, threads, memoryBytes = defaultMemoryBytes, temporaryDir }: TrainBpeOptions): Training {
  const library = nativeLibrary();
  if (native === true && !('module' in library)) throw new Error(`no native library: ${library.why}`);
  if (native === false || !('module' in library)) {
    const counts = new WordCounts(memoryBytes, matchedWhole);
    return {
      add: (text, group) => counts.add(text, group),
      counted: () => counts.counted(),
      learner: (idOfByte, firstFree, units) => learnedMerges(counts.words(), idOfByte, firstFree, units),
      close: () => {},
    };
  }
  const workers = threads ?? availableParallelism();
  return new NativeTraining(library.module, workers, memoryBytes, temporaryDir ?? tmpdir(), matchedWhole);
}

/** Merges that are learnt before progress is shown again. */
const mergesAtOnce = 256;

function learn(
  training: Training,
  words: CountedWords,
  units: Float64Array,
  vocabularySize: number,
  sizeName: string,
  log: Log,
): TrainedVocabulary {
  const firstByte = reservedTokens.length;
  const idOfByte = new Int32Array(256);
  const tokens: Uint8Array[] = reservedTokens.map(({ content }) => Buffer.from(content, 'utf8'));
  bytesInAlphabetOrder.forEach((byte, i) => {
    idOfByte[byte] = firstByte + i;
    tokens.push(Uint8Array.of(byte));
  });
  const merges: [number, number][] = [];
  const progress = log.progress('learning merges', vocabularySize, 'tokens');
  const learner = training.learner(idOfByte, tokens.length, units);
  while (tokens.length < vocabularySize) {
    const wanted = Math.min(mergesAtOnce, vocabularySize - tokens.length);
    const learnt = learner(wanted);
    for (let i = 0; i < learnt.length; i += 3) {
      const [left, right, made] = learnt.subarray(i, i + 3) as unknown as [number, number, number];
      merges.push([left, right]);
      // Two merges can make the same bytes; the second one reuses the id of the first.
      if (made === tokens.length) tokens.push(Buffer.concat([tokens[left] as Uint8Array, tokens[right] as Uint8Array]));
    }
    if (learnt.length < 3 * wanted && tokens.length < vocabularySize) {
      throw new UserError('the texts are too few for this vocabulary', {
        found: `${tokens.length} tokens until no pair was left`,
        expected: `${sizeName} ${vocabularySize}`,
        next: `use more texts or set ${sizeName} to ${tokens.length} or less`,
      });
    }
    progress.update(tokens.length);
  }
  progress.finish(`${tokens.length} tokens`);
  return { tokens, merges, words };
}
