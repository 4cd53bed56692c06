// The stage `tokenizer`: the training documents of the stage `documents` -> a folder with the tokenizer's files; and the
// same from files of texts, outside of any run.
//
// Does not: look at validation documents; what is held out is held out from the tokenizer too.
import { readDocuments } from '../base/documents-folder.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import type { Log } from '../base/progress.ts';
import { type Recipe, recipePart, trainedVocabularySize } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { writeTokenizerFiles } from './tokenizer-files.ts';
import { type FileText, type LeftOut, requireTextFile, textsOf, toldLeftOut } from './text-files.ts';
import { trainBpe } from './train.ts';

export interface TrainTokenizerOptions {
  /** Folder to make. */
  readonly dir: string;
  /** Folder of the stage `documents`, with training documents. */
  readonly documentsDir: string;
  readonly recipe: Recipe;
  readonly log: Log;
}

export async function trainTokenizer({ dir, documentsDir, recipe, log }: TrainTokenizerOptions): Promise<StageResult> {
  const vocabularySize = recipePart(recipe, 'tokenizer').vocabularySize ?? trainedVocabularySize;
  return runStage({
    dir,
    kind: 'tokenizer',
    version: 1,
    recipe: { vocabularySize },
    inputs: { documents: documentsDir },
    onStart: (what) => log.line(what === 'skip' ? `tokenizer: up to date in ${dir}` : `tokenizer: training in ${dir}`),
    run: async (into) => {
      let documents = 0;
      async function* texts(): AsyncGenerator<string> {
        for await (const { text } of readDocuments(documentsDir, 'train')) {
          documents++;
          yield text;
        }
      }
      const vocabulary = await trainBpe(texts(), vocabularySize, log);
      writeTokenizerFiles(into, vocabulary);
      return { vocabularySize: vocabulary.tokens.length, merges: vocabulary.merges.length, documents };
    },
  });
}

export interface TrainOnFilesOptions {
  /** Folder to make. */
  readonly dir: string;
  /** Files of texts (text-files.ts). */
  readonly files: readonly string[];
  readonly vocabularySize: number;
  /** Such a file of lines that say the same in several languages (train.ts). */
  readonly parity?: string | undefined;
  readonly threads?: number | undefined;
  readonly memoryBytes?: number | undefined;
  readonly log: Log;
}

/** Trains on files of texts; lines that are left out are told, and counted in the manifest. */
export async function trainTokenizerOnFiles(options: TrainOnFilesOptions): Promise<StageResult> {
  const { dir, files, vocabularySize, parity, threads, memoryBytes, log } = options;
  for (const path of [...files, ...(parity === undefined ? [] : [parity])]) requireTextFile(path);
  const hashed = (path: string) => ({ path, sha256: hashFile(path).sha256 });
  return runStage({
    dir,
    kind: 'tokenizer',
    version: 1,
    recipe: {
      vocabularySize,
      files: files.map(hashed),
      ...(parity === undefined ? {} : { parity: hashed(parity) }),
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
    },
    inputs: {},
    keepsOthers: true,
    onStart: (what) => log.line(what === 'skip' ? `tokenizer: up to date in ${dir}` : `tokenizer: training in ${dir}`),
    run: async (into) => {
      const leftOut: LeftOut = new Map();
      const parityLeftOut: LeftOut = new Map();
      let texts = 0;
      const tell = (counts: LeftOut, what?: string): void => {
        const told = toldLeftOut(counts, what);
        if (told !== undefined) log.line(`tokenizer: ${told}`);
      };
      async function* all(): AsyncGenerator<FileText> {
        for (const path of files) {
          for await (const text of textsOf(path, leftOut, '\n')) {
            texts++;
            yield text;
          }
        }
        if (texts === 0) throw noTexts(files, leftOut);
        tell(leftOut);
      }
      async function* parityLines(path: string): AsyncGenerator<FileText> {
        yield* textsOf(path, parityLeftOut, '\n');
        tell(parityLeftOut, 'parity lines');
      }
      const vocabulary = await trainBpe(all(), vocabularySize, log, {
        ...(parity === undefined ? {} : { parity: parityLines(parity) }),
        threads,
        memoryBytes,
        sizeName: '--vocabulary-size',
      });
      writeTokenizerFiles(into, vocabulary);
      const { met, leftOut: rare, least } = vocabulary.words;
      return {
        vocabularySize: vocabulary.tokens.length,
        merges: vocabulary.merges.length,
        texts,
        linesLeftOut: Object.fromEntries(leftOut),
        ...(vocabulary.parity
          ? { parityLinesLeftOut: Object.fromEntries(parityLeftOut), parity: { ...vocabulary.parity } }
          : {}),
        words: met,
        wordsLeftOut: rare,
        leastCount: least,
      };
    },
  });
}

function noTexts(files: readonly string[], leftOut: LeftOut): UserError {
  return new UserError(`there is no text in ${files.join(', ')}`, {
    found: toldLeftOut(leftOut) ?? 'no line',
    expected: 'lines {"text": "..."} in .jsonl, or text in .txt',
  });
}
